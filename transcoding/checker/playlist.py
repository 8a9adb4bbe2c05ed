"""Playlists as text (RFC 8216 and its second edition): a tolerant reader that notes what is wrong and goes on.

A checker wants to know what is absent or malformed, which a library that raises or fills in cannot tell; so this reader
keeps every attribute as written. That another parser (m3u8) can read the same text is a rule of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from transcoding.checker.bitstream import Codec, read_codec

# Nothing in it can match the same text in two ways: a hostile line costs no more than its length.
_ATTRIBUTE = re.compile(r'\s*([A-Z0-9-]+)=(?:"([^"]*)"|([^,"]*))(?:,|$)')
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Variant:
    """An EXT-X-STREAM-INF or, with `trick`, an EXT-X-I-FRAME-STREAM-INF; `uri` is resolved, `line` counted from 1."""

    uri: str
    attributes: Mapping[str, str]
    trick: bool
    line: int

    @property
    def bandwidth(self) -> int | None:
        return whole(self.attributes.get("BANDWIDTH"))

    @property
    def average(self) -> int | None:
        return whole(self.attributes.get("AVERAGE-BANDWIDTH"))

    @property
    def codecs(self) -> tuple[Codec, ...]:
        return tuple(read_codec(word) for word in self.attributes.get("CODECS", "").split(",") if word.strip())

    @property
    def resolution(self) -> tuple[int, int] | None:
        match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", self.attributes.get("RESOLUTION", ""))
        return (int(match[1]), int(match[2])) if match else None

    @property
    def frame_rate(self) -> Fraction | None:
        return decimal(self.attributes.get("FRAME-RATE"))

    @property
    def dynamic_range(self) -> str:
        return self.attributes.get("VIDEO-RANGE", "SDR")


@dataclass(frozen=True)
class Media:
    """An EXT-X-MEDIA tag; `uri` is resolved, None where the rendition lies in the variant itself."""

    uri: str | None
    attributes: Mapping[str, str]
    line: int

    @property
    def kind(self) -> str:
        return self.attributes.get("TYPE", "")

    @property
    def group(self) -> str:
        return self.attributes.get("GROUP-ID", "")

    @property
    def name(self) -> str:
        return self.attributes.get("NAME", "")

    @property
    def language(self) -> str | None:
        return self.attributes.get("LANGUAGE") or None

    @property
    def channels(self) -> int | None:
        return whole(self.attributes.get("CHANNELS", "").split("/")[0])

    @property
    def characteristics(self) -> set[str]:
        return set(self.attributes.get("CHARACTERISTICS", "").split(",")) - {""}


@dataclass(frozen=True)
class Entry:
    """One segment as listed. `span`: first byte and length of a sub-range. `key`: of EXT-X-KEY, None in the clear."""

    uri: str
    duration: Fraction
    span: tuple[int, int] | None
    discontinuity: bool
    init: tuple[str, tuple[int, int] | None] | None
    key: Mapping[str, str] | None
    sequence: int


@dataclass
class Listing:
    """What one playlist says. Both kinds in one type: text that nobody promised anything about may be either."""

    uri: str
    entries: list[Entry] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)  # the first of each, without #EXT
    keys: list[Mapping[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_master(self) -> bool:
        return bool(self.variants or self.media)

    @property
    def target(self) -> int | None:
        return whole(self.tags.get("X-TARGETDURATION"))

    @property
    def version(self) -> int:
        return whole(self.tags.get("X-VERSION")) or 1

    @property
    def kind(self) -> str | None:
        return self.tags.get("X-PLAYLIST-TYPE")

    @property
    def is_whole(self) -> bool:
        """Nothing will be added: on demand, or an event that is over."""
        return "X-ENDLIST" in self.tags

    @property
    def independent(self) -> bool:
        return "X-INDEPENDENT-SEGMENTS" in self.tags

    @property
    def duration(self) -> Fraction:
        return sum((entry.duration for entry in self.entries), Fraction(0))


def whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text) else None


def decimal(text: str | None) -> Fraction | None:
    return Fraction(text) if text and _NUMBER.fullmatch(text) else None


def read_attributes(text: str) -> tuple[dict[str, str], bool]:
    """An attribute list, and whether all of it could be understood and nothing stands twice."""
    found: dict[str, str] = {}
    at, clean = 0, True
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        if match is None:
            return found, False
        clean &= match[1] not in found
        found[match[1]] = match[2] if match[2] is not None else match[3].strip()
        at = match.end()
    return found, clean


class _Reader:
    """The state between the lines of a playlist."""

    def __init__(self, uri: str) -> None:
        self.out = Listing(uri)
        self.variant: tuple[dict[str, str], int] | None = None
        self.duration: Fraction | None = None
        self.span: tuple[int | None, int] | None = None
        self.ends: dict[str, int] = {}
        self.discontinuity = False
        self.init: tuple[str, tuple[int, int] | None] | None = None
        self.key: Mapping[str, str] | None = None

    def fault(self, line: int, words: str) -> None:
        if len(self.out.faults) < 20:
            self.out.faults.append(f"line {line}: {words}")

    def tag(self, number: int, name: str, value: str) -> None:
        self.out.tags.setdefault(name, value)
        handle = _HANDLERS.get(name)
        if handle is not None:
            handle(self, number, value)

    def attributes(self, number: int, text: str) -> dict[str, str]:
        found, clean = read_attributes(text)
        if not clean:
            self.fault(number, f"attributes cannot be understood: {text[:80]!r}")
        return found

    def stream(self, number: int, value: str) -> None:
        self.variant = (self.attributes(number, value), number)
        if whole(self.variant[0].get("BANDWIDTH")) is None:
            self.fault(number, "EXT-X-STREAM-INF without a BANDWIDTH")

    def trick(self, number: int, value: str) -> None:
        found = self.attributes(number, value)
        if whole(found.get("BANDWIDTH")) is None:
            self.fault(number, "EXT-X-I-FRAME-STREAM-INF without a BANDWIDTH")
        if "URI" not in found:
            self.fault(number, "EXT-X-I-FRAME-STREAM-INF without a URI")
            return
        self.out.variants.append(Variant(found["URI"], found, trick=True, line=number))

    def rendition(self, number: int, value: str) -> None:
        found = self.attributes(number, value)
        missing = [name for name in ("TYPE", "GROUP-ID", "NAME") if name not in found]
        if missing:
            self.fault(number, f"EXT-X-MEDIA without {', '.join(missing)}")
        self.out.media.append(Media(found.get("URI"), found, number))

    def extinf(self, number: int, value: str) -> None:
        self.duration = decimal(value.partition(",")[0].strip())
        if self.duration is None:
            self.fault(number, f"EXTINF {value[:40]!r} is no duration")
            self.duration = Fraction(0)

    def byterange(self, number: int, value: str) -> None:
        length, _, start = value.partition("@")
        if whole(length) is None or (start and whole(start) is None):
            self.fault(number, f"EXT-X-BYTERANGE {value[:40]!r} is no range")
            return
        self.span = (whole(start), whole(length) or 0)

    def map(self, number: int, value: str) -> None:
        found = self.attributes(number, value)
        if "URI" not in found:
            self.fault(number, "EXT-X-MAP without a URI")
            return
        length, _, start = found.get("BYTERANGE", "").partition("@")
        span = (whole(start) or 0, whole(length) or 0) if length else None
        self.init = (found["URI"], span)

    def encryption(self, number: int, value: str) -> None:
        found = self.attributes(number, value)
        if found.get("METHOD") not in ("NONE", "AES-128", "SAMPLE-AES", "SAMPLE-AES-CTR"):
            self.fault(number, f"EXT-X-KEY with the unknown METHOD {found.get('METHOD')!r}")
        elif found["METHOD"] != "NONE" and "URI" not in found:
            self.fault(number, "EXT-X-KEY without a URI")
        self.key = None if found.get("METHOD") == "NONE" else found
        self.out.keys.append(found)

    def break_(self, number: int, value: str) -> None:  # noqa: ARG002 - one signature for all tags
        self.discontinuity = True

    def uri(self, number: int, uri: str) -> None:
        if self.variant is not None:
            self.out.variants.append(Variant(uri, self.variant[0], trick=False, line=self.variant[1]))
            self.variant = None
            return
        if self.duration is None:
            self.fault(number, f"{uri[:60]!r} without an EXTINF")
        span = None
        if self.span is not None:
            start = self.ends.get(uri, 0) if self.span[0] is None else self.span[0]
            span = (start, self.span[1])
            self.ends[uri] = start + self.span[1]
        sequence = (whole(self.out.tags.get("X-MEDIA-SEQUENCE")) or 0) + len(self.out.entries)
        duration = self.duration or Fraction(0)
        self.out.entries.append(Entry(uri, duration, span, self.discontinuity, self.init, self.key, sequence))
        self.duration, self.span, self.discontinuity = None, None, False


_HANDLERS = {
    "X-STREAM-INF": _Reader.stream, "X-I-FRAME-STREAM-INF": _Reader.trick, "X-MEDIA": _Reader.rendition,
    "INF": _Reader.extinf, "X-BYTERANGE": _Reader.byterange, "X-MAP": _Reader.map, "X-KEY": _Reader.encryption,
    "X-DISCONTINUITY": _Reader.break_,
}  # fmt: skip


def read_playlist(uri: str, data: bytes) -> Listing:
    """A playlist; never raises: what is wrong stands in `faults`. URIs stay as they are written."""
    reader = _Reader(uri)
    text = data.decode("utf-8", errors="replace")
    if "\ufffd" in text or text.startswith("\ufeff"):
        reader.fault(1, "is not UTF-8 without a byte order mark")
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].strip() != "#EXTM3U":
        reader.fault(1, "does not begin with #EXTM3U")
    for number, line in enumerate(lines, 1):
        line = line.strip()  # noqa: PLW2901 - the same line
        if line.startswith("#EXT"):
            name, _, value = line[4:].partition(":")
            reader.tag(number, name.removeprefix("-"), value)
        elif line and not line.startswith("#"):
            reader.uri(number, line)
    if reader.variant is not None:
        reader.fault(reader.variant[1], "EXT-X-STREAM-INF without a URI behind it")
    listing = reader.out
    if not listing.is_master:
        if listing.target is None:
            reader.fault(1, "has no EXT-X-TARGETDURATION")
        if not listing.entries:
            reader.fault(1, "lists no segment")
    elif listing.entries or listing.target is not None:
        reader.fault(1, "mixes a multivariant and a media playlist")
    return listing
