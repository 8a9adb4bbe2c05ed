"""What the encoder must know of a master, read from the file itself."""

import struct
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from matinee import film
from matinee.confined import ExceededError
from matinee.film import PICTURE_SUBTITLES, Film, FilmError, Stream
from matinee.languages import language_tag
from matinee.timing import frame_rate, seek_margin
from transcoding.errors import TranscodingError, TransientError

Transfer = Literal["sdr", "pq", "hlg"]

# As numbered by ITU-T H.273, in ffmpeg's words. What is not here says nothing that an encoder could be told.
_TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}  # SMPTE ST 2084 and ARIB STD-B67
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c",
}  # fmt: skip
_RANGES = {1: "tv", 2: "pc"}


@dataclass(frozen=True)
class AudioTrack:
    index: int  # of the stream within the file
    language: str  # BCP 47, 'und' where the file says nothing usable
    channels: int
    codec: str = "unknown"
    layout: str = "unknown"  # of the channels, as ffmpeg writes it: 'stereo', '5.1(side)'


@dataclass(frozen=True)
class SubtitleTrack:
    index: int  # of the stream within the file
    language: str  # as of an audio track
    codec: str
    is_text: bool  # otherwise pictures of text
    forced: bool  # only what a viewer of the spoken language needs, too


@dataclass(frozen=True)
class Source:
    """A readable master. Sizes are pixels as coded; `sample_aspect` and `rotation` make them what a viewer sees.

    `frame_rate` is the natural rate (frames/s). `offset` and `duration` are seconds: how much later than the first
    sound the picture starts, and how long it lasts. `steady` says that the frames are evenly spaced. `primaries`,
    `matrix` and `range` are ffmpeg's words, none where the film says nothing; `mastering_display` and `max_cll` are as
    x265 takes them (chromaticities in 1/50000, luminance in 1/10000 cd/m2; CTA-861.3 light levels in cd/m2).
    Seeking `seek_margin` seconds before a point of a `seekable` film yields every frame on screen at and after it.
    """

    path: Path
    container: str
    video_index: int
    width: int
    height: int
    sample_aspect: Fraction
    rotation: int
    frame_rate: Fraction
    steady: bool
    frames: int
    offset: Fraction
    duration: Fraction
    interlaced: bool
    hdr: bool
    audio: tuple[AudioTrack, ...]
    transfer: Transfer = "sdr"
    bit_depth: int = 8
    primaries: str | None = None
    matrix: str | None = None
    range: str | None = None
    mastering_display: str | None = None
    max_cll: str | None = None
    subtitles: tuple[SubtitleTrack, ...] = ()
    seekable: bool = False
    seek_margin: Fraction = Fraction(0)
    origin: Fraction = Fraction(0)  # seconds: the time stamp at which the film begins, its zero

    def as_json(self) -> dict[str, Any]:
        """As `from_json` takes it: paths and fractions are text."""
        fields = asdict(self)
        return {k: str(v) if isinstance(v, (Path, Fraction)) else v for k, v in fields.items()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Source":
        fractions = ("sample_aspect", "frame_rate", "offset", "duration", "seek_margin", "origin")
        typed: dict[str, Any] = {name: Fraction(fields[name]) for name in fractions if name in fields} | {
            "path": Path(fields["path"]),
            "audio": tuple(AudioTrack(**track) for track in fields["audio"]),
            "subtitles": tuple(SubtitleTrack(**track) for track in fields.get("subtitles", ())),
        }
        return cls(**{**fields, **typed})


def read_source(path: Path) -> Source:
    """Look into a master, in a child process that can open this file alone.

    Raises:
        TranscodingError: nothing in the file can be shown, or looking takes too much; one line says why.
        TransientError: the file cannot be read now.
    """
    try:
        return Source.from_json(film.confined("transcoding.source:look", path))
    except (FilmError, ExceededError) as error:
        raise TranscodingError(f"{path.name}: {error}") from None
    except OSError as error:
        raise TransientError(f"{path}: {error.strerror or error}") from error


def look(path: str) -> dict[str, Any]:
    """The source as JSON.

    Raises:
        FilmError: nothing in the file can be shown.
        OSError: it cannot be read.
    """
    from av.error import FFmpegError

    try:
        return source(Path(path), film.examine(Path(path))).as_json()
    except MemoryError:
        raise  # FFmpeg's is one of both
    except FFmpegError as error:
        raise FilmError(error.strerror or str(error)) from None


def source(path: Path, found: Film) -> Source:
    """What matters to an encoder of what was found in a film."""
    times, picture = found.times, found.picture
    rate, steady = frame_rate(times, found.base, found.average_rate)
    first = times[0] * found.base
    transfer = _TRANSFERS.get(picture.transfer, "sdr")
    return Source(
        path=path.absolute(),  # ffmpeg runs in another folder
        container=found.container,
        video_index=found.main,
        width=picture.width,
        height=picture.height,
        sample_aspect=found.sample_aspect,
        rotation=picture.rotation,
        frame_rate=rate,
        steady=steady,
        frames=len(times),
        offset=max(Fraction(0), first - found.origin),
        duration=(times[-1] - times[0]) * found.base + 1 / rate,
        interlaced=picture.interlaced,
        hdr=transfer != "sdr",
        audio=tuple(_audio(stream) for stream in found.streams if stream.kind == "audio" and stream.channels),
        transfer=transfer,
        bit_depth=picture.bit_depth,
        primaries=_PRIMARIES.get(picture.primaries),
        matrix=_MATRICES.get(picture.matrix),
        range=_RANGES.get(picture.range),
        mastering_display=mastering_display(picture.notes.get("MASTERING_DISPLAY_METADATA", b"")),
        max_cll=max_cll(picture.notes.get("CONTENT_LIGHT_LEVEL", b"")),
        subtitles=tuple(_subtitle(stream) for stream in found.streams if stream.kind == "subtitle" and stream.codec),
        seekable=found.seekable,
        seek_margin=seek_margin(found.packets) * found.base,
        origin=found.origin,
    )


def _audio(stream: Stream) -> AudioTrack:
    return AudioTrack(
        stream.index,
        language_tag(stream.language),
        stream.channels or 0,
        stream.codec or "unknown",
        stream.layout or "unknown",
    )


def _subtitle(stream: Stream) -> SubtitleTrack:
    codec = stream.codec or "unknown"
    return SubtitleTrack(
        stream.index, language_tag(stream.language), codec, codec not in PICTURE_SUBTITLES, stream.forced
    )


def mastering_display(data: bytes) -> str | None:
    """SMPTE ST 2086 for x265 from FFmpeg's `AVMasteringDisplayMetadata`: ten fractions and two flags; else none."""
    if len(data) < struct.calcsize("22i"):
        return None
    *numbers, has_primaries, has_luminance = struct.unpack_from("22i", data)
    if not (has_primaries and has_luminance) or 0 in numbers[1::2]:
        return None
    values = [Fraction(number, base) for number, base in zip(numbers[::2], numbers[1::2], strict=True)]
    red, green, blue, white = (
        ",".join(str(round(value * 50_000)) for value in values[start : start + 2]) for start in (0, 2, 4, 6)
    )
    darkest, brightest = (round(value * 10_000) for value in values[8:])
    return f"G({green})B({blue})R({red})WP({white})L({brightest},{darkest})"


def max_cll(data: bytes) -> str | None:
    """`MaxCLL,MaxFALL` from FFmpeg's `AVContentLightMetadata`; none where it says nothing."""
    if len(data) < struct.calcsize("2I"):
        return None
    content, average = struct.unpack_from("2I", data)
    return f"{content},{average}" if content else None
