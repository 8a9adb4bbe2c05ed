"""The truth of a run, added up group by group; the groups may come in any order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from simulation.parameters import Plan
from simulation.truth import arrivals, money, viewing
from simulation.truth.recorded import (
    MS_PER_HOUR,
    event_day,
    exposures,
    is_bot,
    month_of,
    playbacks,
    recorded,
    session_day,
    title_minute,
)
from simulation.truth.store import Store
from simulation.world import World

# What a row of each is about; everything else in it adds up.
KEYS = {
    "title_day": ["event_date", "title_id"],
    "event_day": ["event_date", "event_type"],
    "session_day": ["event_date"],
    "title_minute": ["title_id", "minute"],
    "title_engagement": ["title_id", "window_days"],
    "title_retention": ["title_id", "minute"],
    "qoe_hour": ["hour", "device", "country"],
    "active_day": ["event_date"],
    "experiment_moments": ["experiment", "variant"],
    "subscription_day": ["day", "plan", "state", "currency"],
    "mrr_month": ["month", "currency"],
    "churn_month": ["month"],
    "cohort_retention": ["cohort_month", "plan", "month_n"],
    "funnel_day": ["day", "country"],
    "title_month": ["title_id", "month"],
    "intake_day": ["received_date"],
}
_FOLD = 32
_PLAYBACKS, _PEOPLE, _WATCHED, _EXPOSED, _PERIODS = "_playbacks", "_people", "_watched", "_exposed", "subscriptions"


@dataclass(frozen=True)
class Group:
    """Some blocks of viewers: all that they sent (see `dirt.Delivered`), what they pay, and who they are.

    `people`: viewer, joined (Unix ms), country; without bots.
    """

    deliveries: pl.DataFrame
    lost: pl.DataFrame
    periods: pl.DataFrame
    people: pl.DataFrame


@dataclass
class _Known:
    """What only all groups together know."""

    last: int | None = None  # the last moment at which anything happened
    played: dict[str, int] = field(default_factory=dict)  # title -> when it was played first
    active: tuple[date, date] | None = None

    def hear(self, events: pl.DataFrame, played: pl.DataFrame) -> None:
        moment = events["at"].max()
        if isinstance(moment, int):
            self.last = max(moment, self.last or moment)
        for title, started in played.group_by("title_id").agg(pl.col("started").min()).iter_rows():
            self.played[title] = min(started, self.played.get(title, started))
        days = played.filter(pl.col("is_valid") & pl.col("account_id").is_not_null())["event_date"]
        if len(days):
            low, high = days.min(), days.max()
            assert isinstance(low, date)
            assert isinstance(high, date)
            self.active = (min(low, self.active[0]), max(high, self.active[1])) if self.active else (low, high)


class Tally:
    """Takes groups with `add`; `finish` gives the tables and the totals. Works within `store`."""

    def __init__(self, plan: Plan, world: World, experiments: Iterable[str], store: Store) -> None:
        self._plan, self._world, self._experiments = plan, world, tuple(experiments)
        self._store, self._known = store, _Known()
        self._sums: dict[str, list[pl.DataFrame]] = {name: [] for name in KEYS}
        self._counts: dict[str, Any] = {}

    def add(self, group: Group) -> None:
        events = recorded(group.deliveries)
        every = playbacks(events, self._world)
        played = every.filter(~is_bot())
        self._known.hear(events, played)
        self._add("event_day", event_day(events))
        self._add("session_day", session_day(events))
        self._add("title_minute", title_minute(events))
        self._add("intake_day", arrivals.intake_day(group.deliveries))
        counted = arrivals.counts(group.deliveries, group.lost.height, every)
        self._counts = arrivals.added([self._counts, counted])
        self._store.add("ledger", arrivals.ledger(group.deliveries, group.lost))
        self._store.add(_PLAYBACKS, played)
        self._store.add(_EXPOSED, exposures(events, self._experiments))
        self._store.add(_PERIODS, group.periods)
        came = events.select("viewer").unique().with_columns(visited=True)
        valid = played.filter(pl.col("is_valid"))
        saw = valid.select("viewer").unique().with_columns(played=True)
        people = group.people.join(came, on="viewer", how="left").join(saw, on="viewer", how="left")
        self._store.add(_PEOPLE, people.with_columns(pl.col("visited", "played").fill_null(value=False)))
        self._store.add(_WATCHED, valid.select("viewer", month_of(pl.col("event_date")).alias("month")).unique())

    def finish(self) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
        """The tables by name, and the totals; leaves `ledger` and `subscriptions` in the store."""
        last = self._plan.end - timedelta(days=1)
        if self._known.last is not None:
            last = date(1970, 1, 1) + timedelta(milliseconds=self._known.last)
        names = (_PLAYBACKS, _EXPOSED, _PEOPLE, _WATCHED, _PERIODS)
        for played, exposed, people, watched, periods in zip(*(self._store.parts(n) for n in names), strict=True):
            self._add_viewing(played, exposed)
            self._add_money(people, watched, periods, last)
        for name in (_PLAYBACKS, _PEOPLE, _WATCHED, _EXPOSED):
            self._store.drop(name)
        frames = {name: self._merged(name) for name in KEYS}
        watched = frames.pop("title_month")
        frames["content_cost"] = money.content_cost(self._world.contracts, watched, last)
        hours = self._counts.pop("played_ms", 0) / MS_PER_HOUR
        return {name: _finished(name, frame) for name, frame in frames.items()}, self._counts | {"hours": hours}

    def _add_viewing(self, played: pl.DataFrame, exposed: pl.DataFrame) -> None:
        known = self._known
        # A history may be older than the row of the catalogue: then its first play tells when a title was there.
        released = {title: min(first, self._world.released.get(title, first)) for title, first in known.played.items()}
        self._add("title_day", viewing.title_day(played))
        self._add("title_engagement", viewing.title_engagement(played, released))
        self._add("title_retention", viewing.title_retention(played))
        self._add("qoe_hour", viewing.qoe_hour(played))
        self._add("experiment_moments", viewing.experiment_moments(played, exposed))
        self._add("title_month", money.title_month(played))
        if known.active:
            self._add("active_day", viewing.active_day(played, *known.active))

    def _add_money(self, people: pl.DataFrame, watched: pl.DataFrame, periods: pl.DataFrame, last: date) -> None:
        days = money.account_day(periods, last)
        ends = money.month_ends(days, last)
        moved = money.movements(ends, last)
        self._add("subscription_day", money.subscription_day(days))
        self._add("mrr_month", money.mrr_month(moved))
        self._add("churn_month", money.churn_month(moved, last))
        self._add("cohort_retention", money.cohort_retention(days, ends, watched, last))
        self._add("funnel_day", money.funnel_day(people, periods))

    def _add(self, name: str, part: pl.DataFrame) -> None:
        self._sums[name].append(part)
        if len(self._sums[name]) >= _FOLD:
            self._sums[name] = [self._merged(name)]

    def _merged(self, name: str) -> pl.DataFrame:
        if not self._sums[name]:
            return pl.DataFrame()
        return pl.concat(self._sums[name]).group_by(KEYS[name]).agg(pl.all().sum()).sort(KEYS[name])


def _finished(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Shares and hours, which do not add up, from sums, which do."""
    if frame.is_empty():
        return frame
    match name:
        case "title_day":
            hours = (pl.col("played_ms") / MS_PER_HOUR).alias("hours_viewed")
            return frame.select("event_date", "title_id", "plays", "viewers", hours, "completions")
        case "title_retention":
            return frame.with_columns(share=pl.col("playbacks") / pl.col("playbacks").first().over("title_id"))
        case "qoe_hour":
            return frame.with_columns(
                stalled_share=_share("stall_ms", "watch_ms"),
                average_kbps=_share("bits", "played_ms"),
                failure_share=_share("failures", "attempts"),
                exit_before_start_share=_share("exits_before_start", "attempts"),
            )
        case "active_day":
            return frame.with_columns(stickiness=_share("dau", "mau"))
        case "experiment_moments":
            return frame.with_columns(pl.col(pl.Int128).cast(pl.Float64))
        case "mrr_month":
            return frame.with_columns(arpu_minor=_share("closing_minor", "subscribers"))
        case "churn_month":
            net = pl.col("cancels") - pl.col("resubscribes")
            start = pl.col("subscribers_at_start")
            return frame.with_columns(
                gross_churn=_share("cancels", "subscribers_at_start"), net_churn=pl.when(start > 0).then(net / start)
            )
        case "cohort_retention":
            return frame.with_columns(retention=_share("paying", "accounts"))
        case "intake_day":
            return frame.with_columns(late_share=_share("late", "events"))
    return frame


def _share(part: str, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) != 0).then(pl.col(part) / pl.col(whole))
