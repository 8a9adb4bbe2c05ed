"""What the encoder must know of a master, read from the file itself."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from matinee.languages import language_tag
from transcoding.errors import TranscodingError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

Transfer = Literal["sdr", "pq", "hlg"]

# Demuxers that read one plain file. Playlists and scripts that name other files (hls, dash, concat) are not here.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "mpeg", "mpegts", "mpegvideo", "avi", "flv", "asf", "ogg", "mxf", "dv", "ivf",
    "h264", "hevc", "av1", "obu", "nut", "gxf", "rm", "yuv4mpegpipe",
)  # fmt: skip
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
_PICTURE_SUBTITLES = frozenset({"dvbsub", "dvdsub", "pgssub", "xsub", "dvb_subtitle", "dvd_subtitle"})
# Their index leads to a key frame at or before any time, and every frame has its own presentation time.
_EXACT_SEEKING = ("mov", "matroska")
_LOOKED_AT = 8  # decoded frames: rotation, interlacing and transfer stand in the frames, not in the header


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


@dataclass(frozen=True)
class _Timing:
    frame_rate: Fraction
    steady: bool
    frames: int
    first: Fraction
    duration: Fraction
    seek_margin: Fraction


def read_source(path: Path) -> Source:
    """Look into a master: headers, the first frames, and the time stamp of every packet of its picture.

    Raises:
        TranscodingError: nothing in the file can be shown; one line says why.
    """
    from av.error import FFmpegError

    try:
        with _open(path) as container:
            video = _main_video(container, path)
            frames = _first_frames(container, video)
            if not frames:
                raise TranscodingError(f"{path.name}: no picture can be decoded")
            first = frames[0]
            facts: dict[str, Any] = {
                "container": container.format.name,
                "video_index": video.index,
                "width": first.width,
                "height": first.height,
                "sample_aspect": video.sample_aspect_ratio or Fraction(1),
                "rotation": int(first.rotation) % 360,
                "interlaced": sum(frame.interlaced_frame for frame in frames) * 2 > len(frames),
                "audio": _audio(container),
                "subtitles": _subtitles(container),
                **_colour(first),
            }
            origin = Fraction(container.start_time or 0, 1_000_000)
        with _open(path) as container:
            timing = _timing(container, int(facts["video_index"]), path)
        with _open(path) as container:
            seekable = _seeks(container, int(facts["video_index"]), timing)
    except FFmpegError as error:
        raise TranscodingError(f"{path.name}: {error.strerror or error}") from None
    return Source(
        path=path.absolute(),  # ffmpeg runs in another folder
        frame_rate=timing.frame_rate,
        steady=timing.steady,
        frames=timing.frames,
        offset=max(Fraction(0), timing.first - origin),
        origin=origin,
        duration=timing.duration,
        seekable=seekable,
        seek_margin=timing.seek_margin,
        **facts,
    )


def _open(path: Path) -> "InputContainer":
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    return av.open(f"file:{path}", mode="r", metadata_errors="ignore", options=options)


def _main_video(container: "InputContainer", path: Path) -> "av.VideoStream":
    """The largest picture that is not a cover image; of equals the first."""
    import av.stream

    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise TranscodingError(f"{path.name}: has no video stream")
    return max(streams, key=lambda stream: (stream.codec_context.width * stream.codec_context.height, -stream.index))


def _first_frames(container: "InputContainer", video: "av.VideoStream") -> list["av.VideoFrame"]:
    frames = []
    for frame in container.decode(video):
        frames.append(frame)
        if len(frames) == _LOOKED_AT:
            break
    return frames


def _audio(container: "InputContainer") -> tuple[AudioTrack, ...]:
    return tuple(
        AudioTrack(
            stream.index,
            language_tag(stream.metadata.get("language")),
            stream.channels,
            stream.codec_context.name,
            stream.codec_context.layout.name,
        )
        for stream in container.streams.audio
        if stream.codec_context is not None and stream.channels > 0
    )


def _subtitles(container: "InputContainer") -> tuple[SubtitleTrack, ...]:
    import av.stream

    return tuple(
        SubtitleTrack(
            stream.index,
            language_tag(stream.metadata.get("language")),
            stream.codec_context.name,
            is_text=stream.codec_context.name not in _PICTURE_SUBTITLES,
            forced=bool(stream.disposition & av.stream.Disposition.forced),
        )
        for stream in container.streams.subtitles
        if stream.codec_context is not None
    )


def _colour(frame: "av.VideoFrame") -> dict[str, Any]:
    transfer = _TRANSFERS.get(int(frame.color_trc), "sdr")
    notes = cast("Iterable[Any]", frame.side_data)  # PyAV's stub calls it a dictionary
    about = {note.type.name: bytes(note) for note in notes}
    return {
        "hdr": transfer != "sdr",
        "transfer": transfer,
        "bit_depth": max(component.bits for component in frame.format.components),
        "primaries": _PRIMARIES.get(int(frame.color_primaries)),
        "matrix": _MATRICES.get(int(frame.colorspace)),
        "range": _RANGES.get(int(frame.color_range)),
        "mastering_display": mastering_display(about.get("MASTERING_DISPLAY_METADATA", b"")),
        "max_cll": max_cll(about.get("CONTENT_LIGHT_LEVEL", b"")),
    }


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


def _timing(container: "InputContainer", index: int, path: Path) -> _Timing:
    """Rate and length from the presentation times of all packets.

    The rate comes from the median step, which a dropped frame or a slow phone does not move.
    """
    stream = container.streams[index]
    packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
    times = sorted(
        {at for packet in packets if (at := packet.pts if packet.pts is not None else packet.dts) is not None}
    )
    base = stream.time_base
    if not times or base is None:
        raise TranscodingError(f"{path.name}: no frame of its picture has a time")
    declared = getattr(stream, "average_rate", None)
    if len(times) == 1:
        rate = declared or Fraction(25)
        return _Timing(rate, True, 1, times[0] * base, 1 / rate, 1 / rate)
    rate, steady = frame_rate(times, base, declared)
    margin = seek_margin([(p.pts, p.dts, p.is_keyframe) for p in packets]) * base
    return _Timing(rate, steady, len(times), times[0] * base, (times[-1] - times[0]) * base + 1 / rate, margin)


def seek_margin(packets: Sequence[tuple[int | None, int | None, bool]]) -> int:
    """How long before a point to seek, in the unit of the times (presentation, decoding, is a key frame).

    The longest that a frame stays on screen, because the one on screen began before the point; the longest that one
    waits for its turn, because some indexes are in the order of decoding; and the longest way between two key
    frames, so that landing one key frame late does no harm.
    """
    shown = sorted(t for pts, dts, _ in packets if (t := pts if pts is not None else dts) is not None)
    keys = sorted(t for pts, dts, key in packets if key and (t := pts if pts is not None else dts) is not None)
    waits = [pts - dts for pts, dts, _ in packets if pts is not None and dts is not None]
    longest = [max((b - a for a, b in pairwise(times)), default=0) for times in (shown, [*keys, shown[-1]])]
    return sum(longest) + max(waits, default=0)


def _seeks(container: "InputContainer", index: int, timing: _Timing) -> bool:
    """Whether seeking leads to a key frame at or before the point, tried at five points."""
    if not container.format.name.startswith(_EXACT_SEEKING):
        return False
    stream = container.streams[index]
    base = stream.time_base
    if base is None:
        return False
    for part in (0, 1, 2, 3, 4):
        point = timing.first + timing.duration * part / 5
        container.seek(int(point / base), stream=stream, backward=True)
        packet = next((packet for packet in container.demux(stream) if packet.size), None)
        if packet is None or not packet.is_keyframe or packet.pts is None or packet.pts * base > point:
            return False
    return True


def frame_rate(times: Sequence[int], base: Fraction, declared: Fraction | None = None) -> tuple[Fraction, bool]:
    """The natural frame rate behind sorted time stamps (units of `base` seconds), and whether they are evenly spaced.

    Steps may differ by two ticks or a tenth: containers that count milliseconds round every one of them. For the same
    reason the declared rate wins where the evenly spaced times bear it out to half a percent, or to a tick.
    """
    steps = [after - before for before, after in pairwise(times)]
    middle = sorted(steps)[len(steps) // 2]
    steady = all(abs(step - middle) <= max(2, middle / 10) for step in steps)
    rate = 1 / ((times[-1] - times[0]) * base / len(steps) if steady else middle * base)
    if steady and declared and abs(declared / rate - 1) <= max(Fraction(1, 200), Fraction(1, times[-1] - times[0])):
        return declared, True
    return rate.limit_denominator(1001), steady
