"""What clients hear as recommendations."""

from typing import Any

from pydantic import BaseModel

from serving.catalog.types import Card


class Reason(BaseModel):
    """A code that the client has words for, and what to fill in."""

    code: str
    params: dict[str, Any]


class Item(BaseModel):
    """`propensity`: the probability of the title at this place of this row, and the row at its own on the page, over
    all orders of rows that accounts are dealt and all draws of the exploration slot.

    `experiments`: the account's variant of each running experiment.
    """

    title_id: str
    reason: Reason
    source: str
    propensity: float
    experiments: dict[str, str]


class Row(BaseModel):
    id: str
    title: dict[str, str]
    items: list[Item]


class Model(BaseModel):
    name: str
    version: str
    snapshot_id: str | None = None


class Home(BaseModel):
    """No title stands twice. `titles` holds the card of every title in the rows or in a reason.

    `model` is null where no model had a part; `degraded`: there is no model, or nothing is known of the viewer now.
    """

    request_id: str
    model: Model | None
    degraded: bool
    rows: list[Row]
    titles: dict[str, Card]
