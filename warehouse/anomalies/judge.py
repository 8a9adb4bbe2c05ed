"""Which of the last days look unlike the days before. Pure: from counts to findings.

Three checks, all against the same weekday of former weeks, as far as the data has got (its watermark, not the clock:
what does not come at all is late, which freshness tells):

- `volume`: events of a type on a day, up to the last complete hour, and in each hour;
- `nulls`: the share of a column that is empty among events of a type, against former days;
- `mix`: devices and countries of the plays, types of the events (population stability index). Anybody may send a value
  that nobody sent before: together such values count from a share of the day on that one client hardly reaches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from warehouse.anomalies import CHECKS
from warehouse.anomalies.statistics import (
    Comparison,
    add,
    compare_count,
    compare_share,
    noise,
    population_stability,
    root,
    spread,
)

LOOK_BACK = 7  # days that are judged
WEEKS = 8  # former weeks that are looked at
ENOUGH_WEEKS = 3
ENOUGH_DAYS = 7  # for the share of nulls
HOUR_AT_LEAST = 30  # events expected in an hour that is judged by itself
SHARE_AT_LEAST = 50  # events of a day whose share is judged
PLAYS_AT_LEAST = 100
OTHER = "(other)"
OTHER_AT_LEAST = 0.02  # share of the day, or of former weeks, from which unusual values count

DAY_LIMIT, HOUR_LIMIT, SHARE_LIMIT, CATEGORY_LIMIT = 5.0, 6.0, 6.0, 6.0
# Smaller changes are nobody's incident, however well they are measured.
DAY_CHANGE, HOUR_CHANGE, SHARE_CHANGE, CATEGORY_CHANGE, MIX_CHANGE = 0.3, 0.6, 0.05, 0.5, 0.2
_NOISE = 4.0


@dataclass(frozen=True)
class Evidence:
    """Counts by day, imports and bots left out.

    `hours`: type -> (day, hour) -> events. `nulls`: (column, type) -> day -> (nulls, events). `mixes`: dimension ->
    day -> value -> plays or events. `watermark`: the newest receipt.
    """

    watermark: datetime | None
    hours: Mapping[str, Mapping[tuple[date, int], int]] = field(default_factory=dict)
    nulls: Mapping[tuple[str, str], Mapping[date, tuple[int, int]]] = field(default_factory=dict)
    mixes: Mapping[str, Mapping[date, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def first_day(self) -> date | None:
        return min((day for cells in self.hours.values() for day, _ in cells), default=None)


@dataclass(frozen=True)
class Finding:
    """A number of a day that is not what former days let expect: outside `low` to `high`."""

    check: str
    subject: str
    day: date
    observed: float
    expected: float
    low: float
    high: float

    @property
    def finding_id(self) -> str:
        return f"{self.check}:{self.subject}:{self.day}"

    def __str__(self) -> str:
        return f"{self.finding_id} is {_number(self.observed)}, expected {_number(self.low)} to {_number(self.high)}"


@dataclass(frozen=True)
class Verdict:
    """What a check found, and how many numbers it compared; none: there is too little history."""

    check: str
    judged: int
    findings: tuple[Finding, ...]


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Compare the last days, each with its former weeks."""
    if evidence.watermark is None or evidence.first_day is None:
        return tuple(Verdict(check, 0, ()) for check in CHECKS)
    rules: dict[str, Callable[[Evidence, date], Iterator[tuple[int, list[Finding]]]]] = {
        "volume": _volume,
        "nulls": _nulls,
        "mix": _mixes,
    }
    verdicts = []
    for check, rule in rules.items():
        done = [result for day in _days(evidence.watermark.date()) for result in rule(evidence, day)]
        found = tuple(finding for _, findings in done for finding in findings)
        verdicts.append(Verdict(check, sum(judged for judged, _ in done), found))
    return tuple(verdicts)


def _days(last: date) -> list[date]:
    return [last - timedelta(days=back) for back in reversed(range(LOOK_BACK))]


def _weeks_before(evidence: Evidence, day: date) -> list[date]:
    """The same weekday of former weeks, as far back as there is data."""
    first = evidence.first_day or day
    weeks = (day - timedelta(weeks=back) for back in range(1, WEEKS + 1))
    return [week for week in weeks if week >= first]


def _volume(evidence: Evidence, day: date) -> Iterator[tuple[int, list[Finding]]]:
    hours = _complete_hours(evidence, day)
    if len(_weeks_before(evidence, day)) < ENOUGH_WEEKS or not hours:
        return
    # A week of days, each with its own former weeks: their common spread is known better than that of one weekday.
    week = [_weeks_before(evidence, day - timedelta(days=back)) for back in range(7)]
    for kind, cells in sorted(evidence.hours.items()):

        def total(of: date, cells: Mapping[tuple[date, int], int] = cells) -> int:
            return sum(cells.get((of, hour), 0) for hour in hours)

        scale = spread(([root(total(former)) for former in days] for days in week), 1.0)
        history = [total(former) for former in week[0]]
        whole = compare_count(total(day), history, scale, DAY_LIMIT)
        if _far(whole, DAY_LIMIT, DAY_CHANGE):
            yield 1, [_finding("volume", kind, day, whole)]
            continue  # its hours would only say it again
        scale = spread(
            ([root(cells.get((former, hour), 0)) for former in days] for days in week for hour in range(24)), 1.0
        )
        found = []
        for hour in hours:
            history = [cells.get((former, hour), 0) for former in week[0]]
            one = compare_count(cells.get((day, hour), 0), history, scale, HOUR_LIMIT)
            if one.expected >= HOUR_AT_LEAST and _far(one, HOUR_LIMIT, HOUR_CHANGE):
                found.append(_finding("volume", f"{kind}@{hour:02d}h", day, one))
        yield 1 + len(hours), found


