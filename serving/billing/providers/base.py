"""What the rest of billing knows of a payment provider: one interface, and what its words mean.

The rules that every provider keeps, and that `tests/serving/billing/provider_contract.py` holds it to:

- `payment_id` (a UUIDv7, of a time before the first call, be it by weeks) is the identity of a charge there, and its
  idempotency key. `open` or `charge` with the same order again, after whatever happened and however much later, moves
  money at most once in all. A refund goes by `refund_id` likewise, within `REPEATABLE`; later, `look_refund` first.
- The same `payment_id` with another amount, currency or buyer is a defect of the caller: ProviderRefusedError.
- Nothing here touches the database or holds state that matters: kill the process anywhere, ask again afterwards.
- Each request ends within `settings.payments_patience_s`, by an answer or one of the errors below; a call makes a few.
- Secrets are in no error, representation or log line.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol

from serving.billing.documents.fiscal import Item
from serving.billing.errors import BillingError
from serving.billing.ledger.money import Money

PATIENCE_S = 5.0  # for one answer, unless `settings.payments_patience_s` says otherwise
REPEATABLE = timedelta(hours=23)  # how long providers remember an idempotency key (24 h), less a margin
# A provider may still be at work on a request that we gave up waiting for: None of a look is final only this long after
# the last `open` or `charge` ended.
SILENCE = timedelta(minutes=5)


FAILURES = (
    "card_declined", "insufficient_funds", "expired_card", "authentication_required", "authentication_failed",
    "method_gone", "canceled", "expired",
)  # fmt: skip


class ProviderError(BillingError):
    """A provider could not be used: the message names it and what to do, and no secret."""


class ProviderAwayError(ProviderError):
    """Nobody knows what happened: timeout, refused connection, 5xx, HTML, in flight, too many. Stays pending; ask."""


class ProviderRefusedError(ProviderError):
    """The provider understood and said no to the request itself (4xx): nothing was done. Asking again is no use.

    A buyer's card that is declined is not this, but an Outcome with `State.failed`.
    """

    def __init__(self, message: str, code: str = "refused", status: int | None = None) -> None:
        super().__init__(message)
        self.code = code  # one of FAILURES, else the provider's word
        self.status = status  # of HTTP, where there was an answer


class ForgedError(ProviderError):
    """A notice that the provider did not send, or not now: wrong signature, stale, from the future, not readable."""


class State(StrEnum):
    pending = "pending"  # with the provider; it will end by itself
    action = "action"  # waits for the buyer at `checkout_url`
    succeeded = "succeeded"  # captured; final (money may go back as refund or dispute)
    failed = "failed"  # nothing was taken, and nothing will be under this payment_id; final


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid, and by whom. A repeated call gives an equal one, or the provider refuses the key."""

    payment_id: str
    money: Money
    description: str
    invoice_number: str
    customer_id: str
    email: str | None
    language: str  # ru, en
    return_url: str  # where a buyer comes back to, paid or not
    save_method: bool = False
    receipt: tuple[Item, ...] = ()  # for a cash register (54-FZ): sums up to `money` where given
    method_ref: str | None = None  # of `MethodSeen`; for `charge`
    since: datetime | None = None  # before the first call for this payment; None: the time of its id


@dataclass(frozen=True, slots=True)
class MethodSeen:
    """A way to pay that the provider kept for us. `ref` is a token, worthless without our key there."""

    ref: str
    label: str  # as its owner knows it: `Visa •••• 4242`


