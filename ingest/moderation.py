"""Moderators at work on the catalogue: draft -> review -> published -> withdrawn, and what of a title they change.

What a moderator changes is theirs: no feed overwrites it until it is released. Every deed names the version that it
was decided on; who was overtaken hears so. The transaction is the caller's, and so is the audit row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from ingest.catalog import offer_rows, person_rows, text_rows, title_row
from ingest.errors import IngestError
from ingest.extra import Check
from ingest.feed import unstorable
from ingest.offers import contradiction
from matinee.contracts.feed import FeedTitle
from matinee.db.queries import load

State = Literal["draft", "review", "published", "withdrawn"]
Step = Literal["submit", "approve", "send_back", "withdraw"]
FIELDS = (
    "titles", "synopsis", "year", "runtime_s", "genres", "people", "tags", "maturity", "countries", "images", "offers",
    "extra",
)  # fmt: skip
# Step -> the states that it leads out of, and the one that it leads to.
STEPS: Mapping[Step, tuple[frozenset[str], State]] = {
    "submit": (frozenset({"draft", "withdrawn"}), "review"),
    "approve": (frozenset({"review"}), "published"),
    "send_back": (frozenset({"review"}), "draft"),
    "withdraw": (frozenset({"draft", "review", "published"}), "withdrawn"),
}
_QUERIES = load(Path(__file__).parent)


class ModerationError(IngestError):
    """A deed that cannot be done; `place` is where in the title stands what does not fit.

    `code`: `unknown_title`, `changed_meanwhile`, `wrong_state` or `does_not_fit`.
    """

    def __init__(self, code: str, detail: str, place: str | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.place = code, detail, place


@dataclass(frozen=True)
class Moderated:
    """A title as moderators see it. `ours`: the fields that no feed overwrites."""

    title: FeedTitle
    state: State
    version: int
    note: str | None
    ours: frozenset[str]
    from_feed: bool
    updated_at: datetime


async def find(connection: AsyncConnection, title_id: str, *, lock: bool = False) -> Moderated:
    """The title; with `lock` nobody else changes it until the transaction ends.

    Raises:
        ModerationError: there is none.
    """
    if lock:  # a feed that is being read may take a while
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute(_QUERIES["one_catalogue_writer"])
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_QUERIES["moderated"], (title_id,))
        found = await cursor.fetchone()
    if found is None:
        raise ModerationError("unknown_title", f"there is no title {title_id}")
    return Moderated(
        FeedTitle.model_validate(found["title"]) if found["titles"] else _unnamed(found["title"]),
        found["state"],
        found["version"],
        found["note"],
        frozenset(found["ours"]),
        found["from_feed"],
        found["updated_at"],
    )


def _unnamed(title: Mapping[str, Any]) -> FeedTitle:
    """A title that has no text at all is called by its id."""
    return FeedTitle.model_validate({**title, "titles": {"en": title["id"]}})


async def edit(
    connection: AsyncConnection,
    title_id: str,
    version: int,
    changes: Mapping[str, Any],
    *,
    now: datetime,
    check: Check | None = None,
) -> Moderated:
    """Change fields (of `FIELDS`, as a feed writes them), which are the moderator's then; each is given whole.

    Raises:
        ModerationError: there is no such title, it changed meanwhile, or the title would not fit: `place` says where.
    """
    found = await _expected(connection, title_id, version)
    plain = found.title.model_dump(mode="json", by_alias=True)
    try:
        wanted = FeedTitle.model_validate({**plain, **{field: changes[field] for field in FIELDS if field in changes}})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ModerationError("does_not_fit", f"{place}: {first['msg']}", place) from None
    if reason := unstorable(wanted):
        raise ModerationError("does_not_fit", f"{title_id} {reason}")
    if reason := contradiction(wanted.offers):
        raise ModerationError("does_not_fit", reason, reason.partition(":")[0])
    if check and (misfit := check(wanted.extra)):
        raise ModerationError("does_not_fit", ": ".join(misfit), misfit[0])
    await _write(connection, wanted, now)
    mine = wanted.model_dump(mode="json", by_alias=True)
    async with connection.cursor() as cursor:
        await cursor.executemany(
            _QUERIES["override"],
            [(title_id, field, Jsonb(mine[field]), now) for field in FIELDS if field in changes],
        )
    return await find(connection, title_id)


async def release(
    connection: AsyncConnection, title_id: str, version: int, fields: Sequence[str], *, now: datetime
) -> Moderated:
    """Give fields back to the feed: they stay as they are until its next run.

    Raises:
        ModerationError: as `edit`.
    """
    await _expected(connection, title_id, version)
    await _at(connection, now)
    await connection.execute(_QUERIES["release"], (title_id, list(fields)))
    await connection.execute(_QUERIES["read_feed_anew"], (title_id,))
    return await find(connection, title_id)


async def step(
    connection: AsyncConnection, title_id: str, version: int, name: Step, *, now: datetime, note: str | None = None
) -> Moderated:
    """Lead a title to its next state; `note` is why, where it goes back or away.

    Raises:
        ModerationError: there is no such title, it changed meanwhile, or its state does not lead there.
    """
    found = await _expected(connection, title_id, version)
    sources, target = STEPS[name]
    if found.state not in sources:
        expected = " or ".join(sorted(sources))
        raise ModerationError("wrong_state", f"{title_id} is {found.state}: {name} is for {expected}")
    await _at(connection, now)
    await connection.execute(_QUERIES["set_state"], {"state": target, "note": note, "title_id": title_id})
    return await find(connection, title_id)


async def queue(
    connection: AsyncConnection, state: str, after: Sequence[object] | None, limit: int
) -> list[dict[str, Any]]:
    """Titles of a state, those that wait longest first, `after` a moment and an id: what `moderation_queue` selects."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        place = after or ("-infinity", "")
        await cursor.execute(_QUERIES["moderation_queue"], (state, *place, limit))
        return await cursor.fetchall()


async def _expected(connection: AsyncConnection, title_id: str, version: int) -> Moderated:
    found = await find(connection, title_id, lock=True)
    if found.version != version:
        raise ModerationError(
            "changed_meanwhile", f"{title_id} is at version {found.version}, not {version}: look at it again"
        )
    return found


async def _at(connection: AsyncConnection, now: datetime) -> None:
    """Let the history know the caller's moment."""
    await connection.execute("SELECT set_config('matinee.now', %s, true)", (now.isoformat(),))


async def _write(connection: AsyncConnection, title: FeedTitle, now: datetime) -> None:
    await _at(connection, now)
    # id, kind and parent come first and are nobody's to change.
    await connection.execute(_QUERIES["write_title"], (*title_row(title)[3:], title.id))
    async with connection.cursor() as cursor:
        for name in ("clear_texts", "clear_people", "clear_offers"):
            await cursor.execute(_QUERIES[name], ([title.id],))
        await cursor.executemany(_QUERIES["add_text"], text_rows(title))
        await cursor.executemany(_QUERIES["add_person"], person_rows(title))
        await cursor.executemany(_QUERIES["add_offer"], offer_rows(title))