def _complete_hours(evidence: Evidence, day: date) -> range:
    """The hours of the day that are over, as far as the data knows."""
    assert evidence.watermark is not None
    return range(24) if day < evidence.watermark.date() else range(evidence.watermark.hour)


def _nulls(evidence: Evidence, day: date) -> Iterator[tuple[int, list[Finding]]]:
    """Only rises: a column that is filled more often than before is no harm."""
    for (column, kind), days in sorted(evidence.nulls.items()):
        former = [days.get(day - timedelta(days=back), (0, 0)) for back in range(1, WEEKS * 7 + 1)]
        history = [part / whole for part, whole in former if whole >= SHARE_AT_LEAST]
        part, whole = days.get(day, (0, 0))
        if len(history) < ENOUGH_DAYS or whole < SHARE_AT_LEAST:
            continue
        share = compare_share(part, whole, history, SHARE_LIMIT)
        risen = share.z > SHARE_LIMIT and share.observed - share.expected > SHARE_CHANGE
        yield 1, [_finding("nulls", f"{column}/{kind}", day, share)] if risen else []


def _mixes(evidence: Evidence, day: date) -> Iterator[tuple[int, list[Finding]]]:
    for dimension, days in sorted(evidence.mixes.items()):
        weeks = [days[week] for week in _weeks_before(evidence, day) if week in days]
        today, *former = _folded(days.get(day, {}), weeks)
        if len(former) < ENOUGH_WEEKS or min(sum(today.values()), sum(add(former).values())) < PLAYS_AT_LEAST:
            continue
        index = _index(today, former)
        found = [_finding("mix", dimension, day, index)] if index.observed > index.high else []
        if not found and dimension != "type":  # how many events of a type there are is what `volume` looks at
            found = [_finding("mix", f"{dimension}={name}", day, one) for name, one in _categories(today, former)]
        yield 1, found


def _folded(today: Mapping[str, float], former: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """The day, then former weeks: what is in less than half of the weeks is `OTHER`, left out where it is little."""
    usual = {name for name in add(former) if 2 * sum(week.get(name, 0) > 0 for week in former) >= len(former)}
    folded: list[dict[str, float]] = []
    for counts in (today, *former):
        kept = {name: count for name, count in counts.items() if name in usual}
        rest = sum(count for name, count in counts.items() if name not in usual)
        folded.append(add([kept, {OTHER: rest}]) if rest else kept)
    for whole in (folded[0], add(folded[1:])):
        if whole.get(OTHER, 0) >= OTHER_AT_LEAST * max(sum(whole.values()), 1):
            return [*folded]
    return [{name: count for name, count in counts.items() if name != OTHER or OTHER in usual} for counts in folded]


def _index(today: Mapping[str, float], former: Sequence[Mapping[str, float]]) -> Comparison:
    """The stability index of the day, and how large it may be: what matters, and noise as former weeks show it."""
    reference, size = add(former), sum(today.values())
    categories = len({*today, *reference})
    allowed = MIX_CHANGE + _NOISE * _clusters(former) * noise(categories, size, sum(reference.values()))
    observed = population_stability(today, reference)
    return Comparison(observed, 0.0, 0.0, allowed, observed / allowed)


def _clusters(former: Sequence[Mapping[str, float]]) -> float:
    """How many plays come together on average: former weeks against each other, over what independent plays give."""
    ratios = []
    for at, week in enumerate(former):
        others = add(other for index, other in enumerate(former) if index != at)
        expected = noise(len({*week, *others}), sum(week.values()), sum(others.values()))
        ratios.append(population_stability(week, others) / expected if expected else 1.0)
    return max(1.0, *ratios)


def _categories(today: Mapping[str, float], former: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, Comparison]]:
    """Categories that are far from their share: one that vanished hardly moves the index when it was small."""
    size = sum(today.values())
    shares = [{name: count / sum(week.values()) for name, count in week.items()} for week in former]
    names = sorted({*today, *(name for week in shares for name in week)})
    history = {name: [week.get(name, 0.0) * size for week in shares] for name in names}
    scale = spread(([root(count) for count in counts] for counts in history.values()), 1.0)
    for name in names:
        one = compare_count(today.get(name, 0.0), history[name], scale, CATEGORY_LIMIT)
        if _far(one, CATEGORY_LIMIT, CATEGORY_CHANGE):
            yield name, one


def _far(one: Comparison, limit: float, change: float) -> bool:
    return abs(one.z) > limit and abs(one.observed - one.expected) > change * one.expected


def _finding(check: str, subject: str, day: date, one: Comparison) -> Finding:
    return Finding(check, subject, day, one.observed, one.expected, one.low, one.high)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