@dataclass(frozen=True, slots=True)
class DisputeSeen:
    """A buyer's bank takes money back. `fee_minor` is of the currency of `money`."""

    ref: str
    money: Money
    fee_minor: int
    reason: str
    state: Literal["open", "won", "lost"]
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """A payment as the provider has it now.

    `ref` never changes once it was told. `money` is what was captured: zero until `succeeded`, and then the order's.
    `fee_minor` is the provider's fee in the payment's currency, 0 while it is not known yet (a later look has it).
    """

    ref: str
    state: State
    money: Money
    fee_minor: int = 0
    checkout_url: str | None = None  # where the buyer acts; with `action`, and only then
    failure: str | None = None  # with `failed`: one of FAILURES, else the provider's word
    method: MethodSeen | None = None  # with `succeeded`, where it was to be kept and the provider did
    refunded_minor: int = 0
    disputes: tuple[DisputeSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class RefundOutcome:
    ref: str
    state: State  # never `action`
    money: Money
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A provider's message that something happened. It is believed to be the provider's, its content is not used:
    look at the payment. May come late, twice, in any order or never; `event_id` is the same for each copy.
    """

    event_id: str
    kind: Literal["payment", "refund", "dispute", "method", "other"]
    name: str  # the provider's name of the event: `payment_intent.succeeded`
    ref: str  # the provider's id of the thing that it is about
    payment_id: str | None = None  # ours, where the message says so; else ask `Provider.whose`
    body: Mapping[str, object] = field(default_factory=dict)  # what may be kept of it: ids and states, nothing personal


@dataclass(frozen=True, slots=True)
class Movement:
    """One change of our balance at the provider, with its sign: payment +; refund, fee, dispute, payout -.

    What was reversed (a failed refund, a dispute won, a returned payout) is a movement of the same kind with the other
    sign. All of a provider's movements up to now sum up to what it owes us, per currency.
    """

    ref: str  # of the movement itself, unique at the provider
    kind: Literal["payment", "refund", "fee", "dispute", "payout", "other"]
    money: Money
    at: datetime
    payment_id: str | None = None  # ours; None: of no payment of ours (payout, monthly fee)
    refund_id: str | None = None  # ours, of a refund


def asked_since(payment_id: str, since: datetime | None) -> datetime:
    """A time before the first call for a payment: what we were told, else that of its id.

    Raises: ProviderRefusedError: the id is no UUIDv7.
    """
    try:
        return since or datetime.fromtimestamp(int(payment_id.replace("-", "")[:12], 16) / 1000, UTC)
    except (ValueError, OverflowError):
        raise ProviderRefusedError(f"{payment_id!r} is no payment_id: they are UUIDv7", "payment_id") from None


class Provider(Protocol):
    """Use one for one event loop; calls may run at the same time."""

    @property
    def name(self) -> str: ...

    async def open(self, order: Order) -> Outcome:
        """Make a hosted page on which the buyer pays: `action` with its address, or what became of it since.

        Raises: ProviderAwayError (it may be there: repeat, or look), ProviderRefusedError.
        """
        ...

    async def charge(self, order: Order) -> Outcome:
        """Charge `order.method_ref` without its owner: succeeded, failed, pending, or action where the bank wants the
        owner (3-D Secure) and the provider has a page for that.

        Raises: ProviderAwayError (it may be charged: repeat, or look), ProviderRefusedError.
        """
        ...

    async def look(self, payment_id: str, ref: str | None, *, since: datetime | None = None) -> Outcome | None:
        """The payment as it is now. None: the provider knows no such payment, so nobody was charged; final once
        `SILENCE` has passed since the last call of `open` or `charge` for it.

        Without `ref` it is found by `payment_id` among what was made from `since` on (as in `Order`); the longer ago
        that is, the longer it takes.

        Raises: ProviderAwayError, ProviderRefusedError (our key is wrong, or of an account that has no such `ref`).
        """
        ...

    async def cancel(self, ref: str) -> None:
        """Close the page so that nothing is paid there any more. Does nothing to what is paid or closed already: look
        afterwards.

        Raises: ProviderAwayError, ProviderRefusedError (there is no such payment).
        """
        ...

    async def refund(self, refund_id: str, ref: str, money: Money, receipt: tuple[Item, ...] = ()) -> RefundOutcome:
        """Give money of the payment `ref` back.

        Raises: ProviderAwayError (it may be on its way: repeat, or look_refund), ProviderRefusedError (more than is
            left, disputed, not paid: nothing went back).
        """
        ...

    async def look_refund(self, refund_id: str, ref: str | None, payment_ref: str) -> RefundOutcome | None:
        """The refund as it is now, `ref` being its own where known; None as in `look`."""
        ...

    def notice(self, headers: Mapping[str, str], body: bytes, now: datetime, address: str) -> Notice:
        """Read a webhook. `body` as it came, `address` of who sent it; names of headers in any case.

        Raises: ForgedError.
        """
        ...

    async def whose(self, notice: Notice) -> str | None:
        """The `payment_id` that a notice is about; None: of no payment of ours."""
        ...

    def listed(self, since: datetime, until: datetime) -> AsyncIterator[Movement]:
        """What changed our balance there, `since` <= at < `until`, in no promised order; for reconciliation."""
        ...

    async def forget(self, method_ref: str) -> None:
        """Have the provider drop a saved method. What is gone already is fine.

        Raises: ProviderAwayError, ProviderRefusedError.
        """
        ...

    async def forget_customer(self, customer_id: str) -> None:
        """Have the provider drop what it keeps of an erased customer of ours, beside payments. Who is gone already, or
        was never there, is fine.

        Raises: ProviderAwayError, ProviderRefusedError.
        """
        ...

    async def aclose(self) -> None: ...
