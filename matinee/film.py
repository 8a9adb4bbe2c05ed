"""What a film file is, by reading it: the one look that taking in and encoding share.

The containers are limited to those that hold films and the only protocol is `file`, so that a playlist dressed as a
film cannot make us open other files. Rotation, interlacing and colour are read from the first decoded frames, the real
length from a scan of all packets, because headers say what was meant to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from matinee.errors import MatineeError
from matinee.sandbox import Limits
from matinee.timing import Packet, shown

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Demuxers that read one plain file. Playlists and scripts that name other files (hls, dash, concat) are not here.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "asf", "flv", "mxf", "ogg", "ivf", "dv",
    "nut",
)  # fmt: skip
LARGEST = (8192, 4320)
LOOK_MB, LOOK_S = 1536, 30  # a look into one of the largest pictures takes 0.6 GB, into a film of minutes 0.2 s
# Their index leads to a key frame at or before any time, and every frame has its own presentation time.
_EXACT_SEEKING = ("mov", "matroska")
_STATING = ("mov", "matroska", "avi", "asf", "mxf")  # the length that was known when the file was finished
_FIRST_FRAMES = 8
_CHROMA = {(2, 2): "4:2:0", (2, 1): "4:2:2", (1, 1): "4:4:4", (4, 1): "4:1:1", (4, 4): "4:1:0", (1, 2): "4:4:0"}
_MICROSECONDS = 1_000_000
# Subtitles that are pictures, by the names of FFmpeg's decoders and of its formats.
PICTURE_SUBTITLES = frozenset({"dvbsub", "dvdsub", "pgssub", "xsub", "dvb_subtitle", "dvd_subtitle"})


class FilmError(MatineeError):
    """This file holds no film that can be shown; the message says why, as the end of a sentence about the file."""


@dataclass(frozen=True)
class Stream:
    """`start` and `end`: seconds of its first and last packet, none without packets. `language` as it is written."""

    index: int
    kind: str
    codec: str | None
    language: str | None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    sample_rate: int | None = None
    layout: str | None = None
    forced: bool = False
    cover: bool = False
    start: Fraction | None = None
    end: Fraction | None = None


@dataclass(frozen=True)
class Picture:
    """What the first frames say. Colour is numbered by ITU-T H.273; `notes` is FFmpeg's side data by its name."""

    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    chroma: str
    rotation: int
    interlaced: bool
    transfer: int
    primaries: int
    matrix: int
    range: int
    notes: dict[str, bytes]


@dataclass(frozen=True)
class Film:
    """A film: its container, its streams, and of the main video the first frames and every packet.

    `origin` is the time stamp (s) at which the file begins. `lengths`: seconds that the header states and that are
    there, of the main video or else of the whole file; none where a container only estimates. `packets` count in
    `base` seconds. `seekable`: seeking to a time led to a key frame at or before it, wherever it was tried.
    """

    container: str
    origin: Fraction
    lengths: tuple[Fraction, Fraction] | None
    main: int
    sample_aspect: Fraction
    average_rate: Fraction | None
    base: Fraction
    picture: Picture
    packets: tuple[Packet, ...]
    streams: tuple[Stream, ...]
    seekable: bool

    @property
    def times(self) -> list[int]:
        """When frames are shown, in units of `base`: sorted, each once."""
        return shown(self.packets)


def confined(function: str, path: Path) -> Any:
    """`function` ('module:name') of the file's path in a child that can open this file alone.

    It may take `LOOK_MB`, and of computing `LOOK_S` and a second more for each 25 MB.

    Raises:
        ExceededError: it took more. Otherwise as `matinee.confined.call`.
    """
    from matinee.confined import call

    seconds = LOOK_S + path.stat().st_size // 25_000_000
    limits = Limits((path,), (), memory_mb=LOOK_MB, cpu_s=seconds, file_mb=1)
    return call(function, str(path.absolute()), limits=limits, timeout_s=2 * seconds, load=("av",))


def examine(path: Path) -> Film:
    """Look into a film; call it `confined` when the file comes from outside.

    Raises:
        FilmError: it has no video, one that cannot be decoded, or one that is too large.
        FFmpegError, ValueError: it is in no container of a film.
        MemoryError: it takes more than there is (FFmpeg's own is an `FFmpegError`, too).
        OSError: it cannot be read.
    """
    # Opened twice, because not every container can be wound back.
    with _open(path) as container:
        picture = _picture(_first_frames(container, main_video(container)))
    with _open(path) as container:
        video = main_video(container)
        base = video.time_base
        packets, extents = _scan(container, video)
        if base is None or not shown(packets):
            raise FilmError("no frame of its video has a time")
        return Film(
            container=container.format.name,
            origin=Fraction(container.start_time or 0, _MICROSECONDS),
            lengths=_lengths(container, video, len(packets), extents),
            main=video.index,
            sample_aspect=video.sample_aspect_ratio or Fraction(1),
            average_rate=video.average_rate or video.guessed_rate or None,
            base=base,
            picture=picture,
            packets=packets,
            streams=tuple(_stream(stream, extents.get(stream.index)) for stream in container.streams),
            seekable=_seeks(container, video, packets),
        )


def _open(path: Path) -> "InputContainer":
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    # With the protocol in front a name like `concat:a|b` is a name.
    return av.open(f"file:{path}", options=options, metadata_errors="replace")


def main_video(container: "InputContainer") -> "VideoStream":
    """The largest video stream that is not a cover picture; of equals the first."""
    import av.stream

    films = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    # A stream without a decoder has no size either.
    decodable = [s for s in films if s.codec_context is not None and s.width and s.height]
    if decodable:
        return max(decodable, key=lambda s: (s.width * s.height, -s.index))
    if films:
        raise FilmError("the video is in a format that nothing here decodes, or its description is damaged")
    raise FilmError("no video stream (sound only)" if container.streams.audio else "no video stream")


