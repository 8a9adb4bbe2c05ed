"""The catalogue: feeds become titles; a film without a feed becomes a draft. The one writer of titles and offers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

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


def ingest_feed(connection: psycopg.Connection, path: Path) -> FeedSummary:
    """Bring the titles of a feed (JSON Lines) into the catalogue, in one transaction; wrong lines are kept aside.

    A title is never removed because a feed no longer names it. Running twice changes nothing.

    Raises:
        IngestError: the file cannot be read.
    """
    feed = read_feed(path)
    with connection.transaction():
        known = connection.execute(_QUERIES["titles_known"]).fetchall()
        kinds = {title_id: kind for title_id, kind, _, _ in known}
        parents = {title_id: parent for title_id, _, parent, _ in known}
        accepted, misfits = settle(feed.lines, Known(kinds, parents))
        titles = upsert_titles(connection, [line.title for line in accepted])
        rejected = tuple(sorted((*feed.rejected, *misfits), key=lambda line: line.number))
        keep_rejections(connection, feed.sha256, feed.name, rejected)
    return FeedSummary(titles, rejected)


def upsert_titles(connection: psycopg.Connection, titles: Sequence[FeedTitle]) -> Upserted:
    """Write titles that are new or differ from what the catalogue has; parents must come before their children.

    Belongs into a transaction of the caller's, who holds the catalogue's lock until its end.
    """
    connection.execute(_QUERIES["one_catalogue_writer"])
    known = {title_id: digest for title_id, _, _, digest in connection.execute(_QUERIES["titles_known"])}
    hashes = {title.id: feed_hash(title) for title in titles}
    touched = [title for title in titles if known.get(title.id) != hashes[title.id]]
    added = sum(title.id not in known for title in touched)
    ids = [title.id for title in touched]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_QUERIES["upsert_title"], [_title_row(title, hashes[title.id]) for title in touched])
        for name in ("clear_texts", "clear_people", "clear_offers"):
            cursor.execute(_QUERIES[name], (ids,))
        cursor.executemany(_QUERIES["add_text"], [row for title in touched for row in _text_rows(title)])
        cursor.executemany(
            _QUERIES["add_person"],
            [
                (title.id, place, person.name, person.role)
                for title in touched
                for place, person in enumerate(title.people)
            ],
        )
        cursor.executemany(
            _QUERIES["add_offer"],
            [
                (title.id, place, o.kind, list(o.plans), o.price, o.currency, list(o.regions), o.from_, o.until)
                for title in touched
                for place, o in enumerate(title.offers)
            ],
        )
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


def _title_row(title: FeedTitle, digest: bytes) -> tuple[object, ...]:
    number = title.extra.get("number")
    usable = isinstance(number, int) and not isinstance(number, bool) and -_INT4 <= number < _INT4
    return (
        title.id, title.kind, title.parent, number if usable else None, title.year, title.runtime_s, title.maturity,
        list(title.genres), list(title.tags), list(title.countries), Jsonb(title.images), Jsonb(title.extra), digest,
    )  # fmt: skip


def _text_rows(title: FeedTitle) -> list[tuple[str, str, str, str]]:
    """A row for each language with a name or a synopsis; where only the name is missing, the first name stands in."""
    main = next(iter(title.titles.values()))
    languages = dict.fromkeys((*title.titles, *title.synopsis))
    return [(title.id, lang, title.titles.get(lang, main), title.synopsis.get(lang, "")) for lang in languages]
