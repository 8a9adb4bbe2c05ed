"""What a subscriber has a right to, told by the rules alone: no SQL, no provider, none of the code under test.

a paid period lasts whole calendar months from an anchor; a renewal that nobody ran is waited for two days
a refused renewal is tried again after 2, 5, 7 and 7 days, and access goes on two days beyond the next try
cancelled, paused, or without a way to pay: access ends exactly with what is paid for
a rental waits thirty days for its first play and lasts 48 hours from there; what is bought stays
"""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction

GRACE = timedelta(days=2)
SLOW = timedelta(days=1)
TRIES = tuple(timedelta(days=days) for days in (2, 5, 7, 7))
TO_START, TO_WATCH = timedelta(days=30), timedelta(hours=48)


@dataclass(frozen=True)
class Price:
    price_id: str
    plan: str
    months: int
    minor: int


PRICES = {
    f"{plan}-{interval}-eur": Price(f"{plan}-{interval}-eur", plan, months, minor * (10 if months == 12 else 1))
    for plan, minor in (("basic", 599), ("standard", 999), ("premium", 1_399))
    for interval, months in (("month", 1), ("year", 12))
}


@dataclass(frozen=True)
class Code:
    """A promo code; `left`: for how many periods (`free`: months), None for all."""

    name: str
    kind: str
    value: int
    left: int | None

    def off(self, price: Price) -> int:
        if self.left == 0:
            return 0
        if self.kind == "percent":
            return rounded(Fraction(price.minor * self.value, 10_000))
        if self.kind == "amount":
            return min(self.value, price.minor)
        return rounded(Fraction(price.minor * min(price.months, self.left or 0), price.months))

    def after(self, price: Price) -> "Code":
        taken = price.months if self.kind == "free" else 1
        return self if self.left is None else replace(self, left=max(0, self.left - taken))


CODES = {
    code.name: code
    for code in (
        Code("HALF3", "percent", 5_000, 3),
        Code("FOREVER", "percent", 1_000, None),
        Code("FIVER", "amount", 500, 1),
        Code("TWO-FREE", "free", 2, 2),
        Code("ALL", "percent", 10_000, 1),
    )
}


def standing(code: Code | None, price: Price) -> tuple[Code, int, int] | None:
    """A code on a whole period of a price: what it takes off what."""
    return (code, code.off(price), price.minor) if code and code.off(price) else None


def fair(charged: int, unused: int, *, is_less: bool = False) -> int:
    """Nobody is asked for less than half a euro, nor for taking less."""
    return min(charged, unused) if is_less or charged - unused < 50 else charged


def rounded(value: Fraction) -> int:
    """To the nearest, halves to the even neighbour."""
    return round(value)


def months_after(anchor: datetime, months: int) -> datetime:
    year, month = divmod(anchor.month - 1 + months, 12)
    year, month = anchor.year + year, month + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, calendar.monthrange(year, month)[1]))


@dataclass(frozen=True)
class Order:
    """An invoice as it was issued: what for, and what its payment opens."""

    invoice_id: str
    reason: str  # start, change, resume, renewal; rent, buy
    total: int
    at: datetime
    price: Price | None = None
    since: datetime | None = None
    until: datetime | None = None
    anchor: datetime | None = None
    elapsed: int = 0
    of: Price | None = None  # a change: from which price
    charged: int = 0  # a change: what the rest of the period is worth
    code: Code | None = None  # what of it is left for the periods after
    stood: tuple[Code, int, int] | None = None  # the code of its period: what it took off what
    title: str | None = None
    life: int = 0  # of which of the subscriber's subscriptions
    defaulted: bool = False  # when it was ordered


@dataclass
class Titled:
    kind: str
    title: str
    invoice_id: str
    until: datetime | None
    started: bool = False


