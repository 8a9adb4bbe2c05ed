"""The catalogue: feeds become titles; a film without a feed becomes a draft. The one writer of titles and offers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from ingest.extra import Check
from ingest.feed import Known, Rejected, feed_hash, read_feed, settle
from matinee.contracts.feed import FeedTitle
from matinee.db.queries import load

_QUERIES = load(Path(__file__).parent)
_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
_INT4 = 2**31


@dataclass(frozen=True)
class Upserted:
    """How many titles were new, changed, or said what the catalogue says already."""

    added: int
    changed: int
    unchanged: int


@dataclass(frozen=True)
class FeedSummary:
    """What a feed did to the catalogue. `rejected` lines are kept in `feed_rejection`."""

    titles: Upserted
    rejected: tuple[Rejected, ...]

    @property
    def used(self) -> int:
        return self.titles.added + self.titles.changed + self.titles.unchanged


def ingest_feed(
    connection: psycopg.Connection, path: Path, *, check: Check | None = None, publish: bool = True
) -> FeedSummary:
    """Bring the titles of a feed (JSON Lines) into the catalogue, in one transaction; wrong lines are kept aside.

    A title is never removed because a feed no longer names it. Running twice changes nothing. `check` judges `extra`
    (`ingest.extra.check_of`); without `publish` new titles are drafts that a moderator has to publish.

    Raises:
        IngestError: the file cannot be read.
    """
    feed = read_feed(path, check)
    with connection.transaction():
        known = connection.execute(_QUERIES["titles_known"]).fetchall()
        kinds = {title_id: kind for title_id, kind, _, _ in known}
        parents = {title_id: parent for title_id, _, parent, _ in known}
        accepted, misfits = settle(feed.lines, Known(kinds, parents))
        titles = upsert_titles(connection, [line.title for line in accepted], publish=publish)
        rejected = tuple(sorted((*feed.rejected, *misfits), key=lambda line: line.number))
        keep_rejections(connection, feed.sha256, feed.name, rejected)
    return FeedSummary(titles, rejected)


def upsert_titles(connection: psycopg.Connection, titles: Sequence[FeedTitle], *, publish: bool = True) -> Upserted:
    """Write titles that are new or differ from what the catalogue has; parents must come before their children.

    What a moderator changed stays until it is released, and so does the state of a title that is known: a feed
    publishes only what is new, and drafts of film files. Belongs into a transaction of the caller's, who holds the
    catalogue's lock until its end.
    """
    connection.execute(_QUERIES["one_catalogue_writer"])
    known = {title_id: digest for title_id, _, _, digest in connection.execute(_QUERIES["titles_known"])}
    hashes = {title.id: feed_hash(title) for title in titles}
    touched = [title for title in titles if known.get(title.id) != hashes[title.id]]
    added = sum(title.id not in known for title in touched)
    ids = [title.id for title in touched]
    kept: dict[str, dict[str, Any]] = {}
    for title_id, field, value in connection.execute(_QUERIES["overrides"], (ids,)):
        kept.setdefault(title_id, {})[field] = value
    written = [overridden(title, kept.get(title.id, {})) for title in touched]
    state = "published" if publish else "draft"
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            _QUERIES["upsert_title"], [(*title_row(title), hashes[title.id], state, publish) for title in written]
        )
        for name in ("clear_texts", "clear_people", "clear_offers"):
            cursor.execute(_QUERIES[name], (ids,))
        cursor.executemany(_QUERIES["add_text"], [row for title in written for row in text_rows(title)])
        cursor.executemany(_QUERIES["add_person"], [row for title in written for row in person_rows(title)])
        cursor.executemany(_QUERIES["add_offer"], [row for title in written for row in offer_rows(title)])
    return Upserted(added, len(touched) - added, len(titles) - len(touched))


def draft_title(connection: psycopg.Connection, title_id: str, name: str, year: int | None = None) -> bool:
    """Make a film that no feed knows: free to watch, for adults until somebody says otherwise. False if the id exists.

    It has the state `draft` and no `feed_hash`. Such a draft is shown and played like any title, so that a bare folder
    of films is a service; a feed line with its id turns it into a published title.
    """
    with connection.transaction(), connection.cursor() as cursor:
        if cursor.execute(_QUERIES["add_draft"], (title_id, year, 18)).rowcount == 0:
            return False
        language = "ru" if _CYRILLIC.search(name) else "en"
        cursor.execute(_QUERIES["add_text"], (title_id, language, name, ""))
        cursor.execute(_QUERIES["add_offer"], (title_id, 0, "free", [], None, None, [], None, None))
    return True


def keep_rejections(connection: psycopg.Connection, file_hash: str, name: str, rejected: Sequence[Rejected]) -> None:
    """Keep wrong lines of a file; those of an earlier run on the same file that are right by now are dropped."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_QUERIES["forget_rejections"], (file_hash, [line.number for line in rejected]))
        cursor.executemany(
            _QUERIES["add_rejection"], [(file_hash, line.number, name, line.reason, line.raw) for line in rejected]
        )


def overridden(title: FeedTitle, fields: Mapping[str, Any]) -> FeedTitle:
    """The title with what moderators changed; one of their fields that no longer fits is the feed's again."""
    if not fields:
        return title
    plain = title.model_dump(mode="json", by_alias=True)
    try:
        return FeedTitle.model_validate({**plain, **fields})
    except ValidationError as error:
        wrong = {str(found["loc"][0]) for found in error.errors() if found["loc"]}
        return overridden(title, {field: value for field, value in fields.items() if field not in wrong and wrong})


def title_row(title: FeedTitle) -> tuple[object, ...]:
    """The values of `upsert_title` and `write_title`, in their order."""
    number = title.extra.get("number")
    usable = isinstance(number, int) and not isinstance(number, bool) and -_INT4 <= number < _INT4
    return (
        title.id, title.kind, title.parent, number if usable else None, title.year, title.runtime_s, title.maturity,
        list(title.genres), list(title.tags), list(title.countries), Jsonb(title.images), Jsonb(title.extra),
    )  # fmt: skip


def person_rows(title: FeedTitle) -> list[tuple[object, ...]]:
    return [(title.id, place, person.name, person.role) for place, person in enumerate(title.people)]


def offer_rows(title: FeedTitle) -> list[tuple[object, ...]]:
    return [
        (title.id, place, o.kind, list(o.plans), o.price, o.currency, list(o.regions), o.from_, o.until)
        for place, o in enumerate(title.offers)
    ]


def text_rows(title: FeedTitle) -> list[tuple[str, str, str, str]]:
    """A row for each language with a name or a synopsis; where only the name is missing, the first name stands in."""
    main = next(iter(title.titles.values()))
    languages = dict.fromkeys((*title.titles, *title.synopsis))
    return [(title.id, lang, title.titles.get(lang, main), title.synopsis.get(lang, "")) for lang in languages]
