"""How much of a payment is in what a subscription is paid for now. Pure, over the subscription's events.

A change sets off what is unused of what was paid before: so a payment goes on standing for a part of what runs, also
when the period that it was for is long over. A new whole period (a start, a renewal, the end of a pause) stands on its
own payment alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from serving.billing.subscriptions.machine import Event


@dataclass(frozen=True, slots=True)
class Stake:
    """`part` of a payment is in what is paid for now, less what changes `gave` of it to the balance (minor units)."""

    part: Fraction = Fraction(0)
    gave: Fraction = Fraction(0)

    def of(self, minor: int) -> int:
        """What is in it of a payment that `minor` units are left of."""
        return max(round(self.part * minor - self.gave), 0)


def stake(events: Iterable[Mapping[str, Any]], invoice_id: str) -> Stake:
    """Of an invoice, by the events (`event`, `details`) of its subscription, the first one first."""
    found = Stake()
    for each in events:
        details: Mapping[str, Any] = each["details"]
        is_own = details.get("invoice") == invoice_id
        match each["event"]:
            case Event.PAID:
                found = Stake(Fraction(1)) if is_own else Stake()
            case Event.WITHDRAWN:
                found = Stake()
            case Event.CHANGED if is_own and "why" not in details:
                found = Stake(Fraction(1))
            case Event.CHANGED:
                found = _set_off(found, details, invoice_id)
    return found


def _set_off(found: Stake, details: Mapping[str, Any], invoice_id: str) -> Stake:
    """After a change that set off `unused` of `worth`. `credited`: invoice -> what of it the balance got, `withheld`:
    what goes there, or to the bank, when its dispute ends."""
    worth = details.get("worth")
    if worth is None:  # with the next period, undone, or written before this was
        return found
    left = Fraction(min(details["unused"], worth), worth) if worth else Fraction(0)
    gave = sum(details.get(given, {}).get(invoice_id, 0) for given in ("credited", "withheld"))
    return Stake(found.part * left, found.gave * left + gave)
