"""Which playback session a copy of a film comes from: its bits against those of every session of the package."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from matinee.db import queries
from matinee.settings import Settings
from transcoding import watermark
from transcoding.errors import TranscodingError
from transcoding.forensics.detect import Copy, Marked, read_copy
from transcoding.plan import Plan
from transcoding.protect import decrypt_segment, playlist_keys

_SQL = queries.load(Path(__file__).parent)
# A session is named when any of the package's sessions would match so well by chance less often than this.
FALSE_ALARM = 1e-3


@dataclass(frozen=True)
class Session:
    playback_id: str
    account_id: str
    created_at: datetime


@dataclass(frozen=True)
class Match:
    """How well a session explains a copy: `matched` of `read` bits.

    `chance`: the probability that the best of as many random sessions as there are matches at least as well.
    """

    session: Session
    matched: int
    read: int
    chance: float

    @property
    def significant(self) -> bool:
        return self.chance < FALSE_ALARM


@dataclass(frozen=True)
class Trace:
    """What was found in a copy; `matches` best first, `sessions` is how many were compared."""

    package_id: str
    copy: Copy
    sessions: int
    matches: tuple[Match, ...]

    @property
    def found(self) -> Match | None:
        return self.matches[0] if self.matches and self.matches[0].significant else None


def trace(
    settings: Settings,
    connection: psycopg.Connection,
    path: Path,
    title_id: str,
    package_id: str | None = None,
    on_progress: Callable[[float], object] = float,
) -> Trace:
    """Read a copy's bits and compare them with every playback session of a package (none given: the one that plays).

    Raises:
        TranscodingError: the package is not there or carries no watermark, or the file shows something else.
    """
    if not path.is_file():
        raise TranscodingError(f"{path}: there is no such file")
    package_id = package_id or _playing(connection, title_id)
    marked = open_package(settings, connection, title_id, package_id)
    secret_key = watermark.key(settings)
    copy = read_copy(path, marked, secret_key, on_progress)
    rows = connection.execute(_SQL["sessions"], {"package_id": package_id}).fetchall()
    return Trace(package_id, copy, len(rows), tuple(rank(copy, (Session(*row) for row in rows), secret_key)))


def rank(copy: Copy, sessions: Iterable[Session], secret_key: bytes) -> list[Match]:
    """Sessions by how many of the copy's bits are theirs, best first.

    The bits of a session that the copy does not come from are independent of the copy, each right with probability 1/2
    whatever the detector did: the number of matches is binomial, and the best of n sessions is corrected for by 1 -
    (1 - p)^n.
    """
    read = {reading.segment: bit for reading in copy.readings if (bit := reading.bit) is not None}
    scored = []
    for session in sessions:
        theirs = watermark.bits(secret_key, session.playback_id, list(read))
        scored.append((sum(a == b for a, b in zip(theirs, read.values(), strict=True)), session))
    scored.sort(key=lambda pair: (-pair[0], pair[1].playback_id))
    chances = {matched: by_chance(matched, len(read), len(scored)) for matched in {pair[0] for pair in scored}}
    return [Match(session, matched, len(read), chances[matched]) for matched, session in scored]


def by_chance(matched: int, read: int, candidates: int) -> float:
    """Probability that the best of so many random candidates matches at least `matched` of `read` fair bits."""
    tail = sum(math.comb(read, k) for k in range(matched, read + 1)) / 2**read
    return -math.expm1(candidates * math.log1p(-tail)) if tail < 1 else 1.0


def _playing(connection: psycopg.Connection, title_id: str) -> str:
    row = connection.execute(_SQL["playing"], {"title_id": title_id}).fetchone()
    if row is None:
        raise TranscodingError(f"{title_id} has no published package: name one that had by --package")
    return row[0]


def open_package(settings: Settings, connection: psycopg.Connection, title_id: str, package_id: str) -> Marked:
    """A package as the detector needs it: by its smallest marked rung of H.264, encrypted or not.

    All marked rungs carry the same pattern, whatever their codec; HDR has other levels than most copies.

    Raises:
        TranscodingError: it is not there, or carries no watermark.
    """
    folder = settings.media / title_id / package_id
    if not (folder / "package.json").is_file():
        raise TranscodingError(f"{folder} is not there: the detector compares a copy with its package")
    plan = Plan.from_json(json.loads((folder / "package.json").read_text())["plan"])
    marked = [rung for rung in plan.rungs if rung.marked and (folder / watermark.VARIANTS / rung.name).is_dir()]
    if not marked:
        raise TranscodingError(f"package {package_id} of {title_id} carries no watermark: set MATINEE_WATERMARK=true")
    rung = min(marked, key=lambda rung: (rung.codec != "h264", rung.width * rung.height))
    guide = min(plan.rungs, key=lambda rung: rung.width * rung.height)
    return Marked(
        title_id, plan.frame_rate, plan.frames, round(plan.segment * plan.frame_rate), rung.width, rung.height,
        rung.name, guide.name, Reader(settings, connection, folder),
    )  # fmt: skip


class Reader:
    """The clear bytes of a package's files, whether it is encrypted or not."""

    def __init__(self, settings: Settings, connection: psycopg.Connection, folder: Path) -> None:
        self._settings, self._connection, self._folder = settings, connection, folder
        self._sealed: dict[str, dict[str, tuple[int, str | None]]] = {}
        self._keys: dict[str, bytes] = {}

    def __call__(self, name: str) -> bytes:
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            raise TranscodingError(f"{self._folder / name}: {error.strerror}") from None
        _, rung, file = name.split("/")
        number, uri = self._listed(rung).get(file, (0, None))
        if uri is None:
            return data
        return decrypt_segment(data, self._key(uri.rsplit("/", 1)[-1]), number)

    def _listed(self, rung: str) -> dict[str, tuple[int, str | None]]:
        """Sequence number and key of each file; the variants of a segment share those of the playlist's own."""
        if rung not in self._sealed:
            playlist = (self._folder / "video" / rung / "main.m3u8").read_text()
            self._sealed[rung] = {name: (number, uri) for name, number, uri in playlist_keys(playlist)}
        return self._sealed[rung]

    def _key(self, key_id: str) -> bytes:
        from transcoding.keys import open_key

        if key_id not in self._keys:
            self._keys[key_id] = open_key(self._connection, self._settings, key_id)
        return self._keys[key_id]
