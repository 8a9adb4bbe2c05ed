"""What is inside a film file, and whether a film can be made of it: the facts as they are stored.

The look itself is `matinee.film`; here are the reasons for which a file is refused.
"""

import codecs
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ingest.errors import IngestError
from matinee import film
from matinee.film import Film, FilmError
from matinee.timing import frame_rate

LONGEST_S = 12 * 3600  # every packet's time is held in memory
LARGEST_BYTES = 200 * 10**9
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273, TransferCharacteristics


class RefusedError(IngestError):
    """This file cannot become a film; the message is the reason, in one line."""


@dataclass(frozen=True)
class Stream:
    """One stream; `start_ms` and `end_ms` of its first and last packet, on the clock of the file."""

    index: int
    kind: str
    codec: str | None
    language: str | None
    channels: int | None = None
    sample_rate: int | None = None
    width: int | None = None
    height: int | None = None
    layout: str | None = None
    forced: bool = False
    cover: bool = False
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class Probe:
    """What a film file is.

    `width` and `height` are as coded, before `rotation` (degrees, counter-clockwise) and `sar`. `fps` is the average,
    `frame_rate` the natural rate as a fraction; `vfr` says that frames are not evenly spaced. `chroma` is 4:2:0 or
    another sampling. `channels` and `languages` are of the audio streams.
    """

    container: str
    duration_ms: int
    video_index: int
    width: int
    height: int
    fps: float
    frame_rate: str
    vfr: bool
    rotation: int
    sar: str
    pix_fmt: str
    chroma: str
    bit_depth: int
    interlaced: bool
    hdr: str | None
    has_audio: bool
    channels: tuple[int, ...]
    languages: tuple[str, ...]
    streams: tuple[Stream, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Probe":
        lists = {name: tuple(fields[name]) for name in ("channels", "languages")}
        return cls(**{**fields, **lists, "streams": tuple(Stream(**stream) for stream in fields["streams"])})


def probe(path: Path) -> Probe:
    """Look into a file, in this process: `ingest.judge` calls it in one that is closed off.

    Raises:
        RefusedError: it is empty, text, not a film, cut short, too large or too long, or its video cannot be decoded.
        MemoryError: it takes more memory than there is.
        OSError: it cannot be read.
    """
    from av.error import FFmpegError

    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise RefusedError("empty: the file has no content")
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise RefusedError(f"too large: {size / 1e9:,.0f} GB, {LARGEST_BYTES / 1e9:,.0f} GB are the most that is taken")
    try:
        found = film.examine(path)
    except MemoryError:
        raise
    except (FFmpegError, ValueError) as error:
        raise RefusedError(_why_not_media(path, head)) from error
    except FilmError as error:
        raise RefusedError(str(error)) from error
    _check_length(found)
    return _describe(found)


def _extent(found: Film) -> tuple[Fraction, Fraction]:
    main = next(stream for stream in found.streams if stream.index == found.main)
    assert main.start is not None  # a film has packets
    assert main.end is not None
    return main.start, main.end


def _uneven(times: Sequence[int]) -> bool:
    """Whether more than one in fifty frame intervals is over half longer than the usual one."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if not gaps:
        return False
    usual = median(gaps)
    return sum(gap > usual * 1.5 for gap in gaps) > len(gaps) / 50


def _check_length(found: Film) -> None:
    start, end = _extent(found)
    length = end - start
    if length > LONGEST_S:
        raise RefusedError(f"too long: {float(length) / 3600:.0f} h, {LONGEST_S // 3600} h are the most that is taken")
    stated, there = found.lengths or (length, length)
    if stated - there > max(1, stated * Fraction(2, 100)):
        raise RefusedError(f"cut short: {float(there):.1f} s are there of {float(stated):.1f} s")


def _describe(found: Film) -> Probe:
    start, end = _extent(found)
    picture = found.picture
    times = found.times
    streams = tuple(_stream(stream) for stream in found.streams)
    audio = [stream for stream in streams if stream.kind == "audio" and stream.codec]
    average = found.average_rate or (len(found.packets) / (end - start) if end > start else Fraction(0))
    return Probe(
        container=found.container,
        duration_ms=round((end - start) * 1000),
        video_index=found.main,
        width=picture.width,
        height=picture.height,
        fps=round(float(average), 3),
        frame_rate=str(frame_rate(times, found.base, found.average_rate)[0]),
        vfr=_uneven(times),
        rotation=picture.rotation,
        sar=f"{found.sample_aspect.numerator}:{found.sample_aspect.denominator}",
        pix_fmt=picture.pix_fmt,
        chroma=picture.chroma,
        bit_depth=picture.bit_depth,
        interlaced=picture.interlaced,
        hdr=_HDR_TRANSFERS.get(picture.transfer),
        has_audio=bool(audio),
        channels=tuple(stream.channels or 0 for stream in audio),
        languages=tuple(stream.language or "und" for stream in audio),
        streams=streams,
    )


def _stream(stream: film.Stream) -> Stream:
    return Stream(
        index=stream.index,
        kind=stream.kind,
        codec=stream.codec,
        language=stream.language,
        channels=stream.channels,
        sample_rate=stream.sample_rate,
        width=stream.width,
        height=stream.height,
        layout=stream.layout,
        forced=stream.forced,
        cover=stream.cover,
        start_ms=None if stream.start is None else round(stream.start * 1000),
        end_ms=None if stream.end is None else round(stream.end * 1000),
    )


def _why_not_media(path: Path, head: bytes) -> str:
    if _is_text(head):
        return "a text file, not a film"
    if head[4:8] == b"ftyp" and not _has_box(path, b"moov"):
        return "cut short: an MP4 without its index (moov), as a broken upload or an unfinished recording leaves it"
    return "not a film in a container that is known here"


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # forgives a character cut at the end
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t\f\ufeff" for character in text)


def _has_box(path: Path, name: bytes) -> bool:
    """Whether an ISO base media file (ISO/IEC 14496-12) has this box at its top level."""
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= size_of_file:
            file.seek(place)
            header = file.read(16)
            if header[4:8] == name:
                return True
            size = int.from_bytes(header[:4], "big")
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size < 8:
                return False
            place += size
    return False
