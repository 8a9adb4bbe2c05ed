"""Reading a catalogue feed: which lines can be used, and why the others cannot. Pure but for the file itself."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import ValidationError

from ingest.errors import IngestError
from ingest.extra import Check
from ingest.intake import printable
from ingest.offers import contradiction
from matinee.contracts.feed import PARENTS, FeedTitle

MAX_LINE_BYTES = 4 * 2**20
_KEPT_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
# JSON's escape of NUL, which PostgreSQL cannot store; an even number of backslashes before it is text about it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Parents before children. A parent is always of an earlier kind than its child, so that cycles cannot be written.
_RANK = {"film": 0, "series": 0, "season": 1, "episode": 2, "extra": 3}
_CANONICAL_FORM = b"1\n"  # raise it when the catalogue stores more of a line than before


@dataclass(frozen=True)
class Line:
    """A line that is a title."""

    number: int
    title: FeedTitle
    raw: bytes


@dataclass(frozen=True)
class Rejected:
    """A line that cannot be used, whole (very long ones: their beginning)."""

    number: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Feed:
    """A feed file, read. `sha256` is of the whole file."""

    name: str
    sha256: str
    lines: tuple[Line, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Known:
    """What the catalogue has already: title id -> kind, and title id -> its parent's id."""

    kinds: Mapping[str, str]
    parents: Mapping[str, str | None]


def read_feed(path: Path, check: Check | None = None) -> Feed:
    """Read and validate a feed line by line; blank lines are passed over. `check` says what does not fit in `extra`.

    Raises:
        IngestError: the file cannot be read.
    """
    digest = hashlib.sha256()
    lines: list[Line] = []
    rejected: list[Rejected] = []
    try:
        with path.open("rb") as file:
            for number, raw in _raw_lines(file, digest.update):
                if not raw.strip():
                    continue
                item = _judge(number, raw, check)
                if isinstance(item, Line):
                    lines.append(item)
                else:
                    rejected.append(item)
    except OSError as error:
        raise IngestError(f"cannot read the feed {path}: {error.strerror or error}") from error
    return Feed(path.name, digest.hexdigest(), tuple(lines), tuple(rejected))


def settle(lines: Sequence[Line], known: Known) -> tuple[list[Line], list[Rejected]]:
    """Which lines fit together and with the catalogue: the accepted ones, parents first, and the rest with reasons."""
    first: dict[str, int] = {}
    kinds = dict(known.kinds)
    accepted: list[Line] = []
    rejected: list[Rejected] = []
    for line in lines:
        first.setdefault(line.title.id, line.number)
    children: dict[str, list[str]] = {}
    for child, parent in known.parents.items():
        if parent is not None and child not in first:
            children.setdefault(parent, []).append(child)
    for line in sorted(lines, key=lambda line: (_RANK[line.title.kind], line.number)):
        title = line.title
        if first[title.id] != line.number:
            reason = f"duplicate id {title.id!r}: line {first[title.id]} has it"
        else:
            reason = _wrong_parent(title, kinds) or _orphans(title, children, kinds)
        if reason:
            rejected.append(Rejected(line.number, reason, line.raw))
        else:
            kinds[title.id] = title.kind
            accepted.append(line)
    return accepted, sorted(rejected, key=lambda line: line.number)


def feed_hash(title: FeedTitle) -> bytes:
    """SHA-256 of the title in its canonical form: two lines that mean the same have the same."""
    canonical = orjson.dumps(title.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(_CANONICAL_FORM + canonical).digest()


def unstorable(title: FeedTitle) -> str | None:
    """Why PostgreSQL could not keep the title; None where it can."""
    try:
        canonical = orjson.dumps(title.model_dump(mode="json"))
    except (TypeError, ValueError) as error:  # nested deeper than JSON writers go
        return printable(f"cannot be stored: {error}")
    return "contains the character NUL" if _NUL.search(canonical) else None


def _wrong_parent(title: FeedTitle, kinds: Mapping[str, str]) -> str:
    if title.parent is None:
        return ""
    if title.parent == title.id:
        return f"{title.id!r} is its own parent"
    kind = kinds.get(title.parent)
    if kind is None:
        return f"unknown parent {title.parent!r}: neither in the catalogue nor a usable line of this feed"
    if kind not in PARENTS[title.kind]:
        return f"parent {title.parent!r} is a {kind}: a {title.kind} cannot be under it"
    return ""


def _orphans(title: FeedTitle, children: Mapping[str, Iterable[str]], kinds: Mapping[str, str]) -> str:
    for child in children.get(title.id, ()):
        if title.kind not in PARENTS[kinds[child]]:
            return f"{title.id!r} cannot become a {title.kind}: the {kinds[child]} {child!r} is under it"
    return ""


def _judge(number: int, raw: bytes, check: Check | None) -> Line | Rejected:
    if len(raw) > MAX_LINE_BYTES:
        return Rejected(number, f"longer than {MAX_LINE_BYTES:,} bytes", raw[:_KEPT_BYTES])
    try:
        value = orjson.loads(raw)
        if not isinstance(value, dict):
            return Rejected(number, f"a title is a JSON object, not {type(value).__name__}", raw)
        title = FeedTitle.model_validate(value)
    except orjson.JSONDecodeError as error:
        return Rejected(number, printable(f"not JSON: {error}"), raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in found["loc"])
        return Rejected(number, printable(f"{where}: {found['msg']}" if where else found["msg"]), raw)
    except (TypeError, ValueError) as error:  # nested deeper than JSON writers go
        return Rejected(number, printable(f"cannot be stored: {error}"), raw)
    if reason := unstorable(title):
        return Rejected(number, reason, raw)
    if reason := contradiction(title.offers):
        return Rejected(number, reason, raw)
    if check and (misfit := check(title.extra)):
        return Rejected(number, printable(": ".join(misfit)), raw)
    return Line(number, title, raw)


def _raw_lines(file: BinaryIO, seen: Callable[[bytes], object]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends. One that is too long is given once, cut just above the limit."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        seen(raw)
        whole = raw
        while not whole.endswith(b"\n") and (whole := file.readline(MAX_LINE_BYTES)):
            seen(whole)
        if number == 1:
            raw = raw.removeprefix(_BOM)
        yield number, raw.rstrip(b"\r\n")
