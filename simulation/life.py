"""The life of each account as a customer: trial, paid or gone, renewals, failures, pauses, returns.

Whether a customer leaves at a renewal depends on the hours watched in the four weeks before it, so an experiment that
changes viewing changes churn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from matinee.db.subscriptions import Period
from simulation.behaviour import Plays, Visits
from simulation.parameters import MS_PER_DAY, Plan
from simulation.population import BLOCK, COUNTRIES, Population, account_id
from simulation.streams import stream

TRIAL_DAYS = 14
_CYCLE_DAYS, _YEAR_DAYS = 30, 365
_RECENT_MS = 28 * MS_PER_DAY
_CURRENCY = {"RU": "RUB", "US": "USD", "DE": "EUR", "GB": "GBP", "KZ": "KZT", "FR": "EUR"}
PLANS = ("basic", "standard", "premium")
# A month in minor units, tax out.
PRICES = {
    "RUB": (19_900, 29_900, 44_900),
    "USD": (799, 1_199, 1_799),
    "EUR": (749, 1_099, 1_599),
    "GBP": (649, 999, 1_399),
    "KZT": (119_000, 179_000, 249_000),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DRAWS = 512

SCHEMA = {
    "viewer": pl.Int32,
    "subscription": pl.Int32,
    "number": pl.Int32,  # of the period within its subscription
    "plan": pl.String,
    "state": pl.String,
    "monthly_minor": pl.Int64,
    "currency": pl.String,
    "opened": pl.Int64,
    "closed": pl.Int64,
    "end_reason": pl.String,
}


@dataclass(frozen=True)
class _Customer:
    """One account: when it joined, in which currency it pays, and what it watched (moments and running sum of ms)."""

    viewer: int
    joined: int
    currency: str
    moments: np.ndarray
    watched: np.ndarray
    hours_a_month: float  # what is to be expected where nothing is simulated yet

    def recent_hours(self, moment: int, start: int) -> float:
        if moment < start + _RECENT_MS:
            return self.hours_a_month
        low, high = np.searchsorted(self.moments, (moment - _RECENT_MS, moment))
        return float(self.watched[high] - self.watched[low]) / 3_600_000


def lives(plan: Plan, people: Population, visited: Visits, made: Plays, joined: np.ndarray, block: int) -> pl.DataFrame:
    """The subscription periods of a block in order of viewer and time, as the end of the simulated time knows them."""
    draws = stream(plan.seed, "life", block).random((BLOCK, _DRAWS))
    of = visited.viewer[made.visit]
    rows: list[tuple[object, ...]] = []
    for i, customer in enumerate(_customers(plan, people, of, made, joined)):
        rows += _known_at_the_end(plan, _life(plan, customer, _Luck(draws[i])))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def periods(run: str, made: pl.DataFrame) -> list[Period]:
    """The same as rows of PostgreSQL. Ids say what they name, so that writing them again changes nothing."""
    return [
        Period(
            period_id=f"{(account := account_id(run, row['viewer']))}-s{row['subscription']}-{row['number']}",
            subscription_id=f"{account}-s{row['subscription']}",
            account_id=account,
            plan=row["plan"],
            state=row["state"],
            monthly_minor=row["monthly_minor"],
            currency=row["currency"],
            opened=_moment(row["opened"]),
            closed=None if row["closed"] is None else _moment(row["closed"]),
            end_reason=row["end_reason"],
        )
        for row in made.iter_rows(named=True)
    ]


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _customers(plan: Plan, people: Population, of: np.ndarray, made: Plays, joined: np.ndarray) -> Iterator[_Customer]:
    order = np.lexsort((made.first_frame_ms, of))
    moments, watched = made.first_frame_ms[order], made.watched.played_ms[order]
    bounds = np.searchsorted(of[order], np.arange(len(people.number) + 1))
    a_visit = watched.sum() / 3_600_000 / max(people.rate.sum() * plan.days, 1)
    for i, number in enumerate(people.number):
        own = slice(bounds[i], bounds[i + 1])
        yield _Customer(
            viewer=int(number),
            joined=int(joined[i]),
            currency=_CURRENCY[COUNTRIES[people.country[i]]],
            moments=moments[own],
            watched=np.r_[0, np.cumsum(watched[own])],
            hours_a_month=float(people.rate[i] * 28 * a_visit),
        )


class _Luck:
    """The draws of one viewer, one after another."""

    def __init__(self, draws: np.ndarray) -> None:
        self._draws = iter(draws.tolist())

    def below(self, chance: float) -> bool:
        return next(self._draws, 0.999) < chance

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._draws, 0.5)


_Row = tuple[int, int, int, str, str, int, str, int, int, str]


def _life(plan: Plan, who: _Customer, luck: _Luck) -> Iterator[_Row]:
    """Periods one after another; the last ones may lie beyond the simulated time."""
    business, moment, number = plan.business, who.joined, 0
    serial = luck.below(business.serial_churners)
    if not luck.below(business.subscribes):
        return
    # Who joined at midnight sharp does everything then.
    whole_days = who.joined % MS_PER_DAY == 0
    while moment < plan.end_ms:
        subscription = _Subscription(who, number, whole_days, luck)
        if number == 0:
            converted = luck.below(business.converts)
            yield subscription.period("trial", moment, TRIAL_DAYS, "paid" if converted else "cancelled")
            if converted:
                yield from subscription.paid(plan, subscription.end, serial)
        else:
            yield from subscription.paid(plan, moment, serial)
        if not luck.below(0.9 if serial else business.returns):
            return
        gap = luck.between(25, 50) if serial else luck.between(5, 130)
        moment, number = subscription.end + subscription.days(gap), number + 1


class _Subscription:
    """From the first day to the last: a plan and a price, which may change."""

    def __init__(self, who: _Customer, number: int, whole_days: bool, luck: _Luck) -> None:
        self._who, self._number, self._whole_days, self._luck = who, number, whole_days, luck
        self._plan = min(int(luck.between(0, 2.5)), 2)
        self._periods = 0
        self._yearly = False
        self.end = 0

    def days(self, days: float) -> int:
        """A time in milliseconds."""
        return round(days) * MS_PER_DAY if self._whole_days else int(days * MS_PER_DAY)

    def period(self, state: str, opened: int, days: float, reason: str) -> _Row:
        self.end = opened + max(self.days(days), MS_PER_DAY if self._whole_days else 1)
        self._periods += 1
        price = PRICES[self._who.currency][self._plan]
        # A year costs ten months.
        monthly = price * 10 // 12 if self._yearly else price
        return (
            self._who.viewer, self._number, self._periods - 1, PLANS[self._plan], state, monthly, self._who.currency,
            opened, self.end, reason,
        )  # fmt: skip

    def paid(self, plan: Plan, moment: int, serial: bool) -> Iterator[_Row]:
        """Periods from the first payment to the end; nothing after the simulated time matters."""
        business, luck = plan.business, self._luck
        self.end = moment
        self._yearly = not serial and luck.below(business.yearly)
        cycle = _YEAR_DAYS if self._yearly else _CYCLE_DAYS
        cycles = 0
        while moment <= plan.end_ms:
            cycles += 1
            renewal = moment + self.days(cycles * cycle)
            leaves = (
                0.5
                if serial
                else business.cancels * np.exp(-business.hours_hold * self._who.recent_hours(renewal, plan.start_ms))
            )
            length = cycles * cycle
            if luck.below(float(leaves)):
                yield self.period("active", moment, length, "cancelled")
                return
            if luck.below(business.payment_fails):
                yield self.period("active", moment, length, "payment")
                recovered = luck.below(business.recovers)
                yield self.period("past_due", self.end, luck.between(0.1, 10), "payment")
                if not recovered:
                    return
            elif luck.below(business.changes_plan):
                yield self.period("active", moment, length, "plan_change")
                self._plan = (self._plan + 1 + luck.below(0.4)) % len(PLANS)
            elif luck.below(business.pauses):
                yield self.period("active", moment, length, "paused")
                resumes = luck.below(0.8)
                yield self.period("paused", self.end, luck.between(15, 60), "resumed" if resumes else "cancelled")
                if not resumes:
                    return
            elif renewal <= plan.end_ms:
                continue
            else:
                yield self.period("active", moment, length, "cancelled")
                return
            moment, cycles = self.end, 0


def _known_at_the_end(plan: Plan, rows: Iterator[_Row]) -> Iterator[tuple[object, ...]]:
    """What has begun; what has not ended by then goes on."""
    for row in rows:
        *about, opened, closed, reason = row
        if opened >= plan.end_ms:
            return
        yield (*about, opened, closed, reason) if closed < plan.end_ms else (*about, opened, None, None)
