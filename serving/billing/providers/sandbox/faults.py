"""Switches for what goes wrong between a payment provider and its customers, the same for the same seed.

MATINEE_SANDBOX_FAULTS="declines=0.1 before=0.05 after=0.05 error=0.02 delay=0.2 lost=0.1 twice=0.1 seed=7"
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, fields, replace

from matinee.errors import SettingsError

_MOST_REMEMBERED = 1_000_000


@dataclass(frozen=True)
class Faults:
    """Shares of 0 to 1, apart from `delay` (seconds that every call takes) and `seed`."""

    declines: float = 0.0  # charges that the bank refuses
    before: float = 0.0  # calls that time out and were not heard
    after: float = 0.0  # calls that time out and were carried out
    error: float = 0.0  # calls answered by 502, not carried out
    lost: float = 0.0  # webhooks that never come
    twice: float = 0.0  # webhooks that come twice
    delay: float = 0.0
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Read `name=value` by spaces or commas.

        Raises:
            SettingsError: an unknown name, or a value out of its range.
        """
        made = cls()
        for word in text.replace(",", " ").split():
            name, _, value = word.partition("=")
            if name not in _NAMES:
                raise SettingsError(f"{word}: no fault of the sandbox; there are {', '.join(_NAMES)}")
            try:
                number = int(value) if name == "seed" else float(value)
            except ValueError:
                raise SettingsError(f"{word}: give a number, as in {name}=0.1") from None
            if name != "seed" and not 0 <= number <= (60 if name == "delay" else 1):
                raise SettingsError(f"{word}: a share is 0 to 1, a delay 0 to 60 seconds")
            made = replace(made, **{name: number})
        if made.before + made.after + made.error > 1:
            raise SettingsError(f"{text}: before, after and error are shares of the same calls, 1 at most together")
        return made

    def chance(self, *words: str | int) -> float:
        """A number of [0, 1) that the same words always get."""
        digest = hashlib.blake2b("\0".join(map(str, (self.seed, *words))).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def declined(self, payment_id: str) -> bool:
        return self.chance("decline", payment_id) < self.declines

    @property
    def breaks_calls(self) -> bool:
        return self.before + self.after + self.error > 0


_NAMES = tuple(field.name for field in fields(Faults))


class Calls:
    """Which call of a key it is: one that failed may go through when it is made again."""

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()

    def fate(self, faults: Faults, operation: str, key: str) -> str | None:
        """`before`, `after`, `error`, or None for a call that goes well."""
        if not faults.breaks_calls:
            return None
        if len(self._made) >= _MOST_REMEMBERED:
            self._made.clear()
        name = f"{operation} {key}"
        self._made[name] += 1
        drawn = faults.chance("call", name, self._made[name])
        for fate, share in (("before", faults.before), ("after", faults.after), ("error", faults.error)):
            if drawn < share:
                return fate
            drawn -= share
        return None
