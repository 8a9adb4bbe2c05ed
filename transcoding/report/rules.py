"""The rules that the package was held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from transcoding.report.words import Markup, Text, section, table

_STATES = {"fail": 0, "skipped": 1, "pass": 2}
_SEVERITIES = {"MUST": 0, "SHOULD": 1, "MAY": 2}
_WORDS = {"fail": Text("broken", "нарушено"), "skipped": Text("not tried", "не проверено"), "pass": Text("kept", "да")}


def findings(checks: Mapping[str, Any]) -> str:
    """What is broken or could not be tried in front; the rules that hold can be opened."""
    known: Sequence[Mapping[str, Any]] = checks.get("findings", ())
    if not known:
        return ""
    ordered = sorted(known, key=lambda f: (_STATES.get(f["state"], 0), _SEVERITIES.get(f["severity"], 3)))
    first = [finding for finding in ordered if finding["state"] != "pass"]
    kept = [finding for finding in ordered if finding["state"] == "pass"]
    opened = Text(f"{len(kept)} rules that hold", f"Соблюдено правил: {len(kept)}")
    content = (_rows(first) if first else "") + (
        f"<details><summary>{opened.html()}</summary>{_rows(kept)}</details>" if kept else ""
    )
    note = Text(
        "Numbers are those of Apple's HLS authoring specification; others are named.",
        "Номера – по спецификации Apple для авторов HLS; остальные правила названы.",
    )
    return section(Text("Rules", "Правила"), note, content)


def _rows(chosen: Sequence[Mapping[str, Any]]) -> str:
    head = [Text("Rule", "Правило"), Text("What", "Что"), Text("Severity", "Строгость"), Text("State", "Итог"),
            Text("Evidence", "На чём видно")]  # fmt: skip
    return table(
        head,
        [[str(f["rule"]), str(f["title"]), str(f["severity"]), _state(f), _evidence(f["evidence"])] for f in chosen],
    )


def _state(finding: Mapping[str, Any]) -> Markup:
    state = finding["state"]
    bad = state == "fail" and finding["severity"] == "MUST"
    kind = "bad" if bad else {"pass": "good"}.get(state, "mild")
    word = _WORDS.get(state, Text(str(state), str(state)))
    return Markup(f'<span class="{kind}">{word.html()}</span>')


def _evidence(told: Any) -> str:
    return "; ".join(str(line) for line in told) if isinstance(told, list | tuple) else str(told)
