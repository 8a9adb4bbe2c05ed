"""What payments do to subscriptions: what was paid for opens, what was refused is tried again, what went back closes.

Everything happens in the transaction that settles the payment, and by the subscription's state, so that being told
twice, late or in another order changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from psycopg import AsyncConnection
from psycopg.types.range import Range

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.products.core import Price
from serving.billing.subscriptions import drafts
from serving.billing.subscriptions.machine import Event, State
from serving.billing.subscriptions.moves import Book, announced, book, expired, moment_of, moved, save, told
from serving.billing.subscriptions.periods import start_of
from serving.billing.subscriptions.rows import QUERIES, Letter, Move, Period, Subscription, end_at, held, live, start_at
from serving.billing.subscriptions.settling import Given, give_credit, void_all
from serving.billing.subscriptions.stakes import Stake, stake
from serving.billing.subscriptions.standing import DUNNING, GRACE
from serving.db import execute, rows

_SLOW = timedelta(days=1)  # who pays later than this gets a period that begins then


class Payment(Protocol):
    """What has to be known of a payment: by which way it was made, or which way it saved."""

    @property
    def payment_id(self) -> str: ...
    @property
    def method_id(self) -> str | None: ...
    @property
    def saved_id(self) -> str | None: ...
    @property
    def attempt(self) -> int: ...
    @property
    def failure(self) -> str | None: ...


Settled = tuple[Invoice, Payment | None]


async def paid(connection: AsyncConnection, invoice: Invoice, payment: Payment | None, at: datetime) -> None:
    """One invoice is paid: see `paid_many`."""
    await paid_many(connection, [(invoice, payment)], at)


async def paid_many(connection: AsyncConnection, settled: Sequence[Settled], at: datetime) -> None:
    """Open what these invoices are for; they are marked as paid already. No payment: nothing was due.

    What comes too late to be of use (a second subscription, a change of what has changed since) goes to the balance;
    money that was taken for it does not come here (see `give_up_useless`).
    """
    for part in _rounds(settled):
        subscriptions = await held(connection, [_whose(invoice) for invoice, _ in part])
        countries = {each.country for each in subscriptions.values()} | {invoice.country for invoice, _ in part}
        known = await book(connection, sorted(countries), at)
        moves = []
        for invoice, payment in part:
            move = await _paid(connection, subscriptions[_whose(invoice)], invoice, payment, known, at)
            if move is not None:
                moves.append(move)
            elif left := invoice.total_minor - invoice.credited_minor:
                await invoices.credit(connection, invoice.invoice_id, left, "too_late", at)
        await save(connection, moves, known, at)


async def give_up_useless(connection: AsyncConnection, wanted: Sequence[Invoice], at: datetime) -> set[str]:
    """Take back those of these open invoices that would open nothing if they were paid now; returns their ids.

    So that what was paid for them is given back to where it came from.
    """
    subscriptions = await held(connection, [_whose(invoice) for invoice in wanted])
    countries = {each.country for each in subscriptions.values()} | {invoice.country for invoice in wanted}
    known = await book(connection, sorted(countries), at)
    useless = [
        invoice.invoice_id
        for invoice in wanted
        if await _paid(connection, subscriptions[_whose(invoice)], invoice, None, known, at) is None
    ]
    await void_all(connection, useless, at)
    return set(useless)


def _whose(invoice: Invoice) -> str:
    assert invoice.subscription_id is not None, "an invoice of a subscription"
    return invoice.subscription_id


def _rounds(settled: Sequence[Settled]) -> list[list[Settled]]:
    """Each subscription once in each of them: what comes second sees what the first one did."""
    made: list[dict[str, Settled]] = []
    for each in settled:
        key = _whose(each[0])
        found = next((part for part in made if key not in part), None)
        if found is None:
            made.append(found := {})
        found[key] = each
    return [list(part.values()) for part in made]


async def _paid(
    connection: AsyncConnection,
    whose: Subscription,
    invoice: Invoice,
    payment: Payment | None,
    known: Book,
    at: datetime,
) -> Move | None:
    """The move; None: the invoice is of no use any more."""
    price = known.prices[_line(invoice, "plan")]
    after, why = None, "payment"
    match invoice.reason, whose.state:
        case "start", State.INCOMPLETE:
            other = await live(connection, whose.customer_id)
            after = None if other else await _started(connection, whose, invoice, price, at)
        case "start", State.TRIALING if whose.paid_until is None:
            after = await _ahead(connection, whose, invoice, price, at)
        case "renewal", State.ACTIVE | State.PAST_DUE:
            after = _renewed(whose, invoice, price, known, at)
            why = "payment" if whose.state is State.PAST_DUE else "plan_change"
        case "resume", State.PAUSED:
            after, why = await _started(connection, whose, invoice, price, at), "resumed"
        case "change", State.ACTIVE | State.TRIALING if _line(invoice, "unused") == whose.paid_price_id:
            after, why = _changed(whose, invoice, price, known, at), "plan_change"
    if after is None:
        return None
    method = (payment.saved_id or payment.method_id) if payment else None
    details: dict[str, object] = {"invoice": invoice.invoice_id, "payment": payment.payment_id if payment else None}
    event = Event.PAID
    if invoice.reason == "change":
        event, details = Event.CHANGED, details | {"unused": _set_off(whose, invoice)[0], "worth": whose.worth_minor}
    letter = announced(whose, price.price_id, known) if invoice.reason in ("start", "change") else None
    return Move(whose, replace(after, method_id=method or whose.method_id), event, why, details, letter)


def _line(invoice: Invoice, kind: str) -> str:
    return next((line.price_id for line in invoice.lines if line.kind == kind and line.price_id), "")


async def _begun(
    connection: AsyncConnection, whose: Subscription, invoice: Invoice, price: Price, begins: datetime, at: datetime
) -> Period:
    """The period of an order; one that was paid late begins when it was, and the invoice says so."""
    billed = start_at(invoice.period)
    if invoice.period is not None and max(at, begins) <= billed + _SLOW and begins <= billed:
        return invoice.period
    begins = max(at, begins)
    period = Range(begins, start_of(begins, price.months, whose.zone))
    await execute(connection, QUERIES["set_invoice_period"], {"invoice_id": invoice.invoice_id, "period": period})
    return period


async def _started(
    connection: AsyncConnection, whose: Subscription, invoice: Invoice, price: Price, at: datetime
) -> Subscription:
    period = await _begun(connection, whose, invoice, price, start_at(invoice.period), moment_of(whose, at))
    return moved(
        whose, Event.PAID, at, price_id=price.price_id, next_price_id=None, anchor=period.lower, elapsed=0,
        period=period, paid_until=period.upper, worth_minor=invoice.total_minor, worth_from=period.lower,
        due_at=period.upper, attempts=0, pauses=False, resumes_at=None, country=invoice.country,
    )  # fmt: skip


async def _ahead(
    connection: AsyncConnection, whose: Subscription, invoice: Invoice, price: Price, at: datetime
) -> Subscription:
    """Paid during the trial: the paid period begins when that ends."""
    moment = moment_of(whose, at)
    begins = whose.until if moment <= whose.until + _SLOW else moment
    period = await _begun(connection, whose, invoice, price, begins, begins)
    return moved(
        whose, Event.PAID, at, next_price_id=price.price_id, anchor=period.lower, elapsed=0, paid_until=period.upper,
        worth_minor=invoice.total_minor, worth_from=period.lower, due_at=whose.until, ends=False,
        country=invoice.country,
    )  # fmt: skip


def _renewed(whose: Subscription, invoice: Invoice, price: Price, known: Book, at: datetime) -> Subscription:
    assert invoice.period is not None, "a renewal is of a period"
    anchor, elapsed = drafts.renewed(whose, known.prices[whose.price_id], invoice.period)
    scheduled = None if _comes_to(known, whose.next_price_id, price) else whose.next_price_id
    return moved(
        whose, Event.PAID, at, price_id=price.price_id, next_price_id=scheduled, anchor=anchor, elapsed=elapsed,
        period=invoice.period, paid_until=invoice.period.upper, worth_minor=invoice.total_minor,
        worth_from=invoice.period.lower, due_at=invoice.period.upper, attempts=0, defaulted=False,
    )  # fmt: skip


def _comes_to(known: Book, price_id: str | None, price: Price) -> bool:
    """Whether a price is, or was succeeded by, the other one."""
    while price_id is not None and price_id != price.price_id:
        price_id = known.prices[price_id].succeeded_by
    return price_id is not None


def _changed(whose: Subscription, invoice: Invoice, price: Price, known: Book, at: datetime) -> Subscription | None:
    assert invoice.period is not None, "a change is of a period"
    if whose.paid_until is None or moment_of(whose, at) >= whose.paid_until:
        return None
    charged = sum(line.amount_minor for line in invoice.lines if line.kind in ("plan", "discount"))
    worth = charged - _set_off(whose, invoice)[1]
    return switched(whose, known.price(whose), price, worth, invoice.period, at)


def _set_off(whose: Subscription, invoice: Invoice) -> tuple[int, int]:
    """What a change sets off of what was paid before, and what it does not any more, as that went back since it was
    ordered."""
    ordered = -sum(line.amount_minor for line in invoice.lines if line.kind == "unused")
    unused = min(ordered, drafts.worth_of(whose).unused(invoice.issued_at))
    return unused, ordered - unused


def switched(whose: Subscription, ran: Price, price: Price, worth: int, period: Period, at: datetime) -> Subscription:
    """The subscription with another price for the rest of its paid period, or, of another interval, for a new one."""
    changes: dict[str, object] = {"worth_minor": worth, "worth_from": period.lower}
    if whose.state is State.TRIALING:
        anchor = whose.anchor if price.months == ran.months else period.lower
        changes |= {"next_price_id": price.price_id, "paid_until": period.upper, "anchor": anchor}
    else:
        changes |= {"price_id": price.price_id, "next_price_id": None}
    if whose.state is State.ACTIVE and price.months != ran.months:
        longer = end_at(period) - whose.until
        changes |= {
            "anchor": period.lower, "elapsed": 0, "period": period, "paid_until": period.upper,
            "due_at": period.upper, "resumes_at": whose.resumes_at + longer if whose.resumes_at else None,
        }  # fmt: skip
    return moved(whose, Event.CHANGED, at, **changes)


async def refused(connection: AsyncConnection, invoice: Invoice, payment: Payment | None, at: datetime) -> None:
    """A charge was refused: see `refused_many`."""
    await refused_many(connection, [(invoice, payment)], at)


async def refused_many(connection: AsyncConnection, settled: Sequence[Settled], at: datetime) -> None:
    """Charges were refused (no payment: there was no way to pay). A renewal is tried again, then it is over.

    What people tried themselves on a page counts for nothing: they may try again.
    """
    for part in _rounds(settled):
        subscriptions = await held(connection, [_whose(invoice) for invoice, _ in part])
        known = await book(connection, sorted({each.country for each in subscriptions.values()}), at)
        moves = []
        for invoice, payment in part:
            move = _refused(subscriptions[_whose(invoice)], invoice, payment, known, at)
            if move is not None:
                moves.append(move)
            if move is not None and move.event is Event.EXHAUSTED and invoice.reason == "renewal":
                await void_all(connection, [invoice.invoice_id], at)
        await save(connection, moves, known, at)


def _refused(whose: Subscription, invoice: Invoice, payment: Payment | None, known: Book, at: datetime) -> Move | None:
    details = {
        "invoice": invoice.invoice_id, "payment": payment.payment_id if payment else None,
        "failure": payment.failure if payment else "no_method",
    }  # fmt: skip
    states = {
        "start": (State.INCOMPLETE, State.TRIALING), "renewal": (State.ACTIVE, State.PAST_DUE),
        "resume": (State.PAUSED,),
    }  # fmt: skip
    if whose.state not in states.get(invoice.reason, ()):
        return None
    if invoice.reason == "start":
        return Move(whose, moved(whose, Event.REFUSED, at), Event.REFUSED, details=details)
    attempt = payment.attempt if payment else whose.attempts + 1
    if (payment is not None and payment.method_id is None) or attempt <= whose.attempts:
        return None
    details["attempt"] = str(attempt)
    if attempt > len(DUNNING):
        letter = Letter("subscription_ended", whose.price_id, {"why": "payment"})
        return Move(whose, expired(whose, Event.EXHAUSTED, at), Event.EXHAUSTED, "payment", details, letter)
    return _tried_again(whose, invoice, attempt, known, details, at)


def _tried_again(
    whose: Subscription, invoice: Invoice, attempt: int, known: Book, details: Mapping[str, str | None], at: datetime
) -> Move:
    again = moment_of(whose, at) + DUNNING[attempt - 1]
    after = moved(whose, Event.REFUSED, at, attempts=attempt, due_at=again)
    if invoice.reason == "renewal" and invoice.period is not None:
        anchor, elapsed = drafts.renewed(whose, known.prices[whose.price_id], invoice.period)
        after = replace(after, period=invoice.period, anchor=anchor, elapsed=elapsed)
    is_open = after.state is State.PAST_DUE and not after.defaulted
    days = {"again": told(whose, again), "until": told(whose, again + GRACE)}
    letter = Letter("payment_failed" if is_open else "payment_failed_shut", whose.price_id, days)
    return Move(whose, after, Event.REFUSED, "payment", details, letter)


async def withdrawn(
    connection: AsyncConnection,
    invoice: Invoice,
    at: datetime,
    why: Literal["refunded", "dispute_lost"] = "refunded",
    *,
    before_minor: int = 0,
) -> None:
    """A payment went back in full (`before_minor` of it earlier): what runs now, if it stands on it, ends now, and what
    is unused of other payments for it goes to the balance (of a disputed one, once that is won). It stands on a payment
    that changes set off, too, however long ago that was; not on one whose period was used up.

    A change to a plan of the same interval that went back is undone instead, unless the payment was disputed; what was
    changed once more stays, and a later change sets off less.
    """
    asked = {"subscription_id": _whose(invoice)}
    await rows(connection, QUERIES["lock_open_invoices"], asked)
    whose = (await held(connection, [_whose(invoice)]))[_whose(invoice)]
    moment = moment_of(whose, at)
    if whose.state not in (State.TRIALING, State.ACTIVE, State.PAST_DUE) or whose.paid_until is None:
        return
    staked = (await _stake(connection, invoice)).of(invoice.total_minor - before_minor)
    if not staked:
        return
    if whose.state is not State.PAST_DUE and whose.paid_until <= moment and why == "refunded":
        return
    known = await book(connection, [whose.country], at)
    was = _line(invoice, "unused")
    left = max(whose.worth_minor - staked, 0)
    if was and why == "refunded" and known.prices[was].months == known.price(whose).months:
        is_last = whose.paid_price_id == _line(invoice, "plan")
        undone = _undone(whose, known.prices[was], left, invoice, at)
        await save(connection, [undone if is_last else Move(whose, replace(whose, worth_minor=left))], known, at)
        return
    rest = drafts.worth_of(replace(whose, worth_minor=left)).unused(moment)
    found = await rows(connection, QUERIES["open_invoices"], {"subscription_ids": [whose.subscription_id]})
    await void_all(connection, [each["invoice_id"] for each in found], at)
    given = await give_credit(connection, whose, rest, "change", at)
    await save(connection, [_taken(whose, why, invoice, given, at)], known, at)


async def _stake(connection: AsyncConnection, invoice: Invoice) -> Stake:
    found = await rows(connection, QUERIES["events"], {"subscription_id": _whose(invoice)})
    return stake(found, invoice.invoice_id)


def _undone(whose: Subscription, price: Price, worth: int, invoice: Invoice, at: datetime) -> Move:
    of_trial = whose.state is State.TRIALING
    after = moved(
        whose, Event.CHANGED, at, worth_minor=worth, price_id=whose.price_id if of_trial else price.price_id,
        next_price_id=price.price_id if of_trial else None,
    )  # fmt: skip
    details = {"from": whose.paid_price_id, "to": price.price_id, "invoice": invoice.invoice_id, "why": "refunded"}
    return Move(whose, after, Event.CHANGED, "plan_change", details)


def _taken(whose: Subscription, why: str, invoice: Invoice, given: Given, at: datetime) -> Move:
    details = {"why": why, "invoice": invoice.invoice_id, "withheld": given.withheld}
    reason = "payment" if why == "dispute_lost" else "cancelled"
    if whose.state is State.TRIALING:
        after = moved(
            whose, Event.WITHDRAWN, at, next_price_id=None, paid_until=None, worth_minor=0, worth_from=None,
            due_at=whose.until,
        )  # fmt: skip
        return Move(whose, after, Event.WITHDRAWN, reason, details)
    letter = Letter("subscription_ended", whose.price_id, {"why": why})
    return Move(whose, expired(whose, Event.WITHDRAWN, at), Event.WITHDRAWN, reason, details, letter)


async def reduced(connection: AsyncConnection, invoice: Invoice, amount_minor: int, at: datetime) -> None:
    """Some of what was paid for the current period went back, and the period stays: a later change sets off less."""
    whose = (await held(connection, [_whose(invoice)]))[_whose(invoice)]
    gone = Stake((await _stake(connection, invoice)).part).of(amount_minor)
    if gone and whose.worth_minor:
        after = replace(whose, worth_minor=max(whose.worth_minor - gone, 0))
        known = await book(connection, [whose.country], at)
        await save(connection, [Move(whose, after)], known, at)
