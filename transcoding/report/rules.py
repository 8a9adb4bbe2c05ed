"""The rules that the package was held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from transcoding.report.words import Markup, Text, section, table

_STATES = {"fail": 0, "skipped": 1, "pass": 2}
_SEVERITIES = {"MUST": 0, "SHOULD": 1, "MAY": 2}
_WORDS = {
    "fail": Text("broken", "нарушено"),
    "skipped": Text("does not apply", "неприменимо"),
    "pass": Text("kept", "да"),
}


def findings(checks: Mapping[str, Any]) -> str:
    """What is broken stands in front; the rules that hold, and those that say nothing here, can be opened."""
    known: Sequence[Mapping[str, Any]] = checks.get("findings", ())
    if not known:
        return ""
    ordered = sorted(known, key=lambda f: (_STATES.get(f["state"], 0), _SEVERITIES.get(f["severity"], 3)))
    states = {state: [f for f in ordered if f["state"] == state] for state in ("pass", "skipped")}
    broken = [finding for finding in ordered if finding["state"] not in states]
    kept, skipped = len(states["pass"]), len(states["skipped"])
    content = (
        (_rows(broken) if broken else f"<p>{Text('No rule is broken.', 'Ни одно правило не нарушено.').html()}</p>")
        + _opened(Text(f"{kept} rules hold", f"Соблюдено правил: {kept}"), states["pass"])
        + _opened(Text(f"{skipped} rules do not apply", f"Неприменимых правил: {skipped}"), states["skipped"])
    )
    note = Text(
        "Numbers are those of Apple's HLS authoring specification; others are named.",
        "Номера – по спецификации Apple для авторов HLS; остальные правила названы.",
    )
    return section(Text("Rules", "Правила"), note, content)


def _opened(title: Text, chosen: Sequence[Mapping[str, Any]]) -> str:
    return f"<details><summary>{title.html()}</summary>{_rows(chosen)}</details>" if chosen else ""


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
    """`file: found (wanted: …)` for each place, or the plain words."""
    if isinstance(told, Mapping):
        where = f"{told['file']}: " if told.get("file") not in (None, "", ".") else ""
        return f"{where}{told.get('found')}" + (f" (wanted: {told['wanted']})" if told.get("wanted") else "")
    return "; ".join(_evidence(line) for line in told) if isinstance(told, list | tuple) else str(told)
