"""The few ISO BMFF boxes (ISO/IEC 14496-12, -14, -15) from which playlists are written."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from transcoding.codecs import aac_name, av1_name, avc_name, hevc_has_hdr10, hevc_name
from transcoding.errors import TranscodingError

Buffer = bytes | mmap
_FULL = 4  # version and flags
_VISUAL_HEADER = 78  # a visual sample entry before its child boxes
_SOUND_HEADER = 28  # an audio sample entry before its child boxes
_NOT_SYNC = 0x0001_0000  # of a sample's flags
_RANGES = {16: "PQ", 18: "HLG"}  # transfer characteristics, as numbered by ITU-T H.273
_UNSPECIFIED = 2


@dataclass(frozen=True)
class Track:
    """What an initialisation segment says. `timescale`: ticks a second, `skipped`: ticks that are not presented.

    `colour`: primaries, transfer and matrix, as numbered by ITU-T H.273, and whether the range is full; None where the
    file is silent. `mastering_display` and `light_level` say that HDR10's static metadata is there.
    """

    timescale: int
    codec: str  # RFC 6381, such as avc1.64001f or mp4a.40.2
    width: int
    height: int
    skipped: int
    channels: int = 0
    colour: tuple[int, int, int, bool] | None = None
    mastering_display: bool = False
    light_level: bool = False

    @property
    def video_range(self) -> str:
        """SDR, PQ or HLG, as the VIDEO-RANGE of a playlist."""
        return _RANGES.get(self.colour[1], "SDR") if self.colour else "SDR"


@dataclass(frozen=True)
class Segment:
    """A media segment: ticks of its track's timescale, and whether it can be decoded without what came before."""

    name: str
    start: int
    duration: int
    samples: int
    size: int
    independent: bool
    fragments: int = 1


