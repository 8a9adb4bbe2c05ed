"""What cash registers are told: exactly what was paid, line by line, nothing negative."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.billing.documents import fiscal


@dataclass(frozen=True)
class Line:
    kind: str
    amount_minor: int
    names: dict[str, str] = field(default_factory=lambda: {"ru": "Премиум, месяц", "en": "Premium, one month"})


def test_an_upgrade_with_a_discount_sums_to_what_was_paid():
    film = {"ru": "Ёжики и выдры" * 20}
    lines = [Line("plan", 64900), Line("unused", -22450), Line("discount", -4245), Line("rent", 29900, film)]
    sold = fiscal.items(lines, 68105, 2200)
    assert [(item.amount_minor, item.subject, item.mode) for item in sold] == [
        (46625, "service", "full_payment"), (21480, "intellectual_activity", "full_payment")]  # fmt: skip
    told = fiscal.receipt(sold, "RUB", "ada@example.org", tax_system=1)
    assert told["items"][0] == {
        "description": "Премиум, месяц", "quantity": "1.00", "amount": {"value": "466.25", "currency": "RUB"},
        "vat_code": 11, "payment_subject": "service", "payment_mode": "full_payment",
    }  # fmt: skip
    assert (told["customer"], told["tax_system_code"]) == ({"email": "ada@example.org"}, 1)
    assert len(told["items"][1]["description"]) == 128


@given(
    amounts=st.lists(st.integers(-(10**9), 10**11), min_size=1, max_size=8).filter(lambda found: max(found) > 0),
    share=st.fractions(0, 1),
    back=st.fractions(0, 1),
)
def test_items_always_sum_to_what_was_paid_and_given_back(amounts, share, back):
    whole = sum(amount for amount in amounts if amount > 0)
    paid = max(1, int(whole * share))
    lines = [Line("plan", amount, {"ru": f"line {at}"}) for at, amount in enumerate(amounts)]
    sold = fiscal.items(lines, paid, 2000)
    assert sum(item.amount_minor for item in sold) == paid
    assert all(item.amount_minor > 0 for item in sold)
    given_back = max(1, int(paid * back))
    returned = fiscal.refunded(sold, given_back)
    assert sum(item.amount_minor for item in returned) == given_back
    most = {item.name: item.amount_minor for item in sold}
    assert all(item.amount_minor <= most[item.name] for item in returned)


@pytest.mark.parametrize(("bp", "code"), [(None, 1), (0, 2), (1000, 3), (2000, 4), (500, 7), (700, 8), (2200, 11)])
def test_rates_have_the_codes_of_the_reference(bp, code):
    assert fiscal.items([Line("plan", 100)], 100, bp)[0].vat_code == code


def test_what_makes_no_receipt_is_refused():
    for paid in (0, -1, 101):
        with pytest.raises(fiscal.FiscalError, match="100"):
            fiscal.items([Line("plan", 100), Line("discount", -1)], paid, 2200)
    with pytest.raises(fiscal.FiscalError, match="19 %"):
        fiscal.items([Line("plan", 100)], 100, 1900)
    with pytest.raises(fiscal.FiscalError, match="give 1 to 100"):
        fiscal.refunded(fiscal.items([Line("plan", 100)], 100, 2200), 101)
