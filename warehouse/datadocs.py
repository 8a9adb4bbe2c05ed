"""What the landing gate saw, as pages: Great Expectations' own validation pages below an index that opens from disk.

The gate keeps its results as JSON (`lake/build/gate`); a page is made once a result and only when somebody builds the
pages, so that the gate itself costs nothing more.
"""

import html
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matinee.settings import Settings
from warehouse.files import write_whole

KEPT = 10  # results of batches that passed; those of batches that were held are all kept

# Great Expectations' templates load their looks from a dozen servers. These pages load nothing.
_ELSEWHERE = re.compile(
    r"<link\b[^>]*>|<script\b.*?</script>|<img\b[^>]*>|<footer.*?</footer>|<a\b[^>]*data-toggle.*?</a>|"
    r'<nav class="navbar.*?</nav>\s*</div>\s*</nav>',
    re.DOTALL,
)
_LEADS_NOWHERE = re.compile(r'<a\s+href="\.\./[^"]*"\s*>(.*?)</a>', re.DOTALL)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top; }
.popover, .modal, .tooltip, .col-lg-2, .cta-footer { display: none; }
.badge, code { background: #f0f0f0; border-radius: 3px; padding: 0 .3rem; }
.held, .text-danger { color: #b3261e; } .passed, .text-success { color: #1b6e3c; }
i.text-danger::before { content: "\\2717"; } i.text-success::before { content: "\\2713"; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8; } .badge, code { background: #333; } }
"""


@dataclass(frozen=True)
class _Result:
    """A kept result of the gate and the page that it gets."""

    path: Path
    page: Path

    @property
    def passed(self) -> bool:
        return self.path.name == "passed.json"

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)


def write_data_docs(settings: Settings, *, keep: int = KEPT) -> Path:
    """Bring the pages up to date with the results that the gate kept; returns the index.

    Of batches that passed, the newest `keep` results and pages stay.
    """
    gate, folder = settings.lake.build_file.parent / "gate", settings.home.reports / "data-docs"
    folder.mkdir(parents=True, exist_ok=True)
    results = [_Result(path, folder / f"{path.parent.name}-{path.stem}.html") for path in gate.glob("*/*.json")]
    results.sort(key=lambda result: (result.at, result.path), reverse=True)
    for result in [result for result in results if result.passed][keep:]:
        result.path.unlink()
        results.remove(result)
    for page in set(folder.glob("*.html")) - {result.page for result in results}:
        page.unlink()
    rows = []
    for result in results:
        told = json.loads(result.path.read_text())
        if not result.page.exists() or result.page.stat().st_mtime < result.path.stat().st_mtime:
            write_whole(result.page, lambda draft, told=told: draft.write_text(_page(told)))
        rows.append(_row(result, told))
    index = folder / "index.html"
    write_whole(index, lambda draft: draft.write_text(_index(rows)))
    return index


def _page(told: dict[str, Any]) -> str:
    """A result as a page: files and reasons by us, the expectations by Great Expectations where it was asked."""
    title = f"{told['batch']}: {'passed' if told['success'] else 'held back'}"
    head = f"<p>{told['rows']:,} events in {len(told['files'])} files</p>{_reasons(told)}"
    if told.get("shows"):
        head += f"<p>Rows and values below are of: {html.escape(told['shows'])}.</p>"
    files = "".join(f"<li><code>{html.escape(name)}</code></li>" for name in told["files"])
    return _document(title, f"{head}{_rendered(told['validation'])}<h2>Files</h2><ul>{files}</ul>")


def _reasons(told: dict[str, Any]) -> str:
    failed = [check for check in told["checks"] if not check["success"]]
    if not failed:
        return ""
    rows = [(c["check"], c["column"] or "", f"{c['unexpected']:,}", ", ".join(c["sample"])) for c in failed]
    return _table(("expectation", "column", "wrong", "for example"), [[html.escape(cell) for cell in r] for r in rows])


def _rendered(validation: dict[str, Any]) -> str:
    if not validation:
        return "<p>The files themselves are not what the ledger says: no value was looked at.</p>"
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    safe = {**validation, "results": [{**r, "result": _escaped(r["result"])} for r in validation["results"]]}
    result: Any = ExpectationSuiteValidationResultSchema().load(safe)
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    body = page[page.index("<body") : page.rindex("</body>")]
    return _LEADS_NOWHERE.sub(r"\1", _ELSEWHERE.sub("", body[body.index(">") + 1 :]))


def _escaped(value: Any) -> Any:
    """What came with the events is text: the templates below would take it for HTML."""
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return html.escape(value) if isinstance(value, str) else value


def _row(result: _Result, told: dict[str, Any]) -> list[str]:
    state = "passed" if told["success"] else "held"
    why = ", ".join(f"{c['check']} {c['column'] or ''}".strip() for c in told["checks"] if not c["success"])
    return [
        f"{result.at:%Y-%m-%d %H:%M}",
        f'<a href="{html.escape(result.page.name)}">{html.escape(told["batch"])}</a>',
        f'<span class="{state}">{state}</span>',
        f"{told['rows']:,}",
        html.escape(why),
    ]


def _index(rows: list[list[str]]) -> str:
    told = "Every batch of landed events passes these expectations whole, or is held back whole. Newest first, UTC."
    return _document(
        "Landing gate", f"<p>{told}</p>{_table(('checked', 'batch', 'result', 'events', 'what failed'), rows)}"
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Cells are HTML already."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead><tbody>{lines}</tbody></table>"
    )


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