def _first_frames(container: "InputContainer", video: "VideoStream") -> "list[VideoFrame]":
    from av.error import FFmpegError

    check_size(video.width, video.height)
    video.codec_context.thread_count = 1  # several threads hold as many more frames in memory
    frames: list[VideoFrame] = []
    reason = "no frame in the whole stream"
    packets = container.demux(video)
    while len(frames) < _FIRST_FRAMES:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames += islice(packet.decode(), _FIRST_FRAMES)
        except MemoryError:
            raise  # FFmpeg's is one of both
        except FFmpegError as error:
            reason = str(error.strerror or error)
            if frames:
                break
    if not frames:
        raise FilmError(f"the video ({video.codec_context.name}) cannot be decoded: {reason}")
    check_size(frames[0].width, frames[0].height)
    return frames


def check_size(width: int, height: int) -> None:
    """Raises `FilmError` for a picture of more pixels than the largest."""
    if width * height > LARGEST[0] * LARGEST[1]:
        raise FilmError(f"{width}x{height} is larger than {LARGEST[0]}x{LARGEST[1]}, the largest that is taken")


def _picture(frames: "Sequence[VideoFrame]") -> Picture:
    first = frames[0]
    notes = cast("Iterable[Any]", first.side_data)  # PyAV's stub calls it a dictionary
    return Picture(
        width=first.width,
        height=first.height,
        pix_fmt=first.format.name,
        bit_depth=max(component.bits for component in first.format.components),
        chroma=_chroma(first),
        rotation=int(first.rotation) % 360,
        interlaced=sum(frame.interlaced_frame for frame in frames) * 2 > len(frames),
        transfer=int(first.color_trc),
        primaries=int(first.color_primaries),
        matrix=int(first.colorspace),
        range=int(first.color_range),
        notes={note.type.name: bytes(note) for note in notes},
    )


def _chroma(frame: "VideoFrame") -> str:
    layout = frame.format
    if layout.is_rgb or layout.has_palette:
        return "rgb"
    if len(layout.components) < 3:
        return "gray"
    return _CHROMA.get((16 // layout.chroma_width(16), 16 // layout.chroma_height(16)), "other")


def _scan(
    container: "InputContainer", video: "VideoStream"
) -> tuple[tuple[Packet, ...], dict[int, tuple[Fraction, Fraction]]]:
    """One pass over all packets: those of the main video, and of every stream when it starts and ends (s)."""
    from av.error import FFmpegError

    packets: list[Packet] = []
    extents: dict[int, tuple[Fraction, Fraction]] = {}
    try:
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is None or packet.time_base is None or not packet.size or packet.is_discard:
                continue
            index = packet.stream_index
            start, end = time * packet.time_base, (time + (packet.duration or 0)) * packet.time_base
            first, last = extents.get(index, (start, end))
            extents[index] = (min(first, start), max(last, end))
            if index == video.index:
                packets.append((packet.pts, packet.dts, packet.is_keyframe))
    except MemoryError:
        raise  # FFmpeg's is one of both
    except FFmpegError:
        pass  # the end of what can be read: whether that is too early, the comparison of lengths tells
    return tuple(packets), extents


def _lengths(
    container: "InputContainer", video: "VideoStream", frames: int, extents: Mapping[int, tuple[Fraction, Fraction]]
) -> tuple[Fraction, Fraction] | None:
    name = container.format.name
    if name == "avi" and video.frames and video.average_rate:
        # Without its index an AVI's length is guessed from its size; the number of frames stands in the header.
        return video.frames / video.average_rate, frames / video.average_rate
    if not name.startswith(_STATING):
        return None
    if video.duration is not None and video.time_base is not None:
        first, last = extents[video.index]
        return video.duration * video.time_base, last - first
    if not container.duration:
        return None
    origin = Fraction(container.start_time or 0, _MICROSECONDS)
    return Fraction(container.duration, _MICROSECONDS), max(end for _, end in extents.values()) - origin


def _stream(stream: Any, extent: tuple[Fraction, Fraction] | None) -> Stream:
    import av.stream

    context = stream.codec_context  # none where nothing decodes it
    audio, video = (context and stream.type == kind for kind in ("audio", "video"))
    start, end = extent or (None, None)
    return Stream(
        index=stream.index,
        kind=stream.type,
        codec=context.name if context else None,
        language=stream.metadata.get("language"),
        width=stream.width if video else None,
        height=stream.height if video else None,
        channels=context.channels if audio else None,
        sample_rate=context.sample_rate if audio else None,
        layout=context.layout.name if audio else None,
        forced=bool(stream.disposition & av.stream.Disposition.forced),
        cover=bool(stream.disposition & av.stream.Disposition.attached_pic),
        start=start,
        end=end,
    )


def _seeks(container: "InputContainer", video: "VideoStream", packets: Sequence[Packet]) -> bool:
    """Whether seeking leads to a key frame at or before the point, tried at five points."""
    from av.error import FFmpegError

    times = shown(packets)
    if not container.format.name.startswith(_EXACT_SEEKING):
        return False
    for point in (times[len(times) * part // 5] for part in range(5)):
        try:
            container.seek(point, stream=video, backward=True)
            packet = next((packet for packet in container.demux(video) if packet.size), None)
        except FFmpegError:
            return False
        if packet is None or not packet.is_keyframe or packet.pts is None or packet.pts > point:
            return False
    return True
