"""Our books against a provider: what differs is asked about, what it alone knows is booked, the rest is named."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from matinee.errors import MatineeError
from matinee.settings import Settings
from serving.billing.errors import AlreadyPostedError
from serving.billing.ledger import core as ledger
from serving.billing.ledger import facts
from serving.billing.ledger.money import Money
from serving.billing.payments import core as payments
from serving.billing.payments import refunds
from serving.billing.payments.desk import Desk
from serving.billing.providers import NAMES
from serving.billing.providers.base import Movement, ProviderAwayError
from serving.billing.reconcile.compare import Booked, Difference, differences, here, there
from serving.billing.reconcile.verify import QUERIES
from serving.db import Row, row, rows

GRACE = timedelta(minutes=15)  # what is younger may be on its way to either side
RECENT = timedelta(days=35)  # what is compared where nobody says otherwise
MARGIN = timedelta(days=7)  # between what the provider did and what we heard of it, at most; of payments any time
_ASKED = 500  # so many payments at most, one after the other

_CORRECT = "then `matinee billing correct` under this id"
REMEDIES = {
    "payment": f"nobody here asked for it, or not for this amount: refund it at the provider, {_CORRECT}",
    "refund": f"look at the refund at the provider, {_CORRECT}",
    "fee": f"compare with the provider's statement, {_CORRECT}",
    "dispute": f"look at the dispute at the provider, {_CORRECT}",
    "payout": f"compare with the bank's statement, {_CORRECT}",
    "other": f"compare with the provider's statement, {_CORRECT}",
}
_CAME_BACK = (  # a card that was closed meanwhile, say: some providers call a refund made, and failed days later
    f"the refund failed there after all, and the customer has nothing: give it back in another way, {_CORRECT}"
)
_NOT_THERE = f"the provider knows nothing of it: look for it there by its amount and time, {_CORRECT}"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was compared (`since` <= at < `until`) and what came of it.

    `booked`: facts that were written by what the provider told; `asked`: payments and refunds that were settled anew.
    `balances`: currency -> (ours, the provider's), where everything from the beginning was compared.
    """

    provider: str
    since: datetime
    until: datetime
    movements: int
    booked: tuple[ledger.Transaction, ...] = ()
    asked: int = 0
    differences: tuple[Difference, ...] = ()
    balances: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        return not self.differences


def remedy(difference: Difference) -> str:
    """What a person does about it."""
    if difference.kind == "refund" and difference.lacking > 0 and difference.there is not None:
        return _CAME_BACK
    return _NOT_THERE if difference.wrong == "missing there" else REMEDIES[difference.kind]


async def providers(connection: AsyncConnection, settings: Settings) -> list[str]:
    """Whom the ledger has money with, and who can be asked: simulated payments have nobody, and the sandbox does not
    run beside real money."""
    askable = [name for name in NAMES if name != "sandbox" or settings.payments == "sandbox"]
    return [each["name"] for each in await rows(connection, QUERIES["providers"], {"names": askable})]


async def reconcile(desk: Desk, name: str, since: datetime | None, *, booking: bool = True) -> Reconciled:
    """Hold the ledger's `clearing` against what the provider lists; `since` None: from the first fact on.

    What differs about payments and refunds of ours is asked about first, which settles what was on its way. Then
    payouts, and fees of no payment, are booked, as nobody but the provider can tell of them (`booking` False: neither).

    Raises:
        ProviderAwayError: the provider does not answer; what was booked before stays.
    """
    provider, now = desk.provider(name), desk.clock.now()
    first = await _first(desk, name, since)
    began = min(each for each in (since, first, now) if each)
    movements = [each async for each in provider.listed(began - MARGIN, now)]
    window = (since or began - MARGIN, now - GRACE)
    found, disputes = await _compared(desk, name, movements, *window)
    asked, written = 0, ()
    if booking and found:
        asked = await _ask(desk, found[:_ASKED])
        found, disputes = await _compared(desk, name, movements, *window)
        if written := _only_there(name, found, movements, disputes, now):
            written = await _posted(desk, written)
            found, disputes = await _compared(desk, name, movements, *window)
        # What an open dispute costs some providers take at once; our books when it is lost.
        found = [each for each in found if _of_dispute(each, disputes, "open") is None]
    balances = await _balances(desk, name, movements) if since is None else {}
    return Reconciled(name, *window, len(movements), written, asked, tuple(found), balances)


async def _first(desk: Desk, name: str, since: datetime | None) -> datetime | None:
    async with desk.transaction() as connection:
        found = await row(connection, QUERIES["first_moved"], {"provider": name, "since": since})
    return found["at"] if found else None


