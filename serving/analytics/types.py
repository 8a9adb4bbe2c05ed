"""What those who run the service hear about it."""

from datetime import date

from pydantic import BaseModel


class TopTitle(BaseModel):
    """`views` = hours viewed / runtime."""

    rank: int
    title_id: str
    title: str | None
    plays: int
    viewers: int
    hours_viewed: float
    views: float


class TopTitles(BaseModel):
    """The newest week of the current snapshot; `week_start` is a Monday, null while nothing was watched."""

    week_start: date | None
    titles: list[TopTitle]
