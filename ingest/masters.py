"""Masters: film files become rows and copies in the media store, each linked to a title.

A master is its content: `master_id` is the SHA-256 of the file. The copy is `~masters/<sha256><suffix>` below the media
store ('~' cannot occur in a title id) and appears whole or not at all.
"""

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from ingest import naming, sidecars
from ingest.catalog import draft_title
from ingest.errors import IngestError
from ingest.judge import judge
from ingest.parts import sync
from ingest.probe import RefusedError
from matinee.db.queries import load

STORE = "~masters"
# What lies beside films and is no film; everything else is judged by its content.
SIDECARS = frozenset(
    {".vtt", ".srt", ".ass", ".ssa", ".sub", ".idx", ".jpg", ".jpeg", ".png", ".webp", ".gif", ".json", ".jsonl"}
)
QUIET_S = 1.0
_LOOK_AGAIN_S = 0.5
_LOOKS = 20
_PIECE = 4 * 2**20
_DRAFT = ".draft-"
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_LOCK = 7_228_116  # any constant: it names the lock of the store in the database

_QUERIES = load(Path(__file__).parent)

State = Literal["accepted", "refused", "unchanged"]


@dataclass(frozen=True)
class Outcome:
    """What became of one file (or of a folder that cannot be looked into, which is refused).

    `refused` has a reason; `unchanged`: its content was here before. `subtitles`: the languages of the files beside it.
    """

    path: Path
    state: State
    master_id: str | None = None
    title_id: str | None = None
    reason: str = ""
    subtitles: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    path: Path
    relative: str
    size: int
    modified_ns: int
    alone: bool


def ingest_masters(
    connection: psycopg.Connection,
    folder: Path,
    media: Path,
    *,
    reserve_bytes: int = 0,
    on_file: Callable[[Path], None] = lambda _: None,
) -> list[Outcome]:
    """Take in every film below a folder (or one file); returns what became of each, in the order of their paths.

    Hidden files and sidecars (pictures, JSON) are passed over; subtitle files named like a film are taken in with it,
    and one that cannot be used is refused while its film is not. A film that cannot be used and a subfolder
    that cannot be looked into are refused with their reason, and the rest goes on. On an autocommit connection each
    film is committed by itself. `reserve_bytes` of the disk stay free. Running twice changes nothing, and reads only
    files that are new, changed or were refused.

    Raises:
        IngestError: the folder is not there or cannot be looked into, or the media store is full or cannot be written.
    """
    if not folder.exists():
        raise IngestError(f"no such folder: {folder}")
    folder, store = folder.resolve(), media / STORE
    outcomes: list[Outcome] = []

    def closed(error: OSError) -> None:
        path = Path(error.filename)
        if path == folder:
            raise IngestError(f"cannot look into {folder}: {error.strerror or error}") from error
        outcomes.append(Outcome(path, "refused", reason=unreadable(error)))

    with _alone(connection, store):
        for path, alone in _candidates(folder, closed):
            on_file(path)
            try:
                file = _stable(path, folder, alone=alone)
                outcome = _take_in(connection, file, store, reserve_bytes)
                outcomes += _with_subtitles(connection, outcome, store)
            except RefusedError as refused:
                outcomes.append(Outcome(path, "refused", reason=str(refused)))
            except OSError as error:
                outcomes.append(Outcome(path, "refused", reason=unreadable(error)))
        link(connection)
    owners = dict(connection.execute(_QUERIES["title_of_masters"], ([o.master_id for o in outcomes],)).fetchall())
    return [replace(outcome, title_id=owners.get(outcome.master_id)) for outcome in outcomes]


def _with_subtitles(connection: psycopg.Connection, film: Outcome, store: Path) -> list[Outcome]:
    """The outcome of a film, and of the subtitle files beside it that are refused."""
    if film.state == "refused" or film.master_id is None:
        return [film]
    found = sidecars.take_in(connection, film.path, film.master_id, store)
    refused = [Outcome(file.path, "refused", reason=file.reason) for file in found.refused]
    return [replace(film, subtitles=found.languages), *refused]


def link(connection: psycopg.Connection) -> dict[str, str]:
    """Give every accepted master without a title of a feed the title that names it, or a draft; returns what is new.

    A draft that lost its film to a feed's title is removed, unless it was packaged already.
    """
    with connection.transaction():
        titles = naming.index(
            naming.Named(title_id, year, tuple(names), tuple(_strings(master)))
            for title_id, _, year, master, names in connection.execute(_QUERIES["titles_to_link"]).fetchall()
        )
        changed: dict[str, str] = {}
        for master_id, title_id, path, relative, alone in connection.execute(_QUERIES["masters_to_link"]).fetchall():
            if master_id in changed:
                continue
            wanted = naming.match(titles, relative, master_id, alone=alone) or title_id
            if wanted is None:
                wanted = _draft(connection, Path(path).stem, master_id)
            if wanted != title_id:
                connection.execute(_QUERIES["link_master"], (wanted, master_id))
                changed[master_id] = wanted
                if title_id is not None:
                    connection.execute(_QUERIES["drop_idle_draft"], (title_id,))
    return changed


