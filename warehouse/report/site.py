"""The pages written: rows asked of the snapshot, charts and words put into the template, scripts beside them."""

import html
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from matinee.console import progress
from matinee.db.queries import load as load_queries
from matinee.settings import Settings
from warehouse import dbt
from warehouse.files import write_whole
from warehouse.report import catalogue
from warehouse.report.charts import spec
from warehouse.report.pages import PAGES, Chart, Filter, Page
from warehouse.report.words import LANGUAGES, Words
from warehouse.snapshot import Snapshot, hold

if TYPE_CHECKING:
    import duckdb

_FOLDER = Path(__file__).parent
_SQL = load_queries(_FOLDER)
_CATALOGUE = ("catalogue.html", Words("Catalogue", "Каталог"))
_EMPTY = Words("Nothing yet.", "Пока ничего.")


def write_report(settings: Settings) -> Path:
    """Write the site below `reports/` in the home from the current snapshot; returns its first page.

    The same snapshot makes the same pages, byte for byte.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    import duckdb

    folder = settings.home.reports
    with hold(settings.lake) as snapshot, duckdb.connect(str(snapshot.marts), read_only=True) as marts:
        marts.execute("SET TimeZone = 'UTC'")
        assets = folder / "assets"
        assets.mkdir(parents=True, exist_ok=True)
        _scripts(assets)
        with progress() as bar:
            for page in bar.track(PAGES, description="writing the report"):
                _write(folder, page.file, page.title, _body(page, snapshot, marts), snapshot)
        _write(folder, *_CATALOGUE, _catalogue(settings, snapshot), snapshot)
    return folder / PAGES[0].file


def _scripts(assets: Path) -> None:
    for name in ("report.css", "report.js"):
        shutil.copyfile(_FOLDER / name, assets / name)
    if not (assets / "vega.js").exists():
        import vl_convert

        # Vega, Vega-Lite and Vega-Embed as one script; made anew only in a new home, as it takes seconds.
        text = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue] - its stub lacks the default
        write_whole(assets / "vega.js", lambda draft: draft.write_text(text))


def _write(folder: Path, file: str, title: Words, body: str, snapshot: Snapshot) -> None:
    pages = [*((page.file, page.title) for page in PAGES), _CATALOGUE]
    links = [(name, words.html(), name == file) for name, words in pages]
    others = {
        "dbt/index.html": Words("dbt docs", "Документация dbt"),
        "data-docs/index.html": Words("Data quality", "Качество данных"),
    }
    links += [(name, words.html(), False) for name, words in others.items() if (folder / name).exists()]
    text = Template((_FOLDER / "page.html").read_text()).substitute(
        title=title.html(),
        name=html.escape(title.en),
        links="".join(f'<a href="{to}"{" class=here" if here else ""}>{words}</a>' for to, words, here in links),
        body=body,
        snapshot=html.escape(snapshot.snapshot_id),
        created=f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC",
    )
    write_whole(folder / file, lambda draft: draft.write_text(text))


def _body(page: Page, snapshot: Snapshot, marts: "duckdb.DuckDBPyConnection") -> str:
    shown = [chart for chart in page.charts if set(chart.tables) <= set(snapshot.tables)]
    rows = {chart.name: _rows(marts, chart.query) for chart in shown}
    figures = _figures(marts) if page is PAGES[0] and "fct_playback_session" in snapshot.tables else ""
    used = [f for f in page.filters if any(f.field in found[0] for found in rows.values() if found)]
    charts = "".join(_chart(chart, rows[chart.name], used) for chart in shown)
    return figures + _filters(used, page.days) + (charts or f"<section>{_EMPTY.html()}</section>")


def _rows(marts: "duckdb.DuckDBPyConnection", query: str) -> list[dict[str, Any]]:
    found = marts.execute(_SQL[query])
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _chart(chart: Chart, rows: list[dict[str, Any]], filters: Sequence[Filter]) -> str:
    head = f"<h2>{chart.title.html()}</h2><p>{chart.note.html()}</p>"
    if not rows:
        return f'<section id="{chart.name}">{head}<p><i>{_EMPTY.html()}</i></p></section>'
    told = {
        "rows": rows,
        "specs": {language: spec(chart.drawing, language) for language in LANGUAGES},
        "filters": [f.field for f in filters if f.field in rows[0]],
    }
    return (
        f'<section id="{chart.name}">{head}<div class="chart"></div>'
        f'<script type="application/json">{_json(told)}</script></section>'
    )


def _json(value: Any) -> str:
    """JSON inside a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, default=_plain, separators=(",", ":"))
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else float(value)


def _filters(filters: Sequence[Filter], days: bool) -> str:
    parts = [
        f'<label>{f.words.html()} <select data-field="{f.field}"{" data-one" if f.one else ""}></select></label>'
        for f in filters
    ]
    if days:
        first, last = Words("from", "с"), Words("until", "по")
        parts += [f'<label>{first.html()} <input type="date" data-from></label>',
                  f'<label>{last.html()} <input type="date" data-until></label>']  # fmt: skip
    return f'<form class="filters">{"".join(parts)}</form>' if parts else ""


def _figures(marts: "duckdb.DuckDBPyConnection") -> str:
    plays, viewers, hours, titles, stalled, failed = marts.execute(_SQL["totals"]).fetchall()[0]
    figures = [
        (Words("plays", "просмотров"), f"{plays:,}"),
        (Words("viewers", "зрителей"), f"{viewers:,}"),
        (Words("hours viewed", "часов просмотра"), f"{hours:,.0f}"),
        (Words("titles watched", "названий смотрели"), f"{titles:,}"),
        (Words("of the time stalled", "времени в ожидании"), f"{stalled:.2%}"),
        (Words("of plays failed", "просмотров с ошибкой"), f"{failed:.2%}"),
    ]
    cells = "".join(f"<div><b>{value}</b>{words.html()}</div>" for words, value in figures)
    return f'<section class="figures">{cells}</section>'


def _catalogue(settings: Settings, snapshot: Snapshot) -> str:
    manifest = dbt.home_folder(settings) / "target" / "manifest.json"
    metrics, marts = catalogue.read(manifest if manifest.exists() else dbt.parse(settings), snapshot)
    ask = 'matinee sql "FROM mart_title_week"'
    return "".join(
        [
            _table(
                Words("Metrics", "Метрики"),
                Words("Ask for them: matinee metric NAME", "Спросить: matinee metric ИМЯ"),
                [
                    Words("metric", "метрика"),
                    Words("what it says", "что значит"),
                    Words("kind", "вид"),
                    Words("unit", "единица"),
                ],
                [[m.name, f"{m.label}. {m.description}".strip(), m.kind, m.unit] for m in metrics],
            ),
            _table(
                Words("What this snapshot holds", "Что в этом снимке"),
                Words(f"Ask it anything: {ask}", f"Спросите сами: {ask}"),
                [
                    Words("table", "таблица"),
                    Words("what it holds", "что в ней"),
                    Words("owner", "владелец"),
                    Words("fresh within, h", "свежесть, ч"),
                    Words("columns", "столбцы"),
                    Words("rows", "строки"),
                ],
                [
                    [m.name, m.description, m.owner, str(m.freshness_hours or ""), str(m.columns or ""), f"{m.rows:,}"]
                    for m in marts
                ],
            ),
        ]
    )


def _table(title: Words, note: Words, head: Sequence[Words], body: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell.html()}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
    return f"<section><h2>{title.html()}</h2><p>{note.html()}</p>{table}</section>"
