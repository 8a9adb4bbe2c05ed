"""What a subscriber is billed: the lines of a start, a renewal, a change. Pure."""

from datetime import datetime

from psycopg.types.range import Range

from serving.billing.invoices.lines import Draft, Line
from serving.billing.ledger.money import least
from serving.billing.products.core import Price
from serving.billing.promo.terms import Promo, discount
from serving.billing.subscriptions.machine import State
from serving.billing.subscriptions.periods import start_of
from serving.billing.subscriptions.proration import Change, Worth, anew, fair, within
from serving.billing.subscriptions.rows import Period, Subscription, end_at, start_at
from serving.billing.subscriptions.standing import GRACE

_INTERVALS = {1: {"en": "1 month", "ru": "1 месяц"}, 12: {"en": "1 year", "ru": "1 год"}}
_REST = {"en": "rest of the period", "ru": "остаток периода"}
_UNUSED = {"en": "unused time", "ru": "неиспользованное время"}


def names(price: Price, of: dict[str, str]) -> dict[str, str]:
    return {language: f"{price.name(language)}, {of.get(language, of['en'])}" for language in price.names or ("en",)}


def whole(price: Price, period: Period) -> Line:
    """A whole period of a plan."""
    return Line(
        kind="plan",
        amount_minor=price.money.minor,
        names=names(price, _INTERVALS[price.months]),
        plan_id=price.plan_id,
        price_id=price.price_id,
        months=price.months,
        period=period,
    )


def draft(
    reason: str, price: Price, lines: tuple[Line, ...], period: Period, *, country: str, rate_bp: int, language: str,
    subscription_id: str,
) -> Draft:  # fmt: skip
    return Draft(
        purpose="subscription",
        reason=reason,
        currency=price.money.currency,
        lines=lines,
        tax_country=country if rate_bp else "",
        tax_bp=rate_bp,
        country=country,
        language=language,
        subscription_id=subscription_id,
        period=period,
    )


def first(price: Price, begins: datetime, zone: str) -> Period:
    """A period that begins at a moment, which becomes the anchor of those that follow."""
    return Range(begins, start_of(begins, price.months, zone))


def following(subscription: Subscription, ran: Price, price: Price, at: datetime) -> Period:
    """The period after the current one; where that ended longer ago than access lasts, one that begins now."""
    until = subscription.until
    if at > until + GRACE or subscription.anchor is None:
        return first(price, at, subscription.zone)
    months = subscription.elapsed + ran.months + price.months
    return Range(until, start_of(subscription.anchor, months, subscription.zone))


def renewed(subscription: Subscription, ran: Price, period: Period) -> tuple[datetime, int]:
    """The anchor, and the months from it to the beginning of a period that follows the current one."""
    begins = start_at(period)
    if subscription.anchor is None or subscription.period is None:
        return begins, 0
    if begins == start_at(subscription.period):
        return subscription.anchor, subscription.elapsed
    if begins == subscription.until:
        return subscription.anchor, subscription.elapsed + ran.months
    return begins, 0


def worth_of(subscription: Subscription) -> Worth:
    assert subscription.worth_from is not None, "what is paid for has a worth"
    assert subscription.paid_until is not None, "what is paid for has an end"
    return Worth(subscription.worth_minor, subscription.worth_from, subscription.paid_until)


def change(subscription: Subscription, ran: Price, price: Price, at: datetime, off: int = 0) -> tuple[Change, Period]:
    """What a change that takes effect now costs, and the period that it pays for.

    Of the same interval the period stays; of another one it begins now, or when the trial ends. `off`: what a code
    takes off the new price.
    """
    worth = worth_of(subscription)
    begins, tiny = max(at, start_at(paid_period(subscription))), least(price.money.currency)
    if price.months != ran.months:
        return fair(anew(price.money.minor, worth, at, off), tiny), first(price, begins, subscription.zone)
    paid = paid_period(subscription)
    made = within(price.money.minor, worth, (start_at(paid), end_at(paid)), at, off)
    return fair(made, tiny, is_less=price.money <= ran.money), Range(max(at, start_at(paid)), end_at(paid))


def paid_period(subscription: Subscription) -> Period:
    """What is paid for: the current period, or the one after the trial."""
    if subscription.state is State.TRIALING:
        return Range(subscription.anchor or subscription.until, subscription.paid_until)
    return Range(start_at(subscription.period), subscription.until)


def changing(ran: Price, price: Price, made: Change, period: Period, promo: Promo | None = None) -> tuple[Line, ...]:
    """The lines of a change: the new plan for its period, less the unused of the old one and what a code takes off."""
    listed = made.charged + made.off
    is_whole = listed == price.money.minor
    charged = Line(
        kind="plan",
        amount_minor=listed,
        names=names(price, _INTERVALS[price.months] if is_whole else _REST),
        plan_id=price.plan_id,
        price_id=price.price_id,
        months=price.months if is_whole else None,
        period=period,
    )
    unused = Line(
        kind="unused",
        amount_minor=-made.unused,
        names=names(ran, _UNUSED),
        plan_id=ran.plan_id,
        price_id=ran.price_id,
        period=period,
    )
    return (charged, unused, discount(promo, charged, made.off)) if promo and made.off else (charged, unused)