def boxes(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
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


def find(data: Buffer, path: str, start: int = 0, end: int | None = None) -> tuple[int, int]:
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
    """The one track of an initialisation segment.

    Raises:
        TranscodingError: it is none, or its sample entry is of an unknown kind.
    """
    data = path.read_bytes()
    trak, trak_end = find(data, "moov/trak")
    mdhd, _ = find(data, "mdia/mdhd", trak, trak_end)
    timescale = struct.unpack_from(">I", data, mdhd + (20 if data[mdhd] == 1 else 12))[0]
    entries, entries_end = find(data, "mdia/minf/stbl/stsd", trak, trak_end)
    kind, first, last = next(boxes(data, entries + _FULL + 4, entries_end))
    skipped = _skipped(data, trak, trak_end)
    if kind in ("avc1", "avc3", "hvc1", "hev1", "av01"):
        width, height = struct.unpack_from(">HH", data, first + 24)
        return Track(timescale, width=width, height=height, skipped=skipped, **_picture(data, kind, first, last))
    if kind == "mp4a":
        esds, esds_end = find(data, "esds", first + _SOUND_HEADER, last)
        codec, channels = aac_name(data[esds + _FULL : esds_end])
    elif kind in ("ac-3", "ec-3"):
        codec, channels = kind, 0
    else:
        raise TranscodingError(f"{path}: sample entry {kind!r} is not one of ours")
    channels = channels or struct.unpack_from(">H", data, first + 16)[0]
    return Track(timescale, codec, 0, 0, skipped, channels)


def _picture(data: bytes, kind: str, first: int, last: int) -> dict[str, Any]:
    """Codec name, colour and HDR10's static metadata of a visual sample entry."""
    inside = {name: data[start:end] for name, start, end in boxes(data, first + _VISUAL_HEADER, last)}
    facts: dict[str, Any] = {"colour": _colour(inside.get("colr", b""))}
    config = {"avc1": "avcC", "avc3": "avcC", "hvc1": "hvcC", "hev1": "hvcC", "av01": "av1C"}[kind]
    if config not in inside:
        raise TranscodingError(f"a {kind} track without {config}")
    record = inside[config]
    mastering, light = (kind in ("hvc1", "hev1") and hevc_has_hdr10(record)) or (False, False)
    if config == "avcC":
        codec = avc_name(kind, record)
    elif config == "hvcC":
        codec = hevc_name(kind, record)
    else:
        # Unspecified colours are shown as BT.709, which is what the short name stands for.
        codec = av1_name(record, _or_usual(facts["colour"]))
    facts |= {"mastering_display": mastering or "mdcv" in inside, "light_level": light or "clli" in inside}
    return facts | {"codec": codec}


def _colour(colr: bytes) -> tuple[int, int, int, bool] | None:
    """Of a colr box of type nclx (ISO/IEC 14496-12, 12.1.5)."""
    if colr[:4] != b"nclx":
        return None
    primaries, transfer, matrix = struct.unpack_from(">HHH", colr, 4)
    return primaries, transfer, matrix, bool(colr[10] & 0x80)


def _or_usual(colour: tuple[int, int, int, bool] | None) -> tuple[int, int, int, bool]:
    primaries, transfer, matrix, full = colour or (_UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED, False)
    usual = [1 if value == _UNSPECIFIED else value for value in (primaries, transfer, matrix)]
    return usual[0], usual[1], usual[2], full


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
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise TranscodingError(f"{path}: is empty")
        # Mapped, so that of megabytes of pictures only the boxes around them are read from the disk.
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _segment(path, data)


def _segment(path: Path, data: Buffer) -> Segment:
    start: int | None = None
    duration = samples = fragments = 0
    independent = False
    for traf, traf_end in _fragments(data):
        begins = _decode_time(data, traf, traf_end)
        run = _run(data, traf, traf_end)
        if start is None:
            start, independent = begins, run.sync
        elif begins != start + duration:
            raise TranscodingError(f"{path}: a fragment starts at {begins}, the one before ends at {start + duration}")
        duration += sum(run.durations)
        samples += len(run.durations)
        fragments += 1
    if start is None:
        raise TranscodingError(f"{path}: holds no fragment")
    return Segment(path.name, start, duration, samples, len(data), independent, fragments)


def sample_durations(data: Buffer) -> list[int]:
    """Ticks of every sample of a media segment, in decoding order."""
    return [ticks for traf, end in _fragments(data) for ticks in _run(data, traf, end).durations]


def patch_segment(data: bytes, offset: int, sequence_number: int) -> bytes:
    """The same media segment `offset` ticks later, its fragments numbered from `sequence_number`.

    Only the decode times (tfdt) and the numbers (mfhd) change; no sample is touched.

    Raises:
        TranscodingError: a time does not fit into its box, or the segment has an index that would become wrong.
    """
    patched = bytearray(data)
    for kind, first, last in boxes(data):
        if kind == "sidx":
            raise TranscodingError("a segment with an index (sidx) cannot be moved in time")
        if kind != "moof":
            continue
        mfhd, _ = find(data, "mfhd", first, last)
        struct.pack_into(">I", patched, mfhd + _FULL, sequence_number)
        sequence_number += 1
        tfdt, _ = find(data, "traf/tfdt", first, last)
        form, bits = (">Q", 64) if data[tfdt] == 1 else (">I", 32)
        time = struct.unpack_from(form, data, tfdt + _FULL)[0] + offset
        if not 0 <= time < 1 << bits:
            raise TranscodingError(f"the decode time {time} does not fit into {bits} bits")
        struct.pack_into(form, patched, tfdt + _FULL, time)
    return bytes(patched)


def _fragments(data: Buffer) -> Iterator[tuple[int, int]]:
    """Where the track fragment of each movie fragment lies."""
    for kind, first, last in boxes(data):
        if kind == "moof":
            yield find(data, "traf", first, last)


def _decode_time(data: Buffer, traf: int, traf_end: int) -> int:
    tfdt, _ = find(data, "tfdt", traf, traf_end)
    return struct.unpack_from(">Q" if data[tfdt] == 1 else ">I", data, tfdt + _FULL)[0]


@dataclass(frozen=True)
class _Run:
    durations: list[int]
    sync: bool


def _run(data: Buffer, traf: int, traf_end: int) -> _Run:
    """The samples' ticks over the track runs of a fragment, and whether the first one is a sync sample."""
    tfhd, _ = find(data, "tfhd", traf, traf_end)
    flags = int.from_bytes(data[tfhd + 1 : tfhd + 4])
    at = tfhd + 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    default_ticks = struct.unpack_from(">I", data, at)[0] if flags & 0x8 else 0
    at += (4 if flags & 0x8 else 0) + (4 if flags & 0x10 else 0)
    default_flags = struct.unpack_from(">I", data, at)[0] if flags & 0x20 else 0
    durations: list[int] = []
    sync: bool | None = None
    for kind, first, last in boxes(data, traf, traf_end):
        if kind != "trun":
            continue
        flags, count = int.from_bytes(data[first + 1 : first + 4]), struct.unpack_from(">I", data, first + 4)[0]
        at = first + 8 + (4 if flags & 0x1 else 0)
        first_flags = struct.unpack_from(">I", data, at)[0] if flags & 0x4 else None
        at += 4 if flags & 0x4 else 0
        width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        if at + count * width > last:
            raise TranscodingError(f"a track run claims {count} samples, more than fit into it")
        if first_flags is None and flags & 0x400:
            before = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200))
            first_flags = struct.unpack_from(">I", data, at + before)[0]
        if sync is None:
            sync = not (default_flags if first_flags is None else first_flags) & _NOT_SYNC
        if flags & 0x100:
            durations += (struct.unpack_from(">I", data, at + n * width)[0] for n in range(count))
        else:
            durations += [default_ticks] * count
    return _Run(durations, bool(sync))


def seconds(ticks: int, track: Track) -> Fraction:
    return Fraction(ticks, track.timescale)