@dataclass
class Model:
    """`state`: none, trial, active, past_due, paused. `paid`: the price and end of what is paid for, if anything."""

    trial_until: datetime | None = None
    state: str = "none"
    price: Price | None = None
    next_price: Price | None = None
    since: datetime | None = None  # of the paid period
    until: datetime | None = None  # what is paid for
    anchor: datetime | None = None
    elapsed: int = 0
    worth: int = 0
    worth_from: datetime | None = None
    stakes: dict[str, tuple[Fraction, Fraction]] = field(default_factory=dict)  # invoice -> part, less what it gave
    ends: bool = False
    pauses: bool = False
    resumes_at: datetime | None = None
    card: str | None = None
    tries: int = 0
    again: datetime | None = None
    owed: Order | None = None  # the renewal that is tried again
    code: Code | None = None
    stood: tuple[Code, int, int] | None = None
    life: int = 0
    defaulted: bool = False  # an earlier life ended past due, and this one was not renewed
    left_owing: bool = False
    titles: list[Titled] = field(default_factory=list)

    # What is open

    def plans(self, at: datetime) -> list[str]:
        if self.state == "trial" and self.trial_until is not None and at < self.trial_until:
            return ["standard"]
        if self.price is None or self.state in ("none", "paused") or (self.state == "trial" and self.until is None):
            return []
        if self.state == "past_due" and self.defaulted:
            return []
        last = self.again + GRACE if self.state == "past_due" and self.again is not None else self._last()
        return [self.price.plan] if at < last else []

    def _last(self) -> datetime:
        assert self.until is not None
        return self.until + (GRACE if self.renews else timedelta())

    @property
    def renews(self) -> bool:
        return not self.ends and not self.pauses and self.card is not None

    def open_titles(self, at: datetime) -> list[tuple[str, str]]:
        return sorted((one.title, one.kind) for one in self.titles if one.until is None or at < one.until)

    # What people do

    def changes(self, price: Price, at: datetime) -> tuple[int, int, datetime, datetime]:
        """(charged, unused, since, until) of a change now."""
        assert self.until is not None
        assert self.since is not None
        assert self.worth_from is not None
        assert self.price is not None
        whole, left = self.until - self.worth_from, self.until - max(at, self.worth_from)
        unused = rounded(self.worth * Fraction(max(left, timedelta()) // _US, whole // _US))
        minor = price.minor - self.off(price)
        if price.months != self.price.months:
            begins = max(at, self.since)  # what is paid ahead begins when the trial ends
            if fair(minor, unused) <= unused:  # nothing to pay, so nothing that a code could be used for
                minor = price.minor
            return fair(minor, unused), unused, begins, months_after(begins, price.months)
        begins = max(at, self.since)
        charged = rounded(minor * Fraction((self.until - begins) // _US, (self.until - self.since) // _US))
        return fair(charged, unused, is_less=price.minor <= self.price.minor), unused, begins, self.until

    def off(self, price: Price) -> int:
        """What a code takes off a price that is changed to: the period's, or, of another interval, that of the next."""
        assert self.price is not None
        if price.months != self.price.months:
            return self.code.off(price) if self.code else 0
        if self.stood is None:
            return 0
        code, off, listed = self.stood
        return rounded(Fraction(price.minor * off, listed)) if code.kind == "free" else code.off(price)

    def unused(self, at: datetime) -> int:
        """What is left of what was paid for the plan."""
        if self.state == "none" or self.until is None or self.worth_from is None:
            return 0
        left = max(self.until - max(at, self.worth_from), timedelta())
        return rounded(self.worth * Fraction(left // _US, (self.until - self.worth_from) // _US))

    def switched(self, order: Order, unused: int, credited: Mapping[str, int]) -> None:
        """`credited`: what the change gave of which invoices to the balance."""
        assert self.price is not None
        assert self.until is not None
        assert order.price is not None
        left = Fraction(min(unused, self.worth), self.worth) if self.worth else Fraction(0)
        self.stakes = {
            name: (part * left, gave * left + credited.get(name, 0)) for name, (part, gave) in self.stakes.items()
        } | {order.invoice_id: (Fraction(1), Fraction(0))}
        self.worth, self.worth_from = order.charged, order.since
        if order.price.months != self.price.months:
            if self.state == "active":
                longer = order.until - self.until if order.until else timedelta()
                self.resumes_at = self.resumes_at + longer if self.resumes_at else None
            self.stood = order.stood
            self.anchor, self.elapsed = order.since, 0
            self.since, self.until = order.since, order.until
        self.price, self.next_price = order.price, None

    def paid(self, order: Order, card: str | None, at: datetime) -> bool:
        """An invoice is paid; False where it came too late to be of use."""
        done = self._paid(order, at)
        if done and order.reason not in ("rent", "buy"):
            self.card = card or self.card
            if order.code is not None or order.reason == "start":
                self.code = order.code
        return done

    def _paid(self, order: Order, at: datetime) -> bool:
        if order.title is not None:
            until = at + TO_START if order.reason == "rent" else None
            self.titles.append(Titled(order.reason, order.title, order.invoice_id, until))
            return True
        match order.reason, self.state:
            case "start", "none":
                self.life += 1
                self.defaulted = order.defaulted
                self.card = self.code = self.next_price = None
                self._run(order, at)
            case "start", "trial" if self.until is None and order.life == self.life:
                assert self.trial_until is not None
                begins = self.trial_until if at <= self.trial_until + SLOW else at
                self._period(order, begins)
                self.ends = False
            case "renewal", "active" | "past_due" if order.life == self.life:
                self._renewed(order)
            case "resume", "paused" if order.life == self.life:
                self._run(order, at)
            case "change", "active" | "trial" if order.life == self.life and self.until and order.of == self.price:
                if at >= self.until:
                    return False
                ordered = order.charged - order.total
                unused = min(ordered, self.unused(order.at))  # some of it may have gone back since
                self.switched(replace(order, charged=order.charged - (ordered - unused)), unused, {})
            case _:
                return False
        return True

    def _run(self, order: Order, at: datetime) -> None:
        assert order.since is not None
        self._period(order, order.since if at <= order.since + SLOW else at)
        self.state, self.ends, self.pauses, self.resumes_at, self.tries = "active", False, False, None, 0

    def _period(self, order: Order, begins: datetime) -> None:
        assert order.price is not None
        self.price, self.next_price = order.price, None
        self.anchor, self.elapsed = begins, 0
        self.since = self.worth_from = begins
        self.until, self.worth, self.stood = months_after(begins, order.price.months), order.total, order.stood
        self.stakes = {order.invoice_id: (Fraction(1), Fraction(0))}

    def _renewed(self, order: Order) -> None:
        self.defaulted = False
        if self.next_price == order.price:
            self.next_price = None
        self.state, self.price, self.tries, self.again, self.owed = "active", order.price, 0, None, None
        self.anchor, self.elapsed, self.worth = order.anchor, order.elapsed, order.total
        self.since = self.worth_from = order.since
        self.until, self.stood = order.until, order.stood
        self.stakes = {order.invoice_id: (Fraction(1), Fraction(0))}

    def cancel(self, at: datetime) -> None:
        is_over = self.state == "active" and not self.ends and self.until is not None and at >= self.until
        if self.state in ("active", "trial") and not is_over:
            self.ends, self.pauses, self.resumes_at = True, False, None
            if self.state == "active":
                self.next_price = None
        elif self.state != "none":
            self.over()

    def keep(self) -> None:
        self.ends, self.pauses, self.resumes_at, self.next_price = False, False, None, None

    def over(self) -> None:
        self.left_owing = self.left_owing or self.state == "past_due"
        self.state, self.until, self.ends, self.pauses, self.resumes_at = "none", None, False, False, None
        self.owed = self.again = self.code = self.card = self.next_price = None
        self.tries = 0

    def pays_for(self, order: Order, minor: int) -> int:
        """What of so much of an order's money is in what is paid for now."""
        part, gave = self.stakes.get(order.invoice_id, (Fraction(0), Fraction(0)))
        return max(rounded(part * minor - gave), 0)

    def reduced(self, order: Order, minor: int) -> None:
        """Some of what an order was paid with went back, and what it opened stays."""
        if order.title is None and order.life == self.life:
            part, _ = self.stakes.get(order.invoice_id, (Fraction(0), Fraction(0)))
            self.worth = max(self.worth - rounded(part * minor), 0)

    def taken_back(self, order: Order, at: datetime, *, before: int, disputed: bool) -> None:
        """All of what an order was paid with went back, some of it before."""
        if order.title is not None:
            self.titles = [one for one in self.titles if one.invoice_id != order.invoice_id]
            return
        if order.life != self.life or self.until is None or self.state not in ("trial", "active", "past_due"):
            return
        staked = self.pays_for(order, order.total - before)
        if not staked or (self.state != "past_due" and self.until <= at and not disputed):
            return
        left = max(self.worth - staked, 0)
        if order.of is not None and not disputed and self.price and order.of.months == self.price.months:
            self.worth, self.price = left, order.of if order.price == self.price else self.price
            return
        if self.state == "trial":
            self.until, self.worth, self.next_price, self.price = None, 0, None, None
            return
        self.over()

    # What the clock does

    def bill(self, at: datetime, invoice_id: str) -> Order:
        """The invoice of the renewal, or of the end of a pause, that is due."""
        assert self.price is not None
        price = self.next_price or self.price
        stood = standing(self.code, price)
        total = price.minor - (stood[1] if stood else 0)
        left = self.code.after(price) if self.code else None
        if self.state == "paused":
            return Order(invoice_id, "resume", total, at, price, at, months_after(at, price.months), at, 0, code=left,
                         stood=stood, life=self.life)  # fmt: skip
        assert self.until is not None
        assert self.anchor is not None
        if self.state == "past_due" or at > self.until + GRACE:  # too late for what was billed first
            since, anchor, elapsed = at, at, 0
        else:
            since, anchor, elapsed = self.until, self.anchor, self.elapsed + self.price.months
        until = months_after(anchor, elapsed + price.months)
        return Order(invoice_id, "renewal", total, at, price, since, until, anchor, elapsed, code=left, stood=stood,
                     life=self.life)  # fmt: skip

    def refused(self, order: Order, at: datetime) -> None:
        """A charge of the saved card was refused."""
        self.tries += 1
        if self.tries > len(TRIES):
            self.over()
            return
        self.again = at + TRIES[self.tries - 1]
        if order.reason == "renewal":
            self.state, self.owed = "past_due", order
        else:
            self.resumes_at = self.again


_US = timedelta(microseconds=1)
