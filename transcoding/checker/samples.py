"""Tracks and samples of fragmented MP4 (ISO/IEC 14496-12), read independently of what writes our packages."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from transcoding.boxes import boxes
from transcoding.checker import bitstream
from transcoding.checker.bitstream import VideoFacts
from transcoding.errors import TranscodingError

_VISUAL, _SOUND = 78, 28  # bytes of a sample entry before its child boxes
_NOT_SYNC = 0x0001_0000
_MOST_SAMPLES = 1_000_000
_ENTRIES = {"avc": ("avcC", bitstream.avc_facts), "hevc": ("hvcC", bitstream.hevc_facts)}


@dataclass(frozen=True)
class Protection:
    """Common Encryption of a track: scheme (cenc, cbcs, ...) and its encrypted:skipped pattern of 16-byte blocks."""

    scheme: str
    pattern: tuple[int, int]


@dataclass(frozen=True)
class Track:
    """One track of an initialisation segment. `codec`: RFC 6381. `ticks`: a second. `aac_type`: audio object type."""

    number: int
    handler: str  # vide, soun, text, subt, ...
    codec: str
    ticks: int
    width: int = 0
    height: int = 0
    channels: int = 0
    rate: int = 0
    aac_type: int = 0
    loudness: bool = False
    video: VideoFacts | None = None
    protection: Protection | None = None
    defaults: tuple[int, int, int] = (0, 0, 0)  # a sample's duration, size, flags


@dataclass(frozen=True)
class Timeline:
    """One track of a media segment. Times in seconds on the track's clock; `keys`: of its IDR pictures."""

    start: Fraction
    end: Fraction
    samples: int
    shortest: Fraction
    longest: Fraction
    gap: Fraction  # the largest jump between fragments
    first_sync: bool  # by the flags
    first_key: bool | None  # by the units of the sample
    keys: tuple[Fraction, ...]
    flagged: int  # samples that are flagged as sync samples
    messages: frozenset[int] = frozenset()  # SEI types of the first sample
    video: bool = False


def read_init(data: bytes) -> tuple[Track, ...]:
    """The tracks of an initialisation segment.

    Raises:
        TranscodingError: no `moov`, or boxes that do not fit.
    """
    moov = _child(data, "moov", 0, len(data))
    if moov is None:
        raise TranscodingError("no moov box")
    defaults: dict[int, tuple[int, int, int]] = {}
    for kind, first, last in boxes(data, *moov):
        if kind == "mvex":
            for inner, start, _ in boxes(data, first, last):
                if inner == "trex":
                    number, _, *rest = struct.unpack_from(">5I", data, start + 4)
                    defaults[number] = (rest[0], rest[1], rest[2])
    found = [_track(data, first, last) for kind, first, last in boxes(data, *moov) if kind == "trak"]
    return tuple(replace(track, defaults=defaults.get(track.number, (0, 0, 0))) for track in found)


def _child(data: bytes, name: str, start: int, end: int) -> tuple[int, int] | None:
    return next(((first, last) for kind, first, last in boxes(data, start, end) if kind == name), None)


def _path(data: bytes, path: str, at: tuple[int, int]) -> tuple[int, int]:
    for name in path.split("/"):
        inner = _child(data, name, *at)
        if inner is None:
            raise TranscodingError(f"no {name} box")
        at = inner
    return at


def _track(data: bytes, start: int, end: int) -> Track:
    at = (start, end)
    tkhd, mdhd = _path(data, "tkhd", at)[0], _path(data, "mdia/mdhd", at)[0]
    number = struct.unpack_from(">I", data, tkhd + (20 if data[tkhd] else 12))[0]
    ticks = struct.unpack_from(">I", data, mdhd + (20 if data[mdhd] else 12))[0]
    if not ticks:
        raise TranscodingError("a track without a clock")
    hdlr = _path(data, "mdia/hdlr", at)[0]
    handler = data[hdlr + 8 : hdlr + 12].decode("latin-1")
    table = _path(data, "mdia/minf/stbl/stsd", at)
    udta = _child(data, "udta", start, end)
    loud = udta is not None and _child(data, "ludt", *udta) is not None
    for kind, first, last in boxes(data, table[0] + 8, table[1]):
        return _entry(data, kind, first, last, Track(number, handler, kind, ticks, loudness=loud))
    raise TranscodingError("a track without a sample entry")


