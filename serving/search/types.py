"""What clients hear of a search."""

from pydantic import BaseModel

from serving.catalog.types import Listed


class FoundPerson(BaseModel):
    """`titles`: of how many in the catalogue, one at least that the viewer may see."""

    person_id: str
    name: str
    titles: int


class Found(BaseModel):
    """Titles that are called so first, then those of people who are; the best match first."""

    items: list[Listed]
    people: list[FoundPerson]
