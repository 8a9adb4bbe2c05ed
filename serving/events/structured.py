"""Dictionaries of structured fields (RFC 9651), which is how a line of CMCD is written."""

import re
from dataclasses import dataclass, field

Bare = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Item:
    """A value with its parameters; tokens and byte sequences are text here, dates their Unix seconds."""

    value: Bare
    parameters: dict[str, Bare] = field(default_factory=dict)


Member = Item | list[Item]

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_SPACES = re.compile(r"[ \t]*")
_BARE = re.compile(
    r'"(?P<string>(?:[^"\\\x00-\x1f\x7f]|\\["\\])*)"'
    r"|(?P<decimal>-?\d{1,12}\.\d{1,3})(?!\d)"
    r"|@?(?P<integer>-?\d{1,15})(?![\d.])"
    r"|\?(?P<boolean>[01])"
    r"|:(?P<bytes>[A-Za-z0-9+/=]*):"
    r"|(?P<token>[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
)


def dictionary(text: str) -> dict[str, Member]:
    """The members by key; of a key that stands twice the later one counts.

    Text may hold letters beyond ASCII, which players do write.

    Raises:
        ValueError: it is no dictionary; the message says at which character.
    """
    return _Reader(text.strip(" ")).dictionary()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def dictionary(self) -> dict[str, Member]:
        members: dict[str, Member] = {}
        while self._at < len(self._text):
            key = self._match(_KEY, "a key")[0]
            members[key] = self._member() if self._next("=") else Item(True, self._parameters())
            self._match(_SPACES, "")
            if self._at == len(self._text):
                break
            self._expect(",")
            self._match(_SPACES, "")
            if self._at == len(self._text):
                raise self._wrong("another member after the comma")
        return members

    def _member(self) -> Member:
        if not self._next("("):
            return self._item()
        items: list[Item] = []
        while True:
            self._match(_SPACES, "")
            if self._next(")"):
                self._parameters()  # of the list as a whole: nothing of CMCD has them
                return items
            items.append(self._item())
            if self._text[self._at : self._at + 1] not in (" ", ")"):
                raise self._wrong("a space or `)`")

    def _item(self) -> Item:
        return Item(self._bare(), self._parameters())

    def _parameters(self) -> dict[str, Bare]:
        found: dict[str, Bare] = {}
        while self._next(";"):
            self._match(_SPACES, "")
            key = self._match(_KEY, "a key")[0]
            found[key] = self._bare() if self._next("=") else True
        return found

    def _bare(self) -> Bare:
        match = self._match(_BARE, "a value")
        kind, written = match.lastgroup, match[match.lastgroup or 0]
        match kind:
            case "string":
                return re.sub(r'\\(["\\])', r"\1", written)
            case "decimal":
                return float(written)
            case "integer":
                return int(written)
            case "boolean":
                return written == "1"
        return written

    def _match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._wrong(what)
        self._at = match.end()
        return match

    def _next(self, character: str) -> bool:
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def _expect(self, character: str) -> None:
        if not self._next(character):
            raise self._wrong(f"`{character}`")

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"{what} is expected at character {self._at + 1}: {self._text[self._at : self._at + 20]!r}")
