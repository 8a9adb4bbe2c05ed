"""The report's charts as SVG text that inherits the page's font and fits its width."""

import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT, SECOND, FAINT, INK = "#c8472f", "#2f6f8f", "#d9d4cc", "#4a4640"


def days_chart(days: Sequence[tuple[date, int, float]], words: Mapping[str, str]) -> str:
    """Plays as bars and hours as a line over (day, plays, hours)."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    figure, axes = _axes(height=2.6)
    dates = [float(date2num(row[0])) for row in days]
    axes.bar(dates, [row[1] for row in days], color=FAINT, width=0.85, label=words["plays"])
    axes.set_ylabel(words["plays"], color=INK)
    hours = axes.twinx()
    hours.plot(dates, [row[2] for row in days], color=ACCENT, linewidth=2, label=words["hours"])
    hours.set_ylabel(words["hours"], color=ACCENT)
    hours.set_ylim(bottom=0)
    _bare(hours)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    # Numbers only: month names would need both languages.
    formatter = ConciseDateFormatter(
        locator, formats=["%Y", "%d.%m", "%d.%m", "%H:%M", "%H:%M", "%S"], show_offset=False
    )
    formatter.zero_formats = ["", "%Y", "%d.%m", "%d.%m", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_formatter(formatter)
    return _svg(figure)


def titles_chart(names: Sequence[str], views: Sequence[float]) -> str:
    """Horizontal bars, the first on top."""
    figure, axes = _axes(height=0.32 * len(names) + 0.5)
    places = range(len(names))
    axes.barh(places, views, color=SECOND, height=0.7)
    axes.set_yticks(places, [_short(name) for name in names])
    axes.invert_yaxis()
    return _svg(figure)


def intervals_chart(rows: Sequence[tuple[str, float | None, float | None, float | None]]) -> str:
    """Estimates with their intervals, as shares, around a line at nothing; what has no estimate has no mark."""
    figure, axes = _axes(height=0.36 * len(rows) + 0.7)
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, (_, mean, low, high) in enumerate(rows):
        if mean is None or low is None or high is None:
            continue
        colour = ACCENT if low > 0 or high < 0 else INK
        axes.plot([low * 100, high * 100], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([mean * 100], [place], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f} %" if value else "0")
    return _svg(figure)


def _axes(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    _bare(axes)
    return figure, axes


def _bare(axes: Any) -> None:
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK)


def _svg(figure: "Figure") -> str:
    """Text stays text, and the same data gives the same bytes."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "matinee", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _short(name: str, limit: int = 38) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
