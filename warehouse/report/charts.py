"""What the charts look like: Vega-Lite specifications over a dataset named `rows`, made with Altair.

A function here takes what to draw and gives back a function of the language, since titles of axes are words. Ratios
are divided after their parts were summed, so that filters of the page (a country, a range of days) stay exact.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from warehouse.report.words import Words

if TYPE_CHECKING:
    import altair as alt

ROWS = "rows"
ACCENT, SECOND, FAINT = "#c8472f", "#2f6f8f", "#d9d4cc"
_HEIGHT = 240

Drawing = Callable[[str], "alt.TopLevelMixin"]

DAY = Words("day", "день")
MONTH = Words("month", "месяц")


def spec(drawing: Drawing, language: str) -> dict[str, Any]:
    """A chart in one language, as JSON can hold it; the page brings the rows."""
    return drawing(language).properties(width="container").to_dict()  # pyright: ignore[reportAttributeAccessIssue]


def _base(**options: Any) -> "alt.Chart":
    import altair as alt

    return alt.Chart(alt.NamedData(name=ROWS)).properties(height=options.get("height", _HEIGHT))


def _at(when: str, words: Words, language: str) -> Any:
    import altair as alt

    unit = "yearmonth" if words is MONTH else "yearmonthdate"
    return alt.X(f"utc{unit}({when}):T", title=words.said(language))


def lines(values: Sequence[tuple[str, Words]], y: Words, *, when: str = "day", words: Words = DAY) -> Drawing:
    """A line for each of several columns, summed by day (or month)."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        names = {column: word.said(language) for column, word in values}
        renamed = f"{names}[datum.key]"
        return (
            _base()
            .transform_fold(list(names), as_=["key", "amount"])
            .transform_filter("isValid(datum.amount)")  # what is unknown is no point of a line
            .transform_calculate(series=renamed)
            .mark_line(point={"size": 18}, strokeWidth=2)
            .encode(
                x=_at(when, words, language),
                y=alt.Y("sum(amount):Q", title=y.said(language)),
                color=alt.Color("series:N", title=None, scale=alt.Scale(scheme="tableau10")),
                tooltip=[_at(when, words, language), "series:N", alt.Tooltip("sum(amount):Q", format=",.1f")],
            )
        )

    return draw


def shares(
    part: str, whole: str, y: Words, *, by: str | None = None, by_words: Words | None = None, when: str = "day",
    words: Words = DAY, form: str = ".1%", bars: bool = False,
) -> Drawing:  # fmt: skip
    """`sum(part) / sum(whole)` by day (or month), in a line for each value of `by`."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        groups: list[Any] = [when, by] if by else [when]
        chart = (
            _base()
            .transform_aggregate(part=f"sum({part})", whole=f"sum({whole})", groupby=groups)
            .transform_calculate(share="datum.whole > 0 ? datum.part / datum.whole : null")
        )
        marked = chart.mark_bar(color=ACCENT) if bars else chart.mark_line(point={"size": 18}, color=ACCENT)
        encoded = marked.encode(
            x=_at(when, words, language),
            y=alt.Y("share:Q", title=y.said(language), axis=alt.Axis(format=form)),
            tooltip=[_at(when, words, language), alt.Tooltip("share:Q", format=form), *([f"{by}:N"] if by else [])],
        )
        if by is None or by_words is None:
            return encoded
        return encoded.encode(color=alt.Color(f"{by}:N", title=by_words.said(language)))

    return draw


def stacked(
    column: str, y: Words, by: str, names: dict[str, Words] | None = None, *, when: str = "day", words: Words = DAY,
    normalised: bool = False,
) -> Drawing:  # fmt: skip
    """Bars by day (or month), stacked by the values of a column; `names` says them in words and gives their order."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        chart, colour, order = _base(), f"{by}:N", None
        if names:
            told = {key: word.said(language) for key, word in names.items()}
            order = list(told.values())
            chart, colour = chart.transform_calculate(series=f"{told}[datum.{by}]"), "series:N"
        return chart.mark_bar().encode(
            x=_at(when, words, language),
            y=alt.Y(f"sum({column}):Q", title=y.said(language), stack="normalize" if normalised else "zero"),
            color=alt.Color(colour, title=None, sort=order, scale=alt.Scale(domain=order) if order else alt.Undefined),
            tooltip=[_at(when, words, language), colour, alt.Tooltip(f"sum({column}):Q", format=",.1f")],
        )

    return draw


