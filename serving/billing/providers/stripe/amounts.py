"""Amounts as Stripe writes them (its list of currencies), and back. CLDR and Stripe differ for some currencies."""

from serving.billing.ledger.money import Money, digits, share
from serving.billing.providers.base import ProviderRefusedError

_WHOLE = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THOUSANDTHS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))


def places(currency: str) -> int:
    """Decimal places of Stripe's minor unit. ISK and UGX have two there, though nobody has seen their cents."""
    return 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2


def sent(money: Money) -> int:
    """The amount for a request, exactly.

    Raises:
        ProviderRefusedError: Stripe takes no such fine amounts of this currency.
    """
    shift = places(money.currency) - digits(money.currency)
    amount, rest = (money.minor * 10**shift, 0) if shift >= 0 else divmod(money.minor, 10**-shift)
    if rest or (money.currency in _THOUSANDTHS and amount % 10):
        raise ProviderRefusedError(
            f"stripe takes no {money.minor} of {money.currency}'s minor unit: round it", "amount"
        )
    return amount


def received(amount: int, currency: str) -> Money:
    """What Stripe told, halves of our minor unit to the even neighbour (fees of ISK may have cents)."""
    currency = currency.upper()
    shift = places(currency) - digits(currency)
    return Money(share(amount, 1, 10**shift) if shift >= 0 else amount * 10**-shift, currency)
