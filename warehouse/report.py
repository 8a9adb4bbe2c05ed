"""The report: one HTML page over the current snapshot that opens from disk, in Russian and in English.

Charts are drawn as SVG inside the page, so it needs no network and no server. Every number comes from a published
mart; the page names the snapshot.
"""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from matinee.db.queries import load as load_queries
from matinee.settings import Settings
from warehouse.charts import days_chart, intervals_chart, titles_chart
from warehouse.files import write_whole
from warehouse.snapshot import Snapshot, hold

if TYPE_CHECKING:
    import duckdb

_FOLDER = Path(__file__).parent / "page"
_SQL = load_queries(_FOLDER)


@dataclass(frozen=True)
class Text:
    """The same words in both languages."""

    en: str
    ru: str

    def html(self) -> str:
        return f'<span lang="en">{html.escape(self.en)}</span><span lang="ru">{html.escape(self.ru)}</span>'


def write_report(settings: Settings) -> Path:
    """Write `reports/index.html` in the home from the current snapshot; returns its path.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    import duckdb

    page = settings.home.reports / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with hold(settings.lake) as snapshot, duckdb.connect(str(snapshot.marts), read_only=True) as marts:
        marts.execute("SET TimeZone = 'UTC'")
        text = _page(snapshot, marts, docs=page.parent / "dbt" / "index.html")
    write_whole(page, lambda draft: draft.write_text(text))
    return page


def _page(snapshot: Snapshot, marts: "duckdb.DuckDBPyConnection", docs: Path) -> str:
    sections = [_totals(marts), _days(marts), *_week(marts), *_experiments(snapshot, marts), _tables(snapshot)]
    link = Text("All models, columns and tests: dbt docs", "Все модели, столбцы и проверки: документация dbt")
    footer = f'<a href="{os.path.relpath(docs, docs.parent.parent)}">{link.html()}</a>' if docs.exists() else ""
    return Template((_FOLDER / "page.html").read_text()).substitute(
        sections="\n".join(sections),
        snapshot=html.escape(snapshot.snapshot_id),
        created=f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC",
        footer=footer,
    )


def _rows(marts: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return marts.execute(_SQL[query]).fetchall()


def _totals(marts: "duckdb.DuckDBPyConnection") -> str:
    plays, viewers, hours, titles, stalled, failed = _rows(marts, "totals")[0]
    figures = [
        (Text("plays", "просмотров"), f"{plays:,}"),
        (Text("viewers", "зрителей"), f"{viewers:,}"),
        (Text("hours viewed", "часов просмотра"), f"{hours:,.0f}"),
        (Text("titles watched", "названий смотрели"), f"{titles:,}"),
        (Text("of the time stalled", "времени в ожидании"), f"{stalled:.2%}"),
        (Text("of plays failed", "просмотров с ошибкой"), f"{failed:.2%}"),
    ]
    cells = "".join(f"<div><b>{value}</b>{name.html()}</div>" for name, value in figures)
    return f'<section class="figures">{cells}</section>'


def _days(marts: "duckdb.DuckDBPyConnection") -> str:
    days = _rows(marts, "days")
    title = Text("Viewing by day", "Просмотры по дням")
    note = Text("The last 60 days with any viewing, UTC.", "Последние 60 дней, в которые смотрели, UTC.")
    charts = _both(lambda words: days_chart(days, words), {"plays": ("Plays", "Просмотры"), "hours": ("Hours", "Часы")})
    return _section(title, note, charts if days else _nothing())


def _week(marts: "duckdb.DuckDBPyConnection") -> list[str]:
    top = _rows(marts, "top_titles")
    if not top:
        return []
    week: date = top[0][0]
    title = Text(f"Top titles, week of {week:%-d %B %Y}", f"Лучшее за неделю с {week:%d.%m.%Y}")
    note = Text(
        "Ranked by views: hours viewed divided by the title's length.",
        "По числу просмотров: часы просмотра, делённые на длину.",
    )
    names = {"en": [row[2] for row in top], "ru": [row[3] for row in top]}
    views = [row[7] or 0.0 for row in top]
    charts = "".join(f'<div lang="{lang}">{titles_chart(names[lang], views)}</div>' for lang in names)
    head = [Text("#", "№"), Text("Title", "Название"), Text("Plays", "Запуски"), Text("Viewers", "Зрители"),
            Text("Hours", "Часы"), Text("Views", "Просмотры")]  # fmt: skip
    body = [
        [str(rank), Text(en, ru), f"{plays:,}", f"{viewers:,}", f"{hours:,.1f}", "–" if n is None else f"{n:,.1f}"]
        for _, rank, en, ru, plays, viewers, hours, n in top
    ]
    return [_section(title, note, charts + _table(head, body))]


def _experiments(snapshot: Snapshot, marts: "duckdb.DuckDBPyConnection") -> list[str]:
    if "mart_experiment_result" not in snapshot.tables:
        return []
    rows = _rows(marts, "experiments")
    title = Text("Experiments", "Эксперименты")
    note = Text(
        "Difference between treatment and control as a share of control, with its 95 % interval.",
        "Разница между вариантом и контролем в долях контроля, с интервалом 95 %.",
    )
    if not rows:
        return [_section(title, note, _nothing())]
    chart = intervals_chart([(f"{row[0]} · {row[1]} ({row[2]})", *row[5:8]) for row in rows])
    head = [Text("Experiment", "Эксперимент"), Text("Metric", "Показатель"), Text("Method", "Метод"),
            Text("Units", "Участники"), Text("Difference", "Разница"), Text("Interval", "Интервал"),
            Text("Split p-value", "p-value деления")]  # fmt: skip
    body = [
        [experiment, metric, method, f"{control:,} / {treatment:,}", _share(mean), f"{_share(low)} … {_share(high)}",
         "–" if srm is None else f"{srm:.3f}"]
        for experiment, metric, method, control, treatment, mean, low, high, srm in rows
    ]  # fmt: skip
    return [_section(title, note, chart + _table(head, body))]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1%}"


def _tables(snapshot: Snapshot) -> str:
    title = Text("What this snapshot holds", "Что в этом снимке")
    query = 'matinee sql "FROM mart_title_week"'
    note = Text(f"Ask it anything: {query}", f"Спросите сами: {query}")
    body = [[name, f"{table.rows:,}"] for name, table in sorted(snapshot.tables.items())]
    return _section(title, note, _table([Text("Table", "Таблица"), Text("Rows", "Строки")], body))


def _both(draw: Any, words: Mapping[str, tuple[str, str]]) -> str:
    """The same drawing with the words of each language."""
    languages = {
        "en": {key: pair[0] for key, pair in words.items()},
        "ru": {key: pair[1] for key, pair in words.items()},
    }
    return "".join(f'<div lang="{lang}">{draw(chosen)}</div>' for lang, chosen in languages.items())


def _section(title: Text, note: Text, content: str) -> str:
    return f"<section><h2>{title.html()}</h2><p>{note.html()}</p>{content}</section>"


def _nothing() -> str:
    return f"<p><i>{Text('Nothing yet.', 'Пока ничего.').html()}</i></p>"


def _table(head: Sequence[Text], body: Sequence[Sequence[str | Text]]) -> str:
    top = "".join(f"<th>{cell.html()}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in body)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(content: str | Text) -> str:
    return content.html() if isinstance(content, Text) else html.escape(content)
