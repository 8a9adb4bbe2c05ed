"""What forgetting people needs in every room: who they are, what was removed where, and names in plain files.

Each room that keeps something of people has an `erase.py` that knows its own places; `orchestration.erase` calls them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Shorter words would hit what is not meant: they are looked for as whole values only, never within texts.
SHORTEST = 12
_CHUNK = 4 * 2**20
_OVERLAP = 512
_FEW = 40
_WORD = rb"[0-9a-z_@.+-]"
# What can be somebody's name in a text: an id, a key, an e-mail address.
_TOKEN = re.compile(_WORD + rb"{%d,}" % SHORTEST)
_PLAIN = re.compile(rb"[0-9a-z_-]{%d,}" % SHORTEST)


@dataclass(frozen=True)
class People:
    """Accounts that are to be forgotten, and everything that stands for them.

    `keys`: column of the lake -> its values (`account_key`, `profile_key`, `session_id`, `playback_id`).
    """

    accounts: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    logins: frozenset[str] = frozenset()
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def key(self, kind: str) -> frozenset[str]:
        return self.keys.get(kind, frozenset())

    @property
    def names(self) -> frozenset[str]:
        """All of it: no other word than these leads to them."""
        return frozenset().union(self.accounts, self.emails, self.profiles, self.logins, *self.keys.values())


@dataclass(frozen=True)
class Trace:
    """What was removed from one place: how many things, what they are called, and how long it took."""

    where: str
    removed: int
    what: str
    seconds: float = 0.0


class Finder:
    """Finds names in texts, in upper and lower case alike, where they stand alone."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.lower().encode() for name in names if len(name) >= SHORTEST}
        whole = b"|".join(re.escape(name) for name in sorted(self._names)) if len(self._names) <= _FEW else b""
        self._few = re.compile(rb"(?<![0-9a-z])(?:" + whole + rb")(?![0-9a-z])") if whole else None

    def spans(self, text: bytes) -> list[tuple[int, int]]:
        """Where names stand: (first byte, byte after the last)."""
        text = text.lower()
        if self._few is not None:
            if not any(name in text for name in self._names):
                return []
            return [match.span() for match in self._few.finditer(text)]
        return sorted(set(self._tokens(text))) if self._names else []

    def _tokens(self, text: bytes) -> Iterator[tuple[int, int]]:
        for pattern in (_TOKEN, _PLAIN):
            for match in pattern.finditer(text):
                if match[0].strip(b".") in self._names:
                    yield match.span()

    def found(self, text: bytes) -> bool:
        return bool(self.spans(text))

    def blot(self, text: bytes) -> tuple[bytes, int]:
        """The text with asterisks in place of the names, and how many there were."""
        spans = self.spans(text)
        if not spans:
            return text, 0
        made = bytearray(text)
        for start, end in spans:
            made[start:end] = b"*" * (end - start)
        return bytes(made), len(spans)


def blot_file(path: Path, finder: Finder) -> int:
    """Write asterisks over the names in a file, in place; returns how many there were.

    In place, because a service may be writing on: its next line goes to the end, as before. The old bytes are gone.
    """
    count = 0
    with path.open("r+b", buffering=0) as file:
        place = 0
        while chunk := os.pread(file.fileno(), _CHUNK + _OVERLAP, place):
            for start, end in finder.spans(chunk):
                os.pwrite(file.fileno(), b"*" * (end - start), place + start)
                count += 1
            if len(chunk) < _CHUNK + _OVERLAP:
                break
            place += _CHUNK
        if count:
            os.fsync(file.fileno())
    return count
