"""The few ISO BMFF boxes (ISO/IEC 14496-12, -14, -15) from which playlists are written."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from transcoding.errors import TranscodingError

_FULL = 4  # version and flags
_AVC1_HEADER = 78  # a visual sample entry before its child boxes
_MP4A_HEADER = 28  # an audio sample entry before its child boxes
_NOT_SYNC = 0x0001_0000  # of a sample's flags


@dataclass(frozen=True)
class Track:
    """What an initialisation segment says. `timescale`: ticks a second, `skipped`: ticks that are not presented."""

    timescale: int
    codec: str  # RFC 6381, such as avc1.64001f or mp4a.40.2
    width: int
    height: int
    skipped: int


@dataclass(frozen=True)
class Segment:
    """A media segment: ticks of its track's timescale, and whether it can be decoded without what came before."""

    name: str
    start: int
    duration: int
    samples: int
    size: int
    independent: bool


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Type, first and last+1 byte of the content of each box between two offsets.

    Raises:
        TranscodingError: a box does not fit into its surroundings.
    """
    end = len(data) if end is None else end
    while start < end:
        if end - start < 8:
            raise TranscodingError(f"{end - start} stray bytes at {start} are no box")
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            size, header = struct.unpack_from(">Q", data, start + 8)[0], 16
        if size < header or start + size > end:
            raise TranscodingError(f"box {kind!r} at byte {start} claims {size} bytes, there are {end - start}")
        yield kind.decode("latin-1"), start + header, start + size
        start += size


def find(data: bytes, path: str, start: int = 0, end: int | None = None) -> tuple[int, int]:
    """Where the content of the first box at `a/b/c` lies.

    Raises:
        TranscodingError: there is none.
    """
    for name in path.split("/"):
        for kind, first, last in boxes(data, start, end):
            if kind == name:
                start, end = first, last
                break
        else:
            raise TranscodingError(f"no box {path}")
    assert end is not None
    return start, end


def read_track(path: Path) -> Track:
    """The one track of an initialisation segment."""
    data = path.read_bytes()
    trak, trak_end = find(data, "moov/trak")
    mdhd, _ = find(data, "mdia/mdhd", trak, trak_end)
    timescale = struct.unpack_from(">I", data, mdhd + (20 if data[mdhd] == 1 else 12))[0]
    entries, entries_end = find(data, "mdia/minf/stbl/stsd", trak, trak_end)
    kind, first, last = next(boxes(data, entries + _FULL + 4, entries_end))
    width = height = 0
    if kind == "avc1":
        width, height = struct.unpack_from(">HH", data, first + 24)
        avcc, _ = find(data, "avcC", first + _AVC1_HEADER, last)
        codec = "avc1." + data[avcc + 1 : avcc + 4].hex()
    elif kind == "mp4a":
        esds, esds_end = find(data, "esds", first + _MP4A_HEADER, last)
        codec = _aac_codec(data[esds + _FULL : esds_end])
    else:
        raise TranscodingError(f"{path}: sample entry {kind!r} is not one of ours")
    return Track(timescale, codec, width, height, _skipped(data, trak, trak_end))


def _aac_codec(descriptors: bytes) -> str:
    """RFC 6381 name from an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6.5)."""
    at, object_type = 0, 0
    headers = {0x03: 3, 0x04: 13}  # what stands before the nested descriptors: of the stream, of the decoder
    while at < len(descriptors):
        tag, at = descriptors[at], at + 1
        while descriptors[at] & 0x80:
            at += 1
        at += 1
        if tag == 0x04:
            object_type = descriptors[at]
        if tag == 0x05:
            return f"mp4a.{object_type:x}.{descriptors[at] >> 3}"
        at += headers.get(tag, len(descriptors))
    raise TranscodingError("an audio track without a decoder configuration")


def _skipped(data: bytes, trak: int, trak_end: int) -> int:
    """Ticks before the presentation starts: the media time of a lone edit; the encoder's run-in lies there."""
    if not any(kind == "edts" for kind, _, _ in boxes(data, trak, trak_end)):
        return 0
    elst, _ = find(data, "edts/elst", trak, trak_end)
    if struct.unpack_from(">I", data, elst + _FULL)[0] != 1:
        raise TranscodingError("more than one edit in a track")
    at, form = (elst + 16, ">q") if data[elst] == 1 else (elst + 12, ">i")
    return struct.unpack_from(form, data, at)[0]


def read_segment(path: Path) -> Segment:
    """Time, length and start of a media segment, from all its fragments.

    Raises:
        TranscodingError: no fragment, or fragments that do not follow one another.
    """
    data = path.read_bytes()
    start: int | None = None
    duration = samples = 0
    independent = False
    for kind, first, last in boxes(data):
        if kind != "moof":
            continue
        traf, traf_end = find(data, "traf", first, last)
        tfdt, _ = find(data, "tfdt", traf, traf_end)
        begins = struct.unpack_from(">Q" if data[tfdt] == 1 else ">I", data, tfdt + _FULL)[0]
        ticks, count, sync = _run(data, traf, traf_end)
        if start is None:
            start, independent = begins, sync
        elif begins != start + duration:
            raise TranscodingError(f"{path}: a fragment starts at {begins}, the one before ends at {start + duration}")
        duration += ticks
        samples += count
    if start is None:
        raise TranscodingError(f"{path}: holds no fragment")
    return Segment(path.name, start, duration, samples, len(data), independent)


def _run(data: bytes, traf: int, traf_end: int) -> tuple[int, int, bool]:
    """Ticks, samples and whether the first one is a sync sample, over the track runs of a fragment."""
    tfhd, _ = find(data, "tfhd", traf, traf_end)
    flags = int.from_bytes(data[tfhd + 1 : tfhd + 4])
    at = tfhd + 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    default_ticks = struct.unpack_from(">I", data, at)[0] if flags & 0x8 else 0
    at += (4 if flags & 0x8 else 0) + (4 if flags & 0x10 else 0)
    default_flags = struct.unpack_from(">I", data, at)[0] if flags & 0x20 else 0
    ticks = samples = 0
    sync: bool | None = None
    for kind, first, _ in boxes(data, traf, traf_end):
        if kind != "trun":
            continue
        flags, count = int.from_bytes(data[first + 1 : first + 4]), struct.unpack_from(">I", data, first + 4)[0]
        at = first + 8 + (4 if flags & 0x1 else 0)
        first_flags = struct.unpack_from(">I", data, at)[0] if flags & 0x4 else None
        at += 4 if flags & 0x4 else 0
        width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        if first_flags is None and flags & 0x400:
            before = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200))
            first_flags = struct.unpack_from(">I", data, at + before)[0]
        if sync is None:
            sync = not (default_flags if first_flags is None else first_flags) & _NOT_SYNC
        durations = (struct.unpack_from(">I", data, at + n * width)[0] for n in range(count))
        ticks += sum(durations) if flags & 0x100 else default_ticks * count
        samples += count
    return ticks, samples, bool(sync)


def seconds(ticks: int, track: Track) -> Fraction:
    return Fraction(ticks, track.timescale)