def ranking(value: str, x: Words, *, parts: dict[str, Words] | None = None, top: int = 15) -> Drawing:
    """Titles as horizontal bars, the largest on top; with `parts`, several columns of each title over one another."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        columns = parts or {value: x}
        told = {column: word.said(language) for column, word in columns.items()}
        chart = (
            _base(height=alt.Step(20))
            .transform_aggregate(
                [alt.AggregatedFieldDef(op="sum", field=c, **{"as": c}) for c in columns], groupby=[f"title_{language}"]
            )
            .transform_window(place="row_number()", sort=[alt.SortField(value, order="descending")])
            .transform_filter(f"datum.place <= {top}")
            .transform_fold(list(columns), as_=["key", "amount"])
            .transform_calculate(series=f"{told}[datum.key]")
        )
        colour = alt.Color("series:N", title=None, sort=list(told.values())) if parts else alt.value(ACCENT)
        return chart.mark_bar(opacity=0.85).encode(
            y=alt.Y(f"title_{language}:N", title=None, sort=alt.EncodingSortField(value, order="descending")),
            x=alt.X("amount:Q", title=x.said(language), stack=None, axis=alt.Axis(format="~s")),
            color=colour,
            tooltip=[f"title_{language}:N", "series:N", alt.Tooltip("amount:Q", format=",.1f")],
        )

    return draw


def heat(
    x: tuple[str, Words], y: tuple[str, Words], part: str, whole: str | None, colour: Words, *, form: str = ",.0f"
) -> Drawing:
    """Cells: the sum of `part`, or its share of the sum of `whole`."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        chart = _base(height=alt.Step(22)).transform_aggregate(
            part=f"sum({part})", whole=f"sum({whole or part})", groupby=[x[0], y[0]]
        )
        value = "datum.whole > 0 ? datum.part / datum.whole : null" if whole else "datum.part"
        return (
            chart.transform_calculate(value=value)
            .mark_rect()
            .encode(
                x=alt.X(f"{x[0]}:O", title=x[1].said(language), axis=alt.Axis(labelAngle=0)),
                y=alt.Y(f"{y[0]}:O", title=y[1].said(language)),
                color=alt.Color("value:Q", title=colour.said(language), scale=alt.Scale(scheme="oranges")),
                tooltip=[f"{x[0]}:O", f"{y[0]}:O", alt.Tooltip("value:Q", format=form)],
            )
        )

    return draw


def curve(x: tuple[str, Words], y: tuple[str, Words], *, form: str = ".0%") -> Drawing:
    """One smooth line with the area below it."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        return (
            _base()
            .mark_area(line={"color": ACCENT}, point={"color": ACCENT, "size": 18}, color=FAINT, opacity=0.6)
            .encode(
                x=alt.X(f"{x[0]}:Q", title=x[1].said(language)),
                y=alt.Y(f"{y[0]}:Q", title=y[1].said(language), axis=alt.Axis(format=form), stack=None),
                tooltip=[f"{x[0]}:Q", alt.Tooltip(f"{y[0]}:Q", format=form)],
            )
        )

    return draw


def bars(x: tuple[str, Words], names: dict[str, Words], y: Words) -> Drawing:
    """Some columns of all rows as one bar each, in the order of `names`."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        told = {column: word.said(language) for column, word in names.items()}
        return (
            _base()
            .transform_fold(list(told), as_=["key", "amount"])
            .transform_calculate(series=f"{told}[datum.key]")
            .mark_bar(color=SECOND)
            .encode(
                x=alt.X("series:N", title=x[1].said(language), sort=list(told.values()), axis=alt.Axis(labelAngle=0)),
                y=alt.Y("sum(amount):Q", title=y.said(language)),
                tooltip=["series:N", alt.Tooltip("sum(amount):Q", format=",.0f")],
            )
        )

    return draw


def intervals(label: str, middle: str, low: str, high: str, x: Words) -> Drawing:
    """A point with its interval for each row; a line where there is no difference."""
    import altair as alt

    def draw(language: str) -> "alt.TopLevelMixin":
        base = _base(height=alt.Step(26))
        y = alt.Y(f"{label}:N", title=None)
        axis = alt.Axis(format="+.0%")
        rule = base.mark_rule(color=SECOND, strokeWidth=3).encode(
            y=y, x=alt.X(f"{low}:Q", title=x.said(language), axis=axis), x2=f"{high}:Q"
        )
        point = base.mark_point(color=ACCENT, filled=True, size=70).encode(
            y=y,
            x=f"{middle}:Q",
            tooltip=[f"{label}:N", *(alt.Tooltip(f"{c}:Q", format="+.2%") for c in (low, middle, high))],
        )
        zero = base.mark_rule(strokeDash=[4, 3], color="#888").encode(x=alt.datum(0))
        return alt.layer(zero, rule, point)

    return draw
