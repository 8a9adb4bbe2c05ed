"""What clients send and hear about money. Amounts go out as minor units with their words; in come those agreed to."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from matinee.ids import TITLE_ID_PATTERN
from serving.accounts.types import Body

Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z._:-]+$")]
TitleId = Annotated[str, StringConstraints(pattern=TITLE_ID_PATTERN)]
# As people type it: what it is read as `promo.codes` says.
Code = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
SubscriptionState = Literal["incomplete", "trialing", "active", "past_due", "paused", "expired"]


class Amount(BaseModel):
    """`minor` units of an ISO 4217 currency, and as people of the language read it: `12,34 ₽`."""

    minor: int
    currency: str
    text: str


class PriceView(BaseModel):
    """`months` of a plan; `monthly` is what one of them costs."""

    price_id: str
    months: int
    amount: Amount
    monthly: Amount


class PlanView(BaseModel):
    """A plan and what it opens: `max_height` in lines (null: any), `devices` (none: all kinds)."""

    plan_id: str
    name: str
    rank: int
    streams: int
    max_height: int | None
    includes: list[str]
    devices: list[str]
    prices: list[PriceView]


class Plans(BaseModel):
    """What is on sale in the region. `trial_days`: what a new account has for nothing, of the plan `trial_plan`."""

    region: str | None
    items: list[PlanView]
    trial_plan: str | None
    trial_days: int


class PricedPlan(BaseModel):
    """One price with the name of its plan."""

    price_id: str
    plan_id: str
    name: str
    months: int
    amount: Amount


class SubscriptionView(BaseModel):
    """`ends`: cancelled, access stays until `until`; `pauses`: pauses then. `next_charge`: what is charged by itself
    at `next_charge_at`, null where nothing will be. `to_pay`: the open invoice of a renewal that was refused."""

    subscription_id: str
    state: SubscriptionState
    plan: PricedPlan
    next_plan: PricedPlan | None
    since: datetime
    until: datetime | None
    ends: bool
    pauses: bool
    resumes_at: datetime | None
    next_charge: Amount | None
    next_charge_at: datetime | None
    method_id: str | None
    to_pay: str | None


class MethodView(BaseModel):
    """A way to pay that the provider keeps: `Visa •••• 4242`."""

    method_id: str
    label: str
    created_at: datetime


class Overview(BaseModel):
    """The account's money. `balance`: what the next invoices will use, per currency."""

    subscription: SubscriptionView | None
    methods: list[MethodView]
    balance: list[Amount]


class LineView(BaseModel):
    kind: str
    name: str
    amount: Amount
    since: datetime | None
    until: datetime | None


class Preview(BaseModel):
    """What it would cost: nothing is kept. `due` is to be paid now; `credit` would go to the balance; what is paid for
    lasts from `since` to `until` (null: titles, by the rules of theirs)."""

    lines: list[LineView]
    total: Amount
    from_balance: Amount
    due: Amount
    credit: Amount
    since: datetime | None
    until: datetime | None


class Wanted(Body):
    """A plan by its price, or a title to rent or buy; with a code, if there is one."""

    price_id: Id | None = None
    title_id: TitleId | None = None
    kind: Literal["rent", "buy"] | None = None
    promo: Code | None = None

    @model_validator(mode="after")
    def _one(self) -> "Wanted":
        if (self.price_id is None) == (self.title_id is None) or (self.title_id is None) != (self.kind is None):
            raise ValueError("give a price_id, or a title_id and a kind")
        return self


class Pay(Body):
    """On the provider's page, which may keep the way to pay (`save_method`)."""

    save_method: bool = True


class Agreed(Body):
    """`expected_minor`: what the buyer was shown as due; where it would be more by now, nothing is ordered (409)."""

    expected_minor: Annotated[int, Field(ge=0, le=10**12)] | None = None


class Checkout(Agreed):
    """`method_id`: a saved way to pay, charged at once; null: on the provider's page, which keeps the way to pay
    (`save_method`), so that the plan renews by itself. `zone` (IANA): by whose clocks periods are counted."""

    price_id: Id
    promo: Code | None = None
    method_id: Id | None = None
    save_method: bool = True
    zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] | None = None


class Purchase(Agreed):
    """`profile_id`: for whom; else as the sign-in watches. `method_id`: as in a checkout."""

    title_id: TitleId
    kind: Literal["rent", "buy"]
    promo: Code | None = None
    profile_id: Annotated[str, Field(max_length=256)] | None = None
    method_id: Id | None = None
    save_method: bool = False


class Change(Agreed):
    """`now`: at once, what is left of the old plan set off; false: from the next period on."""

    price_id: Id
    now: bool = True


class Pause(Body):
    """For so many days from the period's end on; then it goes on, and is charged, by itself."""

    days: Annotated[int, Field(ge=1, le=90)] = 30


class MethodChosen(Body):
    method_id: Id


class PaymentView(BaseModel):
    """`checkout_url`: the provider's page, where there is something to do there; `failure`: the provider's word for why
    not. `purpose` with `title_id` or `price_id`: what it is for."""

    payment_id: str
    invoice_id: str
    state: Literal["created", "pending", "succeeded", "failed"]
    amount: Amount
    checkout_url: str | None
    failure: str | None
    purpose: Literal["subscription", "rent", "buy", "credit"]
    reason: str
    title_id: str | None
    price_id: str | None


class Order(BaseModel):
    """`payment`: how it is paid; null where nothing was to be paid. `paid`: it is open already."""

    invoice_id: str | None
    total: Amount | None
    paid: bool
    payment: PaymentView | None


class InvoiceView(BaseModel):
    """`purpose` is `credit` for a credit note; `given_back` is what such notes took off. `html`, `pdf`: its papers."""

    invoice_id: str
    number: str
    purpose: Literal["subscription", "rent", "buy", "credit"]
    state: Literal["open", "paid", "void"]
    name: str
    total: Amount
    given_back: Amount
    issued_at: datetime
    paid_at: datetime | None
    html: str
    pdf: str


class Invoices(BaseModel):
    items: list[InvoiceView]
    cursor: str | None = None
