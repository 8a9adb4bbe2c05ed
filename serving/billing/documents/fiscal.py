"""What a Russian cash register (54-FZ) is told of a payment or a refund: items that sum to exactly what was paid.

A cash register knows neither negative lines nor discounts: what a line `unused` or `discount` takes off, and what was
paid from the customer's balance, is taken off the other lines in proportion. Codes: YooKassa's reference of receipt
parameters (VAT 22 % and its code came on 2026-01-01).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

from matinee.errors import MatineeError

# VAT in hundredths of a percent -> `vat_code`.
_VAT = {0: 2, 500: 7, 700: 8, 1000: 3, 2000: 4, 2200: 11}
_NO_VAT = 1
_NAME_LENGTH = 128
# A film is the right to a work of the mind, a plan is a service.
_SUBJECTS = {"rent": "intellectual_activity", "buy": "intellectual_activity"}
_FALLBACK = "ru"


class FiscalError(MatineeError):
    """A receipt cannot be made of these lines."""


class Sold(Protocol):
    """A line of an invoice, as far as a cash register wants to know it."""

    @property
    def kind(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def names(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Item:
    """One thing sold, tax included. `subject`, `mode`: 54-FZ's tags 1212 and 1214 in the provider's words."""

    name: str
    amount_minor: int
    vat_code: int
    subject: str = "service"
    mode: str = "full_payment"


def items(lines: Sequence[Sold], paid_minor: int, tax_bp: int | None, language: str = _FALLBACK) -> tuple[Item, ...]:
    """The items of a payment of `paid_minor` for these lines. `tax_bp`: None where the seller pays no VAT at all.

    Raises:
        FiscalError: nothing is paid, or more than the lines are of; or cash registers know no such rate.
    """
    sold = [line for line in lines if line.amount_minor > 0]
    whole = sum(line.amount_minor for line in sold)
    if not 0 < paid_minor <= whole:
        raise FiscalError(f"{paid_minor} was paid for lines of {whole}: a receipt is of 1 to {whole}")
    code = _vat_code(tax_bp)
    amounts = split(paid_minor, [line.amount_minor for line in sold])
    return tuple(
        Item(_named(line.names, language), amount, code, _SUBJECTS.get(line.kind, "service"))
        for line, amount in zip(sold, amounts, strict=True)
        if amount
    )


def refunded(sold: Sequence[Item], amount_minor: int) -> tuple[Item, ...]:
    """The items of a refund of `amount_minor`: of everything that was sold, in proportion.

    Raises:
        FiscalError: more is given back than was sold, or nothing.
    """
    whole = sum(item.amount_minor for item in sold)
    if not 0 < amount_minor <= whole:
        raise FiscalError(f"{amount_minor} is to be given back of {whole}: give 1 to {whole}")
    amounts = split(amount_minor, [item.amount_minor for item in sold])
    return tuple(replace(item, amount_minor=n) for item, n in zip(sold, amounts, strict=True) if n)


def receipt(sold: Sequence[Item], currency: str, email: str, *, tax_system: int | None = None) -> dict[str, Any]:
    """The member `receipt` of YooKassa's requests for payments and refunds."""
    found: dict[str, Any] = {"customer": {"email": email}, "items": [_item(item, currency) for item in sold]}
    return found if tax_system is None else {**found, "tax_system_code": tax_system}


def _item(item: Item, currency: str) -> dict[str, Any]:
    return {
        "description": item.name,
        "quantity": "1.00",
        "amount": {"value": str(Decimal(item.amount_minor).scaleb(-2)), "currency": currency},
        "vat_code": item.vat_code,
        "payment_subject": item.subject,
        "payment_mode": item.mode,
    }


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of `amount` in proportion to `weights`, that sum to it: the largest remainders get what is left."""
    whole = sum(weights)
    parts = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: (-(amount * weights[at] % whole), at))
    for at in by_remainder[: amount - sum(parts)]:
        parts[at] += 1
    return parts


def _vat_code(tax_bp: int | None) -> int:
    if tax_bp is None:
        return _NO_VAT
    if tax_bp not in _VAT:
        raise FiscalError(
            f"cash registers know no VAT of {tax_bp / 100:g} %: {', '.join(f'{r / 100:g}' for r in _VAT)}"
        )
    return _VAT[tax_bp]


def _named(names: Mapping[str, str], language: str) -> str:
    name = names.get(language) or names.get("en") or next(iter(names.values()), "Matinee")
    return name[:_NAME_LENGTH]
