"""A place in a list, as models give it and pages deal it."""

from typing import NamedTuple


class Scored(NamedTuple):
    """A title, who proposes it, and why. `because`: the title that the reason names; of a model's answer the one of the
    history that adds most to the score of `source`, exactly."""

    title_id: str
    source: str
    reason: str
    because: str | None = None
    score: float = 0.0