async def _compared(
    desk: Desk, name: str, movements: Sequence[Movement], since: datetime, until: datetime
) -> tuple[list[Difference], list[Row]]:
    """What differs, and the disputes of all payments that it may be about."""
    pairs = [pair for each in movements for pair in _facts_of(each)]
    moved = sorted({each.payment_id for each in movements if each.payment_id})
    async with desk.transaction() as connection:
        disputes = await rows(connection, QUERIES["disputes_of"], {"payments": moved})
        kinds = ("dispute", "dispute_won", "dispute_lost", "fee")
        pairs += [(kind, each["dispute_id"]) for each in disputes for kind in kinds]
        asked = {
            "provider": name,
            "since": since,
            "until": until,
            "kinds": [kind for kind, _ in pairs],
            "sources": [source for _, source in pairs],
        }
        booked = [Booked(**each) for each in await rows(connection, QUERIES["booked"], asked)]
        found = differences(here(booked), there(movements), since, until)
        asked = {"provider": name, "sources": [each.id for each in found]}
        corrected = {
            (each["source"], each["currency"], each["amount_minor"])
            for each in await rows(connection, QUERIES["corrected"], asked)
        }
    return [each for each in found if (each.id, each.currency, each.lacking) not in corrected], disputes


def _facts_of(movement: Movement) -> Iterable[tuple[str, str]]:
    """(kind, source) of the facts that a movement may be known as here."""
    match movement.kind:
        case "payment" | "fee":
            return [(movement.kind, movement.payment_id or movement.ref)]
        case "refund":
            return [("refund", movement.refund_id or movement.ref)]
        case "payout":
            return [("payout", movement.ref)]
    return []


async def _ask(desk: Desk, found: Sequence[Difference]) -> int:
    """Settle what the differences are about, as far as it is ours; returns how many were asked about."""
    async with desk.transaction() as connection:
        known = await rows(connection, QUERIES["states_of"], {"ids": [each.id for each in found]})
    states = {each["id"]: each["state"] for each in known}
    count = 0
    for name, kind in sorted({(each.id, each.kind == "refund") for each in found if each.id in states}):
        try:
            await (refunds.push if kind else payments.settle)(desk, name, desk.clock.now())
        except ProviderAwayError:
            raise
        except MatineeError:  # another amount, say: it stays a difference, which is named
            continue
        count += 1
    return count


def _only_there(
    name: str, found: Sequence[Difference], movements: Sequence[Movement], disputes: Sequence[Row], now: datetime
) -> tuple[ledger.Transaction, ...]:
    """The facts that only the provider could tell. Pure."""
    moments = {each.ref: each.at for each in movements}
    written = []
    for each in found:
        is_new = each.here is None and each.id in moments
        taken = Money(-each.lacking, each.currency)
        won = _of_dispute(each, disputes, "won")
        if each.kind == "payout" and is_new:
            written.append(facts.payout(each.id, name, taken, moments[each.id]))
        elif each.kind == "fee" and is_new:
            written.append(facts.fee(each.id, name, taken, moments[each.id]))
        elif won is not None:  # and its fee not given back
            written.append(facts.fee(won, name, taken, now))
    return tuple(written)


async def _posted(desk: Desk, written: tuple[ledger.Transaction, ...]) -> tuple[ledger.Transaction, ...]:
    """Write them, but for those that another run has written meanwhile, or of a dispute that costs a second time: such
    a one stays a difference, and keeps no other from being written."""
    posted = []
    async with desk.transaction() as connection:
        for each in written:
            with suppress(AlreadyPostedError):
                async with connection.transaction():
                    await ledger.post(connection, [each])
                posted.append(each)
    return tuple(posted)


def _of_dispute(difference: Difference, disputes: Sequence[Row], state: str) -> str | None:
    """The dispute in this state whose fee our books lack, if that is what differs."""
    if difference.kind != "fee" or difference.lacking >= 0:
        return None
    whose = (difference.id, difference.currency, state)
    known = (each["dispute_id"] for each in disputes if (each["payment_id"], each["currency"], each["state"]) == whose)
    return next(known, None)


async def _balances(desk: Desk, name: str, movements: Sequence[Movement]) -> dict[str, tuple[int, int]]:
    async with desk.transaction() as connection:
        read = await rows(connection, QUERIES["clearing"], {"provider": name})
    sums = {each["currency"]: (each["amount_minor"], 0) for each in read}
    for each in movements:
        ours, theirs = sums.get(each.money.currency, (0, 0))
        sums[each.money.currency] = ours, theirs + each.money.minor
    return sums
