"""What staff send and hear about money."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StrictInt, StringConstraints

from serving.accounts.types import Body
from serving.billing.types import Amount, Code, Id, PriceView, TitleId

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
# Nobody pays, or gets back, more than this at once.
Minor = Annotated[StrictInt, Field(ge=1, le=10**11)]
PaymentState = Literal["created", "pending", "succeeded", "failed"]


class PaymentRow(BaseModel):
    """`account_id` is null where the account was erased; `surplus`: its invoice needed no money any more."""

    payment_id: str
    invoice_id: str
    number: str
    account_id: str | None
    provider: str
    provider_ref: str | None
    state: PaymentState
    amount: Amount
    refunded: Amount
    fee: Amount
    failure: str | None
    surplus: bool
    created_at: datetime
    settled_at: datetime | None


class PaymentRows(BaseModel):
    items: list[PaymentRow]
    cursor: str | None = None


class RefundRow(BaseModel):
    """`asked_by` is the account of who asked for it; null: it was made at the provider, or by a rule."""

    refund_id: str
    state: PaymentState
    amount: Amount
    reason: str
    keeps_right: bool
    failure: str | None
    note_id: str | None
    asked_by: str | None
    created_at: datetime
    settled_at: datetime | None


class DisputeRow(BaseModel):
    dispute_id: str
    payment_id: str
    account_id: str | None
    provider: str
    provider_ref: str
    amount: Amount
    fee: Amount
    reason: str
    state: Literal["open", "won", "lost"]
    opened_at: datetime
    closed_at: datetime | None


class DisputeRows(BaseModel):
    items: list[DisputeRow]
    cursor: str | None = None


class OnePayment(PaymentRow):
    refunds: list[RefundRow]


class NewRefund(Body):
    """All that is left of the payment, or `amount_minor` of `currency`, which has to be the payment's.

    `keeps_right`: what was paid for stays open, as a kindness.
    """

    amount_minor: Minor | None = None
    currency: Currency | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
    keeps_right: bool = False


class NewCode(Body):
    """`value`: percent in hundredths (2500 is 25 %), minor units of `currency`, or months for nothing. `periods`: of a
    subscription, null for all; no limit: null."""

    code: Code
    kind: Literal["percent", "amount", "free_period"]
    value: Minor
    currency: Currency | None = None
    periods: Annotated[int, Field(ge=1, le=1000)] | None = 1
    plans: Annotated[tuple[Id, ...], Field(max_length=50)] = ()
    titles: Annotated[tuple[TitleId, ...], Field(max_length=500)] = ()
    first_time: bool = False
    limit_total: Annotated[int, Field(ge=1, le=10**9)] | None = None
    limit_person: Annotated[int, Field(ge=1, le=10**6)] | None = 1
    from_: Annotated[AwareDatetime | None, Field(alias="from")] = None
    until: AwareDatetime | None = None


class CodeMade(BaseModel):
    promo_id: str
    code: str


class CodeRow(BaseModel):
    """`used` counts reserved uses too, `redeemed` those that were paid."""

    promo_id: str
    code: str
    kind: Literal["percent", "amount", "free_period"]
    value: int
    currency: str | None
    periods: int | None
    plans: list[str]
    titles: list[str]
    first_time: bool
    limit_total: int | None
    limit_person: int | None
    used: int
    redeemed: int
    created_at: datetime
    withdrawn_at: datetime | None


class CodeRows(BaseModel):
    items: list[CodeRow]
    cursor: str | None = None


class Fact(BaseModel):
    """A business fact on the customer's account: `source` is the id of the invoice, payment, refund, …"""

    transaction_id: int
    kind: str
    source: str
    occurred_at: datetime
    amount: Amount


class Books(BaseModel):
    """`balances`: above zero what the customer owes, below what they have to spend."""

    items: list[Fact]
    balances: list[Amount]
    cursor: str | None = None


class Cancelled(BaseModel):
    """`until`: when it ends, or ended."""

    subscription_id: str
    state: str
    until: datetime


class Listed(PriceView):
    plan_id: str
    version: int
    regions: list[str]
    is_sold: bool
    succeeded_by: str | None
    succeeds_at: datetime | None


class PriceList(BaseModel):
    items: list[Listed]
