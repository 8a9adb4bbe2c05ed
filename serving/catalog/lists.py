"""Pages of titles as bytes: cards are kept ready in PostgreSQL, what is added for a viewer is the refusal to play."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from serving.catalog.core import QUERIES, scope
from serving.catalog.filters import Filters
from serving.etag import Body
from serving.problems import Problem
from serving.profiles.core import Viewer
from serving.rights.core import ANY_DEVICE, Terms, decide, terms_of

_NOBODY = {"title_id": None, "parent_id": None, "root_id": None}
_AS_OF_BATCH = 500
_VARIANTS = 8


async def browse(
    connection: AsyncConnection,
    viewer: Viewer,
    now: datetime,
    filters: Filters,
    after: Sequence[object] | None,
    limit: int,
) -> tuple[list[TupleRow], list[object] | None]:
    """One page as rows of `items`, the same for all who share the viewer's limit and region, and the place where the
    next one starts (None: there is none)."""
    place, after_id = after or filters.beginning()
    parameters = {**scope(viewer, now), "place": place, "after_id": after_id, "limit": limit + 1}
    if filters.is_whole:
        cursor = await connection.execute(QUERIES[f"browse_{filters.order}"], parameters, prepare=True)
    else:  # which index serves best depends on the values
        parameters |= filters.parameters()
        cursor = await connection.execute(QUERIES[f"pick_{filters.order}"], parameters, prepare=False)
    found = await cursor.fetchall()
    return found[:limit], _following(found, limit)


async def as_of(
    connection: AsyncConnection,
    viewer: Viewer,
    moment: datetime,
    filters: Filters,
    after: Sequence[object] | None,
    limit: int,
) -> tuple[list[TupleRow], list[object] | None]:
    """A page of what such a viewer could see at a moment, or will at one to come, by the terms known now.

    Ordered and narrowed (by facets alone) as the catalogue is today; texts and films are today's as well.
    """
    place, after_id = after or filters.beginning()
    chosen: list[TupleRow] = []
    while len(chosen) <= limit:
        parameters = {
            "moment": moment, "is_root": filters.is_root, "facets": list(filters.facets),
            "place": place, "after_id": after_id, "limit": _AS_OF_BATCH,
        }  # fmt: skip
        found = await (await connection.execute(QUERIES["terms_at"], parameters)).fetchall()
        chosen += [row for row in found if decide(_terms(row), viewer, ANY_DEVICE, moment) is None]
        if len(found) < _AS_OF_BATCH:
            break
        place, after_id = found[-1][6], found[-1][2]
    return chosen[:limit], _following(chosen, limit)


async def person(
    connection: AsyncConnection, viewer: Viewer, person_id: str, now: datetime
) -> tuple[str, dict[str, str]]:
    """The person's name, and role -> JSON of the titles.

    Raises:
        Problem: 404, nobody, or nobody whose titles this viewer may see.
    """
    found = await (
        await connection.execute(QUERIES["person_titles"], {**scope(viewer, now), "person_id": person_id})
    ).fetchall()
    if not found:
        raise Problem(404, "unknown_person", f"there is no person {person_id}")
    roles: dict[str, list[TupleRow]] = {}
    for row in found:
        roles.setdefault(row[6], []).append(row)
    return found[0][7], {role: items(rows, viewer, now) for role, rows in roles.items()}


def person_page(person_id: str, name: str, roles: Mapping[str, str]) -> str:
    """The JSON of `types.PersonPage`."""
    parts = [f'{{"role":{orjson.dumps(role).decode()},"titles":[{titles}]}}' for role, titles in roles.items()]
    told = orjson.dumps({"person_id": person_id, "name": name}).decode()
    return f'{told[:-1]},"roles":[{",".join(parts)}]}}'


class Page:
    """Rows of `browse` for all who share a limit and a region: what each hears differs in what is refused alone."""

    def __init__(self, found: Sequence[TupleRow], next_cursor: str | None) -> None:
        alike: dict[str, str] = {}  # most titles share few terms
        self._found = [(row[0], alike.setdefault(row[1], row[1]), *row[2:6]) for row in found]
        self._end = f'],"next_cursor":"{next_cursor}"}}' if next_cursor else '],"next_cursor":null}'
        self._alike = list({(row[1], row[5]): row for row in self._found}.values())
        self._told: dict[tuple[str | None, ...], Body] = {}
        # Cards, as they are and in each variant, and what the rows hold beside them.
        self.size = sum(map(len, alike)) + sum(len(row[0].encode()) * (1 + _VARIANTS) + 500 for row in found)

    def body(self, viewer: Viewer, moment: datetime) -> Body:
        """The JSON of `types.Page` for a viewer at a moment."""
        if viewer.entitlements.titles:
            return Body.of(self._written(viewer, moment))
        refused = tuple([refusal(row, viewer, moment) for row in self._alike])
        told = self._told.get(refused)
        if told is None:
            if len(self._told) >= _VARIANTS:
                del self._told[next(iter(self._told))]
            told = self._told[refused] = Body.of(self._written(viewer, moment))
        return told

    def _written(self, viewer: Viewer, moment: datetime) -> bytes:
        return f'{{"items":[{items(self._found, viewer, moment)}{self._end}'.encode()


def items(found: Iterable[TupleRow], viewer: Viewer, moment: datetime) -> str:
    """Cards with their refusals, by comma. Rows: card, terms, title, parent, root, kind, and whatever follows."""
    told: dict[tuple[str, str], str] = {}  # most titles share few terms
    owns = bool(viewer.entitlements.titles)
    parts = []
    for row in found:
        key = (row[1], row[2] if owns else row[5])
        tail = told.get(key)
        if tail is None:
            code = refusal(row, viewer, moment)
            tail = told[key] = f',"refusal":"{code}"}}' if code else ',"refusal":null}'
        parts.append(row[0] + tail)
    return ",".join(parts)


def refusal(row: TupleRow, viewer: Viewer, moment: datetime) -> str | None:
    """Why the title would not play for the viewer; of a series its episodes have terms of their own."""
    if viewer.account_id is None:
        return "unauthenticated"
    terms = _terms(row) if viewer.entitlements.titles else _shared(row[1])
    if row[5] in ("series", "season"):
        return None if terms.playable else "not_playable"
    found = decide(terms, viewer, ANY_DEVICE, moment, to_play=True)
    return found.code if found else None


@lru_cache(maxsize=4_096)
def _shared(terms: str) -> Terms:
    """Terms without the names of the title, for who owns none."""
    return terms_of({**_NOBODY, **orjson.loads(terms)})


def _terms(row: TupleRow) -> Terms:
    return terms_of({**orjson.loads(row[1]), "title_id": row[2], "parent_id": row[3], "root_id": row[4]})


def _following(found: Sequence[TupleRow], limit: int) -> list[object] | None:
    return [found[limit - 1][6], found[limit - 1][2]] if len(found) > limit else None