def _entry(data: bytes, kind: str, first: int, last: int, track: Track) -> Track:
    header = {"vide": _VISUAL, "soun": _SOUND}.get(track.handler, 0)
    inner = {name: data[a:b] for name, a, b in boxes(data, first + header, last)} if header else {}
    if "sinf" in inner:
        sinf = inner["sinf"]
        kind, track = _original(sinf) or kind, replace(track, protection=_protection(sinf))
    if track.handler == "vide":
        width, height = struct.unpack_from(">HH", data, first + 24)
        return _visual(kind, inner, replace(track, codec=kind, width=width, height=height))
    if track.handler == "soun":
        channels, _, _, _, rate = struct.unpack_from(">HHHHI", data, first + 16)
        return _sound(kind, inner, replace(track, codec=kind, channels=channels, rate=rate >> 16))
    return track


def _visual(kind: str, inner: dict[str, bytes], track: Track) -> Track:
    family = bitstream.family(kind)
    suffix, facts = "", VideoFacts()
    if family == "av1" and "av1C" in inner:
        suffix, facts = bitstream.av1_facts(inner["av1C"])
    elif family in _ENTRIES:
        name, read = _ENTRIES[family]
        if name not in inner:
            raise TranscodingError(f"sample entry {kind} without {name}")
        suffix, facts = read(inner[name])
    colour = inner.get("colr", b"")
    if colour[:4] == b"nclx" and len(colour) >= 10:
        primaries, transfer, matrix = struct.unpack_from(">3H", colour, 4)
        facts = replace(facts, primaries=primaries, transfer=transfer, matrix=matrix)
    if "mdcv" in inner or "clli" in inner:
        boxed = {kind for name, kind in (("mdcv", 137), ("clli", 144)) if name in inner}
        facts = replace(facts, sei=facts.sei | boxed)
    return replace(track, codec=f"{kind}.{suffix}" if suffix else kind, video=facts)


def _sound(kind: str, inner: dict[str, bytes], track: Track) -> Track:
    if kind != "mp4a":
        return track
    object_type, config = _descriptors(inner.get("esds", b"")[4:])
    if object_type != 0x40 or len(config) < 2:
        return replace(track, codec=f"mp4a.{object_type:x}")
    bits = bitstream.Bits(config)
    aac_type = bits.u(5)
    aac_type = 32 + bits.u(6) if aac_type == 31 else aac_type
    if bits.u(4) == 15:
        bits.u(24)
    channels = bits.u(4) or track.channels
    return replace(track, codec=f"mp4a.40.{aac_type}", aac_type=aac_type, channels=8 if channels == 7 else channels)


def _descriptors(data: bytes) -> tuple[int, bytes]:
    """Object type and decoder specific information of an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6)."""
    at, object_type = 0, 0
    while at + 2 <= len(data):
        tag, at, size = data[at], at + 1, 0
        while at < len(data):
            byte, at = data[at], at + 1
            size = size << 7 | byte & 127
            if not byte & 128:
                break
        if tag == 0x05:
            return object_type, data[at : at + size]
        if tag == 0x04 and at < len(data):
            object_type = data[at]
        at += {0x03: 3, 0x04: 13}.get(tag, size)
    return object_type, b""


def _original(sinf: bytes) -> str | None:
    frma = _child(sinf, "frma", 0, len(sinf))
    return sinf[frma[0] : frma[0] + 4].decode("latin-1") if frma else None


def _protection(sinf: bytes) -> Protection:
    schm, schi = _child(sinf, "schm", 0, len(sinf)), _child(sinf, "schi", 0, len(sinf))
    scheme = sinf[schm[0] + 4 : schm[0] + 8].decode("latin-1") if schm else ""
    tenc = _child(sinf, "tenc", *schi) if schi else None
    if tenc is None or tenc[1] - tenc[0] < 6 or not sinf[tenc[0]]:
        return Protection(scheme, (0, 0))
    pattern = sinf[tenc[0] + 5]
    return Protection(scheme, (pattern >> 4, pattern & 15))


