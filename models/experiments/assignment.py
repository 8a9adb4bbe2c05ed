"""Who gets which variant: a pure function of experiment, salt and unit. Nothing is stored and nothing is drawn."""

import hashlib
from dataclasses import dataclass

_UNIT_BYTES = 8


@dataclass(frozen=True)
class Experiment:
    """`variants` are (name, weight) pairs; weights are relative. A new `salt` deals everybody anew."""

    name: str
    salt: str
    variants: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.variants]
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"experiment {self.name!r} needs variants with different names, not {names}")
        if any(weight < 0 for _, weight in self.variants) or sum(weight for _, weight in self.variants) <= 0:
            raise ValueError(f"experiment {self.name!r} needs weights of 0 or more with a sum above 0: {self.variants}")

    @property
    def shares(self) -> dict[str, float]:
        """The expected share of each variant; they sum to 1."""
        total = sum(weight for _, weight in self.variants)
        return {name: weight / total for name, weight in self.variants}


def uniform(experiment: Experiment, unit_id: str) -> float:
    """The place of the unit in [0, 1): the first 8 bytes of SHA-256(salt:name:unit)."""
    digest = hashlib.sha256(f"{experiment.salt}:{experiment.name}:{unit_id}".encode()).digest()
    # 53 bits: every value is exact as a float, and none rounds up to 1
    return (int.from_bytes(digest[:_UNIT_BYTES], "big") >> 11) / 2**53


def assign(experiment: Experiment, unit_id: str) -> str:
    """The unit's variant (the unit is the account's id), the same for ever while the experiment stays as it is."""
    place, reached = uniform(experiment, unit_id), 0.0
    for name, share in experiment.shares.items():
        reached += share
        if place < reached and share > 0:
            return name
    return next(name for name, weight in reversed(experiment.variants) if weight > 0)
