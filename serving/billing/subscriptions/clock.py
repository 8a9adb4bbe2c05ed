"""What the clock does to subscriptions: trials and periods end, renewals are billed, refused ones tried again.

`due` says which it is time for, `turn_many` does it for some hundred at once, with as many statements as for one. Both
may be run by several at once, twice or late: each is looked at under its lock, and not before it is due again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from serving.billing.invoices import core as invoices
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Draft, Line
from serving.billing.ledger.money import least
from serving.billing.products import core as products
from serving.billing.promo import core as promos
from serving.billing.promo.terms import Promo, apply, covers
from serving.billing.subscriptions import drafts
from serving.billing.subscriptions.machine import Event, State
from serving.billing.subscriptions.moves import Book, book, expired, moment_of, moved, save, told
from serving.billing.subscriptions.rows import QUERIES, Letter, Move, Subscription, held, subscription
from serving.billing.subscriptions.settling import void_all
from serving.billing.subscriptions.standing import GRACE
from serving.db import Row, rows

Due = Subscription
LEASE = timedelta(hours=1)  # a charge of which nothing was heard is looked at again
BUSY = timedelta(minutes=1)  # what is being settled at the moment, too


@dataclass(frozen=True, slots=True)
class Charge:
    """An invoice that is to be paid now, without its customer; None: by no way to pay, so by the balance or not at all.

    `attempt` counts from 1 and stays the same until the charge is known to be refused.
    """

    invoice: Invoice
    method_id: str | None
    attempt: int


async def due(connection: AsyncConnection, at: datetime, limit: int) -> list[Due]:
    """What it is time for, the longest waiting first; locked, but for those that another run has locked."""
    found = await rows(connection, QUERIES["due"], {"at": at, "limit": limit})
    return [subscription(each) for each in found]


async def turn(connection: AsyncConnection, one: Due, at: datetime) -> Invoice | None:
    """Do what the clock says to one; returns what has to be paid now."""
    charges = await turn_many(connection, [one], at)
    return charges[0].invoice if charges else None


async def turn_many(connection: AsyncConnection, dues: Sequence[Due], at: datetime) -> list[Charge]:
    """Do what the clock says; returns what has to be charged now. What is not due (any more) is left alone.

    A charge is due again after `LEASE`, should nobody tell `paid_many` or `refused_many` what became of it.
    """
    ids = [each.subscription_id for each in dues]
    ready = [each for each in (await held(connection, ids)).values() if each.due_at is not None and each.due_at <= at]
    orders = await _open(connection, [each.subscription_id for each in ready])
    known = await book(connection, sorted({each.country for each in ready}), at)
    moves: list[Move] = []
    billed: list[tuple[Subscription, Event, Row | None]] = []
    for whose in ready:
        open_ = orders.get(whose.subscription_id, [])
        if any(order["busy"] for order in open_):
            moves.append(Move(whose, replace(whose, due_at=moment_of(whose, at) + BUSY)))
            continue
        step = _step(whose, open_, at)
        kept = _kept(whose, open_, step.event, at)
        await void_all(connection, [o["invoice_id"] for o in open_ if o is not kept and step.event is not None], at)
        if step.event is not None and step.event in (Event.RENEWING, Event.RESUMING):
            billed.append((whose, step.event, kept))
        else:
            moves.append(step)
    bills, refusals = await _bill(connection, billed, known, at)
    await save(connection, [*moves, *(move for move, _ in bills), *refusals], known, at)
    return [charge for _, charge in bills]


async def _open(connection: AsyncConnection, ids: Sequence[str]) -> Mapping[str, list[Row]]:
    """Open invoices by their subscription; `busy`: somebody has it locked."""
    free = {
        each["invoice_id"] for each in await rows(connection, QUERIES["free_open_invoices"], {"subscription_ids": ids})
    }
    found: dict[str, list[Row]] = {}
    for each in await rows(connection, QUERIES["open_invoices"], {"subscription_ids": ids}):
        found.setdefault(each["subscription_id"], []).append({**each, "busy": each["invoice_id"] not in free})
    return found


def _kept(whose: Subscription, open_: Sequence[Row], event: Event | None, at: datetime) -> Row | None:
    """The invoice that is out for this very renewal already. One that nobody tried to collect until access had ended
    is taken back: what is billed then begins then."""
    reason = {Event.RENEWING: "renewal", Event.RESUMING: "resume"}.get(event) if event else None
    found = next((order for order in open_ if order["reason"] == reason), None)
    is_late = whose.due_at is not None and moment_of(whose, at) > whose.due_at + GRACE
    return None if found is not None and is_late and not found["in_flight"] else found


def _step(whose: Subscription, open_: Sequence[Row], at: datetime) -> Move:
    """What the clock says; renewals and resumptions are billed first, so theirs is not the whole of it."""
    moment = moment_of(whose, at)
    match whose.state:
        case State.INCOMPLETE:
            if any(order["in_flight"] for order in open_):
                return Move(whose, replace(whose, due_at=moment + timedelta(days=1)))
            return Move(whose, expired(whose, Event.ABANDONED, at), Event.ABANDONED)
        case State.TRIALING:
            return _trial(whose, at, moment)
        case State.ACTIVE if moment < whose.until:
            return Move(whose, replace(whose, due_at=whose.until))
        case State.ACTIVE if whose.ends or not whose.chargeable:
            return _ended(whose, at, "cancelled")
        case State.ACTIVE if whose.pauses:
            after = moved(whose, Event.PAUSED, at, pauses=False, due_at=whose.resumes_at, attempts=0)
            return Move(whose, after, Event.PAUSED, "paused")
        case State.ACTIVE | State.PAST_DUE if whose.chargeable:
            return Move(whose, whose, Event.RENEWING)
        case State.PAUSED if whose.chargeable:
            return Move(whose, whose, Event.RESUMING)
        case State.PAST_DUE | State.PAUSED:
            return Move(whose, expired(whose, Event.CANCELLED, at), Event.CANCELLED)
    return Move(whose, replace(whose, due_at=None))


def _trial(whose: Subscription, at: datetime, moment: datetime) -> Move:
    if moment < whose.until:
        letter = None
        if whose.paid_until is None and not whose.ends:
            letter = Letter("trial_ending", whose.price_id, {"ends": told(whose, whose.until)})
        return Move(whose, replace(whose, due_at=whose.until), letter=letter)
    if whose.paid_until is None or whose.account_id is None:
        return _ended(whose, at, "trial")
    after = moved(
        whose, Event.TRIAL_OVER, at, price_id=whose.paid_price_id, next_price_id=None, due_at=whose.paid_until,
        period=drafts.paid_period(whose),
    )  # fmt: skip
    return Move(whose, after, Event.TRIAL_OVER, "paid")


def _ended(whose: Subscription, at: datetime, why: str) -> Move:
    letter = Letter("subscription_ended", whose.paid_price_id, {"why": why})
    reason = "payment" if why == "payment" else "cancelled"
    return Move(whose, expired(whose, Event.ENDED, at), Event.ENDED, reason, {"why": why}, letter)


async def _bill(
    connection: AsyncConnection, billed: Sequence[tuple[Subscription, Event, Row | None]], known: Book, at: datetime
) -> tuple[list[tuple[Move, Charge]], list[Move]]:
    """Charges with their moves, and what ends because nothing can be charged."""
    fresh = [(whose, event) for whose, event, order in billed if order is None]
    made = await drafted(connection, fresh, known, at)
    payable, refusals = [], []
    for (whose, event), (draft, promo) in zip(fresh, made, strict=True):
        if whose.method_id is None and not await _covered(connection, whose, draft):
            refusals.append(_unpaid(whose, event, at))
        else:
            payable.append((whose, event, draft, promo))
    issued = await issued_many(connection, [(whose, draft, promo) for whose, _, draft, promo in payable], at)
    out = await invoices.get_many(connection, [order["invoice_id"] for _, _, order in billed if order])
    bills = [
        _charge(whose, event, invoice, at, fresh=True)
        for (whose, event, _, _), invoice in zip(payable, issued, strict=True)
    ]
    again = [(whose, event) for whose, event, order in billed if order]
    bills += [
        _charge(whose, event, invoice, at, fresh=False) for (whose, event), invoice in zip(again, out, strict=True)
    ]
    return bills, refusals


async def _covered(connection: AsyncConnection, whose: Subscription, draft: Draft) -> bool:
    total = draft.total_minor
    return total == 0 or await invoices.balance(connection, whose.customer_id, draft.currency) >= total


def _unpaid(whose: Subscription, event: Event, at: datetime) -> Move:
    if event is Event.RENEWING and whose.state is State.ACTIVE:
        return _ended(whose, at, "payment")
    letter = Letter("subscription_ended", whose.price_id, {"why": "payment"})
    return Move(whose, expired(whose, Event.EXHAUSTED, at), Event.EXHAUSTED, "payment", {"why": "payment"}, letter)


def _charge(whose: Subscription, event: Event, invoice: Invoice, at: datetime, *, fresh: bool) -> tuple[Move, Charge]:
    after = moved(whose, event, at, due_at=moment_of(whose, at) + LEASE)
    attempt = whose.attempts + 1
    is_news = fresh or whose.state is not State.ACTIVE
    details = {"invoice": invoice.invoice_id, "attempt": attempt}
    return Move(whose, after, event if is_news else None, details=details), Charge(invoice, whose.method_id, attempt)


async def drafted(
    connection: AsyncConnection, billed: Sequence[tuple[Subscription, Event]], known: Book, at: datetime
) -> list[tuple[Draft, Promo | None]]:
    """What the next periods cost, with what codes still take off them."""
    carried = await promos.carried_many(connection, [whose.subscription_id for whose, _ in billed]) if billed else {}
    return [_drafted(whose, event, carried.get(whose.subscription_id), known, at) for whose, event in billed]


def _drafted(
    whose: Subscription, event: Event, promo: Promo | None, known: Book, at: datetime
) -> tuple[Draft, Promo | None]:
    moment = moment_of(whose, at)
    is_renewal = event is Event.RENEWING
    price = products.kept(known.prices, whose.next_price_id or whose.price_id, whose.until if is_renewal else moment)
    ran = known.prices[whose.price_id]
    follows = is_renewal and whose.state is State.ACTIVE
    period = drafts.following(whose, ran, price, moment) if follows else drafts.first(price, moment, whose.zone)
    lines: tuple[Line, ...] = (drafts.whole(price, period),)
    if promo is not None and not covers(promo, lines, price.money.currency):
        promo = None
    if promo is not None:
        lines = apply(promo, lines, least(price.money.currency))
    draft = drafts.draft(
        "renewal" if is_renewal else "resume", price, lines, period,
        country=whose.country, rate_bp=known.rate(whose.country), language=whose.language or "en",
        subscription_id=whose.subscription_id,
    )  # fmt: skip
    return draft, promo


async def issued_many(
    connection: AsyncConnection, made: Sequence[tuple[Subscription, Draft, Promo | None]], at: datetime
) -> list[Invoice]:
    if not made:
        return []
    issued = await invoices.issue_many(connection, [(whose.customer_id, draft) for whose, draft, _ in made], at)
    used = [(promo, invoice) for (_, _, promo), invoice in zip(made, issued, strict=True) if promo is not None]
    await promos.attach_many(connection, used, at)
    return issued


async def resuming(connection: AsyncConnection, whose: Subscription, known: Book, at: datetime) -> Invoice:
    """The invoice of a paused subscription that goes on."""
    ((draft, promo),) = await drafted(connection, [(whose, Event.RESUMING)], known, at)
    (invoice,) = await issued_many(connection, [(whose, draft, promo)], at)
    return invoice