@dataclass
class _Builder:
    track: Track
    start: int = 0
    at: int = 0
    samples: int = 0
    gap: int = 0
    shortest: int = 0
    longest: int = 0
    flagged: int = 0
    first_sync: bool = False
    first_key: bool | None = None
    keys: list[int] = field(default_factory=list)
    messages: frozenset[int] = frozenset()
    family: str = ""
    nal_length: int = 4

    def __post_init__(self) -> None:
        if self.track.video is not None:
            self.family, self.nal_length = bitstream.family(self.track.codec), self.track.video.nal_length

    def begin(self, at: int) -> None:
        if not self.samples:
            self.start = at
        else:
            self.gap = max(self.gap, abs(at - self.at))
        self.at = at

    def add(self, duration: int, flags: int, sample: memoryview) -> None:
        family, length = self.family, self.nal_length
        key = bitstream.key_picture(family, sample, length) if family else None
        sync = not flags & _NOT_SYNC
        if not self.samples:
            self.first_sync, self.first_key, self.shortest = sync, key, duration
            self.messages = frozenset(bitstream.hdr_messages(family, sample, length))
        if key:
            self.keys.append(self.at)
        self.flagged += sync
        self.shortest, self.longest = min(self.shortest, duration), max(self.longest, duration)
        self.samples, self.at = self.samples + 1, self.at + duration

    def done(self) -> Timeline:
        clock = self.track.ticks

        def seconds(ticks: int) -> Fraction:
            return Fraction(ticks, clock)

        return Timeline(
            seconds(self.start), seconds(self.at), self.samples, seconds(self.shortest), seconds(self.longest),
            seconds(self.gap), self.first_sync, self.first_key, tuple(seconds(key) for key in self.keys),
            self.flagged, self.messages, self.track.handler == "vide",
        )  # fmt: skip


def read_fragments(data: bytes, tracks: tuple[Track, ...]) -> tuple[list[Timeline], int]:
    """Timelines of the tracks of a media segment, the picture's first, and how many `moof` boxes it holds.

    Raises:
        TranscodingError: boxes or samples that do not fit, or no sample at all.
    """
    builders = {track.number: _Builder(track) for track in tracks}
    view, fragments = memoryview(data), 0
    before = 0
    for kind, first, last in boxes(data):
        if kind == "moof":
            fragments += 1
            for inner, start, end in boxes(data, first, last):
                if inner == "traf":
                    _fragment(data, view, before, (start, end), builders)
        before = last
    made = [builder.done() for builder in builders.values() if builder.samples]
    if fragments and not made:
        raise TranscodingError("fragments without a sample")
    return sorted(made, key=lambda timeline: not timeline.video), fragments


def _fragment(data: bytes, view: memoryview, moof: int, at: tuple[int, int], builders: dict[int, _Builder]) -> None:
    header = _path(data, "tfhd", at)[0]
    flags, number = struct.unpack_from(">II", data, header)
    builder = builders.get(number)
    if builder is None:
        raise TranscodingError(f"a fragment of track {number}, which the initialisation segment does not have")
    offset, base = header + 8, moof
    if flags & 0x1:
        base, offset = struct.unpack_from(">Q", data, offset)[0], offset + 8
    offset += 4 if flags & 0x2 else 0
    defaults = list(builder.track.defaults)
    for place, bit in enumerate((0x8, 0x10, 0x20)):
        if flags & bit:
            defaults[place], offset = struct.unpack_from(">I", data, offset)[0], offset + 4
    tfdt = _child(data, "tfdt", *at)
    if tfdt is None:
        raise TranscodingError("a fragment without a decode time (tfdt)")
    builder.begin(struct.unpack_from(">Q" if data[tfdt[0]] else ">I", data, tfdt[0] + 4)[0])
    place = base
    for kind, first, last in boxes(data, *at):
        if kind == "trun":
            place = _run(data, view, (first, last), base, place, defaults, builder)


def _run(
    data: bytes, view: memoryview, box: tuple[int, int], base: int, place: int, defaults: list[int], builder: _Builder
) -> int:
    flags, count = struct.unpack_from(">II", data, box[0])
    at = box[0] + 8
    if flags & 0x1:
        place, at = base + struct.unpack_from(">i", data, at)[0], at + 4
    first_flags = None
    if flags & 0x4:
        first_flags, at = struct.unpack_from(">I", data, at)[0], at + 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    if builder.samples + count > _MOST_SAMPLES or at + 4 * len(fields) * count > box[1]:
        raise TranscodingError(f"a track run claims {count} samples")
    for number, words in enumerate(_rows(data, at, len(fields), count)):
        told = dict(zip(fields, words, strict=True))
        size = told.get(0x200, defaults[1])
        sample_flags = told.get(0x400, defaults[2])
        if number == 0 and first_flags is not None:
            sample_flags = first_flags
        if place < 0 or place + size > len(view):
            raise TranscodingError(f"a sample of {size} bytes at {place} lies outside of its segment")
        builder.add(told.get(0x100, defaults[0]), sample_flags, view[place : place + size])
        place += size
    return place


def _rows(data: bytes, at: int, width: int, count: int) -> Iterator[tuple[Any, ...]]:
    if not width:
        return iter([()] * count)
    return struct.iter_unpack(f">{width}I", data[at : at + 4 * width * count])
