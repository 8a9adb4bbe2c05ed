"""A published title gets its markers, and its siblings those that only the comparison with it shows."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from matinee.db import queries
from matinee.db.connect import connect
from matinee.errors import MatineeError, StackError
from matinee.settings import Settings

if TYPE_CHECKING:
    from transcoding.markers.find import Marker
    from transcoding.markers.fingerprint import Words

_SQL = queries.load(Path(__file__).parent)
_SIBLINGS = 4  # the nearest ones are compared
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marked:
    """What became of a title: the markers it has now, or why it could not be looked into."""

    title_id: str
    markers: "tuple[Marker, ...]" = ()
    error: str | None = None


def update(settings: Settings, title_id: str) -> Marked:
    """Find the markers of a published title by the master of its newest package.

    Raises nothing, for no package may fail by it: what went wrong is in the answer and in the log, and where the film
    is to blame also in `title_fingerprint.error`.
    """
    try:
        with connect(settings, autocommit=True) as connection:
            return _looked_into(settings, connection, title_id)
    except (StackError, psycopg.Error) as error:
        return _failed(title_id, error)


def update_left(
    settings: Settings, titles: Sequence[str] | None = None, stop: Callable[[], bool] = lambda: False
) -> list[Marked]:
    """Look into the titles (of `titles`) that play a master which was not looked into: a worker died after publishing.

    Until `stop` says so. A title that is under way is left to its worker.

    Raises:
        StackError: PostgreSQL does not answer.
    """
    wanted = {"titles": None if titles is None else list(titles)}
    with connect(settings) as connection:
        left = [row[0] for row in connection.execute(_SQL["titles_left"], wanted).fetchall()]
    return [update(settings, title_id) for title_id in left if not stop()]


def _looked_into(settings: Settings, connection: psycopg.Connection, title_id: str) -> Marked:
    row = connection.execute(_SQL["title_to_mark"], {"title_id": title_id}).fetchone()
    if row is None:
        return Marked(title_id, error="it has no published package")
    master_id, stored = row
    try:
        return _update(settings, connection, title_id, master_id, settings.media / stored)
    except (MatineeError, OSError, ValueError) as error:
        failed = _failed(title_id, error)
        _keep(connection, title_id, master_id, None, failed.error)
        return failed


def _failed(title_id: str, error: Exception) -> Marked:
    reason = " ".join(str(error).split()) or type(error).__name__
    _log.warning("no markers for %s: %s", title_id, reason)
    return Marked(title_id, error=reason)


def _update(settings: Settings, connection: psycopg.Connection, title_id: str, master_id: str, path: Path) -> Marked:
    from transcoding.markers.find import best, share, written_end
    from transcoding.markers.fingerprint import METHOD
    from transcoding.markers.listen import end_of, words_of
    from transcoding.source import read_source

    source = read_source(path)
    words = words_of(source, settings.media)
    _keep(connection, title_id, master_id, words, None)
    found: list[Marker] = []
    facts = {"title_id": title_id, "master_id": master_id, "method": METHOD, "most": _SIBLINGS}
    for sibling, theirs in connection.execute(_SQL["siblings"], facts).fetchall():
        shared = share(words, _words(theirs))
        found += shared.own
        _store(connection, sibling, shared.sibling)
    if not any(marker.kind == "credits" for marker in found):
        frames, begin = end_of(source, settings.media)
        seen = written_end(frames, begin, float(source.offset + source.duration))
        found += [seen] if seen else []
    kept = tuple(best(found).values())
    with connection.transaction():
        connection.execute(_SQL["forget_markers"], {"title_id": title_id})
        _store(connection, title_id, kept)
    return Marked(title_id, kept)


def _words(stored: bytes) -> "Words":
    import numpy as np

    return np.frombuffer(stored, dtype="<u4").astype(np.uint32)


def _keep(
    connection: psycopg.Connection, title_id: str, master_id: str, words: "Words | None", error: str | None
) -> None:
    from transcoding.markers.fingerprint import METHOD

    facts: dict[str, Any] = {"title_id": title_id, "master_id": master_id, "method": METHOD, "error": error}
    stored = None if words is None else words.astype("<u4").tobytes()
    connection.execute(_SQL["store_fingerprint"], facts | {"words": stored})


def _store(connection: psycopg.Connection, title_id: str, markers: "Iterable[Marker]") -> None:
    """Add markers to a title; one that is there and better founded stays."""
    for marker in markers:
        facts = {"title_id": title_id, "kind": marker.kind, "source": marker.source, "confidence": marker.confidence}
        times = {"start_ms": round(marker.start * 1000), "end_ms": round(marker.end * 1000)}
        connection.execute(_SQL["store_marker"], facts | times)
