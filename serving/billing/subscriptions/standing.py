"""What a subscription opens, as stretches of time in which nothing changes: the rows of `subscription_period`. Pure.

Access ends by itself when nobody runs the renewals: a stretch is written with its end. Where the end is known (a trial,
a cancellation, a pause, no way to pay) that is the period's end; where a renewal is to come, it is `GRACE` later, and a
renewal that comes in time moves it on. While a refused renewal is tried again, access lasts `GRACE` beyond the next
try; but nothing is open then for who left an earlier subscription with a renewal owed and has not renewed this one yet:
else every paid month would bring three free weeks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from serving.billing.products.core import Price
from serving.billing.subscriptions.machine import State
from serving.billing.subscriptions.proration import monthly_net
from serving.billing.subscriptions.rows import Subscription, end_at

GRACE = timedelta(days=2)
DUNNING = tuple(timedelta(days=days) for days in (2, 5, 7, 7))  # each after the one before; then it is over
_LATE = timedelta(days=1)  # a renewal that takes longer than this moves the end of access


@dataclass(frozen=True, slots=True)
class Stretch:
    """A row of `subscription_period` to be; see `matinee.db.subscriptions.Period`."""

    state: str
    plan: str
    version: int | None
    monthly_minor: int
    currency: str
    opened: datetime
    closed: datetime | None = None
    end_reason: str | None = None
    period_id: str | None = None

    def like(self, other: "Stretch") -> bool:
        """Whether one may go on as the other. A trial is whatever was given."""
        if self.state == "trial":
            return other.state == "trial"
        return (self.state, self.plan, self.version, self.monthly_minor, self.currency) == (
            other.state, other.plan, other.version, other.monthly_minor, other.currency,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What to do to the rows of one subscription."""

    gone: tuple[Stretch, ...]
    ended: tuple[Stretch, ...]
    begun: tuple[Stretch, ...]


def standing(
    subscription: Subscription, price: Price, paid_price: Price, rate_bp: int, moment: datetime
) -> tuple[Stretch, ...]:
    """What the subscription opens from a moment on. `paid_price`: of what is paid for, `price`: of what runs."""
    period = subscription.period
    match subscription.state:
        case State.INCOMPLETE | State.EXPIRED:
            return ()
        case State.TRIALING:
            is_paid = subscription.paid_until is not None
            over = end_at(period)
            trial = Stretch("trial", price.plan_id, price.version, 0, price.money.currency, moment, over)
            trial = replace(trial, end_reason="paid" if is_paid else "cancelled")
            begins = max(subscription.anchor or over, moment)
            return (trial, _running(subscription, paid_price, rate_bp, begins)) if is_paid else (trial,)
        case State.PAUSED:
            return (_stretch("paused", price, rate_bp, moment),)
        case State.ACTIVE:
            return (_running(subscription, price, rate_bp, moment),)
        case State.PAST_DUE if subscription.defaulted:
            return ()
        case State.PAST_DUE:
            assert subscription.due_at is not None, "a refused renewal is tried again"
            until = max(subscription.due_at, moment) + GRACE
            return (replace(_stretch("past_due", price, rate_bp, moment), closed=until, end_reason="payment"),)


def _running(subscription: Subscription, price: Price, rate_bp: int, opened: datetime) -> Stretch:
    until = subscription.paid_until
    assert until is not None, "what is active is paid"
    made = _stretch("active", price, rate_bp, opened)
    if subscription.ends:
        return replace(made, closed=until, end_reason="cancelled")
    if subscription.pauses:
        return replace(made, closed=until, end_reason="paused")
    if subscription.method_id is None:
        return replace(made, closed=until, end_reason="payment")
    asked = subscription.due_at or until
    if asked > until + _LATE:  # the provider has not answered for long: no fault of the subscriber's
        until = min(asked, until + sum(DUNNING, timedelta()))
    return replace(made, closed=until + GRACE, end_reason="payment")


def _stretch(state: str, price: Price, rate_bp: int, opened: datetime) -> Stretch:
    monthly = monthly_net(price.money.minor, price.months, rate_bp)
    return Stretch(state, price.plan_id, price.version, monthly, price.money.currency, opened)


def rewritten(rows: Sequence[Stretch], wanted: Sequence[Stretch], moment: datetime, why: str) -> Rewriting:
    """How the rows become what is wanted from a moment on; what was before it stays.

    The row that runs, or ran last, goes on where it is like what is wanted, else it ends at the moment, of `why`.
    """
    gone: list[Stretch] = []
    ended: list[Stretch] = []
    left = list(wanted)
    current = max((row for row in rows if row.opened <= moment), key=lambda row: row.opened, default=None)
    for row in rows:
        if row.opened <= moment and row is not current:
            continue
        until = next((each for each in left if row.like(each) and _follows(row, each, current, moment)), None)
        if until is not None:
            left.remove(until)
        if until is not None and (until.closed is None or until.closed > row.opened):
            if (row.closed, row.end_reason) != (until.closed, until.end_reason):
                ended.append(replace(row, closed=until.closed, end_reason=until.end_reason))
        elif row.opened >= moment:
            gone.append(row)
        elif row.closed is None or row.closed > moment:
            ended.append(replace(row, closed=moment, end_reason=why))
    begun = tuple(each for each in left if each.closed is None or each.closed > each.opened)
    return Rewriting(tuple(gone), tuple(ended), begun)


def _follows(row: Stretch, wanted: Stretch, current: Stretch | None, moment: datetime) -> bool:
    """Whether it is the row's own time that is wanted: now, or, of what is to come, from the same moment on."""
    return row.opened == wanted.opened or (row is current and wanted.opened <= moment)