def _candidates(folder: Path, on_closed: Callable[[OSError], None]) -> Iterator[tuple[Path, bool]]:
    """Files that may be films, and whether each is the only one in its folder."""
    if folder.is_file():
        yield folder, False
        return
    for place, folders, names in os.walk(folder, onerror=on_closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        films = [n for n in sorted(names) if not n.startswith(".") and Path(n).suffix.lower() not in SIDECARS]
        for name in films:
            yield Path(place) / name, len(films) == 1 and Path(place) != folder


def unreadable(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read: give the user that runs matinee the right to read it"
    return f"cannot be read: {error.strerror or error}"


def _stable(path: Path, folder: Path, *, alone: bool) -> _File:
    """Wait until nobody writes the file any more: it was quiet for a second, or two looks see the same."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError("not a regular file")
    quiet = time.time() - found.st_mtime > QUIET_S
    for _ in range(_LOOKS):
        if quiet:
            relative = path.relative_to(folder).as_posix() if path != folder else path.name
            return _File(path, readable(relative), found.st_size, found.st_mtime_ns, alone)
        time.sleep(_LOOK_AGAIN_S)
        before, found = found, path.stat()
        quiet = (before.st_size, before.st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    raise RefusedError(f"still being written after {_LOOKS * _LOOK_AGAIN_S:.0f} s: run it again when it is complete")


def _take_in(connection: psycopg.Connection, file: _File, store: Path, reserve_bytes: int) -> Outcome:
    target = _stored(connection, file, store)
    if target is not None and target.exists():
        return Outcome(file.path, "unchanged", target.stem)
    sha256 = _sha256(file.path)
    row = connection.execute(_QUERIES["master_state"], (sha256,)).fetchone()
    target = store / f"{sha256}{_suffix(file.path)}"
    if row == ("accepted",) and target.exists():
        _record(connection, file, sha256)
        return Outcome(file.path, "unchanged", sha256)
    verdict = judge(file.path)
    if verdict.probe is None:
        reason = verdict.reason or ""
        _record(connection, file, sha256, ("refused", None, reason, {}))
        return Outcome(file.path, "refused", sha256, reason=reason)
    found = {**verdict.probe.as_json(), "corrections": list(verdict.corrections)}
    _copy(file, target, sha256, reserve_bytes)
    _record(connection, file, sha256, ("accepted", f"{STORE}/{target.name}", None, found))
    return Outcome(file.path, "accepted", sha256)


def _stored(connection: psycopg.Connection, file: _File, store: Path) -> Path | None:
    """Where the copy of a file lies that was accepted and has not been touched since."""
    row = connection.execute(
        _QUERIES["accepted_source"], (readable(file.path), file.size, file.modified_ns, file.relative, file.alone)
    ).fetchone()
    return store / Path(row[0]).name if row else None


def _record(
    connection: psycopg.Connection,
    file: _File,
    sha256: str,
    master: tuple[State, str | None, str | None, dict[str, Any]] | None = None,
) -> None:
    with connection.transaction():
        if master is not None:
            state, stored_path, reason, found = master
            connection.execute(
                _QUERIES["add_master"],
                (
                    sha256,
                    readable(file.path.name),
                    stored_path,
                    file.size,
                    state,
                    reason,
                    Jsonb(found),
                    readable(file.path) if state == "accepted" else None,
                ),
            )
        connection.execute(
            _QUERIES["remember_source"],
            (readable(file.path), file.relative, file.size, file.modified_ns, file.alone, sha256),
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _copy(file: _File, target: Path, sha256: str, reserve_bytes: int) -> None:
    """Copy into the store by way of a draft, and make sure that what lies there is what was looked at."""
    draft = target.with_name(f"{_DRAFT}{target.name}")
    digest = hashlib.sha256()
    with file.path.open("rb") as source:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(target.parent).free
            if free - file.size < reserve_bytes:
                reserved = f"{reserve_bytes / 2**20:,.0f} MiB of them reserved"
                raise OSError(errno.ENOSPC, f"only {free / 2**20:,.0f} MiB are free, {reserved}")
            with draft.open("wb") as copy:
                while piece := _read(source):
                    digest.update(piece)
                    copy.write(piece)
            if digest.hexdigest() != sha256:
                raise RefusedError("it changed while it was read: run it again when it is complete")
            sync(draft)
            os.replace(draft, target)
            sync(target.parent)
        except OSError as error:
            raise IngestError(
                f"cannot store {file.path.name} ({file.size / 2**20:,.1f} MiB) in {target.parent}: "
                f"{error.strerror or error}; free some space or set MATINEE_MEDIA_URL to another disk"
            ) from error
        finally:
            with suppress(OSError):
                draft.unlink()


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(_PIECE)
    except OSError as error:
        raise RefusedError(unreadable(error)) from error


def readable(path: Path | str) -> str:
    """A path as text that can be printed and stored, whatever bytes the file system has in it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _draft(connection: psycopg.Connection, stem: str, sha256: str) -> str:
    name, year = naming.pretty(stem)
    title_id = naming.draft_id(stem, sha256)
    if not draft_title(connection, title_id, name, year):
        title_id = naming.draft_id(stem, sha256, taken=True)
        draft_title(connection, title_id, name, year)
    return title_id


def _strings(master: object) -> list[str]:
    """What a feed line says in `extra.master`: one file or several."""
    found = master if isinstance(master, list) else [master]
    return [item for item in found if isinstance(item, str)]


@contextmanager
def _alone(connection: psycopg.Connection, store: Path) -> Iterator[None]:
    """Only one at a time fills the store; so a draft that lies there is what a killed one left."""
    connection.execute(_QUERIES["lock"], (_LOCK,))
    try:
        for draft in store.glob(f"{_DRAFT}*"):
            draft.unlink()
        yield
    finally:
        if not connection.broken and connection.info.transaction_status != TransactionStatus.INERROR:
            connection.execute(_QUERIES["unlock"], (_LOCK,))
