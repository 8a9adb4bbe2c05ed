"""What the encoder must know of a master, read from the file itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from transcoding.errors import TranscodingError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Demuxers that read one plain file. Playlists and scripts that name other files (hls, dash, concat) are not here.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "mpeg", "mpegts", "mpegvideo", "avi", "flv", "asf", "ogg", "mxf", "dv", "ivf",
    "h264", "hevc", "av1", "obu", "nut", "gxf", "rm", "yuv4mpegpipe",
)  # fmt: skip
_HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG), as numbered by ITU-T H.273
_LOOKED_AT = 8  # decoded frames: rotation, interlacing and transfer stand in the frames, not in the header


@dataclass(frozen=True)
class AudioTrack:
    index: int  # of the stream within the file
    language: str  # BCP 47, 'und' where the file says nothing usable
    channels: int


@dataclass(frozen=True)
class Source:
    """A readable master. Sizes are pixels as coded; `sample_aspect` and `rotation` make them what a viewer sees.

    `frame_rate` is the natural rate (frames/s). `offset` and `duration` are seconds: how much later than the first
    sound the picture starts, and how long it lasts. `steady` says that the frames are evenly spaced.
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


@dataclass(frozen=True)
class _Timing:
    frame_rate: Fraction
    steady: bool
    frames: int
    first: Fraction
    duration: Fraction


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
            facts = {
                "container": container.format.name,
                "video_index": video.index,
                "width": first.width,
                "height": first.height,
                "sample_aspect": video.sample_aspect_ratio or Fraction(1),
                "rotation": int(first.rotation) % 360,
                "interlaced": sum(frame.interlaced_frame for frame in frames) * 2 > len(frames),
                "hdr": first.color_trc in _HDR_TRANSFERS,
                "audio": _audio(container),
            }
            origin = Fraction(container.start_time or 0, 1_000_000)
        with _open(path) as container:
            timing = _timing(container, int(facts["video_index"]), path)
    except FFmpegError as error:
        raise TranscodingError(f"{path.name}: {error.strerror or error}") from None
    return Source(
        path=path.absolute(),  # ffmpeg runs in another folder
        frame_rate=timing.frame_rate,
        steady=timing.steady,
        frames=timing.frames,
        offset=max(Fraction(0), timing.first - origin),
        duration=timing.duration,
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
        AudioTrack(stream.index, language_tag(stream.metadata.get("language")), stream.channels)
        for stream in container.streams.audio
        if stream.codec_context is not None and stream.channels > 0
    )


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
        return _Timing(rate, steady=True, frames=1, first=times[0] * base, duration=1 / rate)
    rate, steady = frame_rate(times, base, declared)
    return _Timing(rate, steady, len(times), times[0] * base, (times[-1] - times[0]) * base + 1 / rate)


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


_SHORT = {
    "ara": "ar", "bul": "bg", "ces": "cs", "chi": "zh", "cze": "cs", "dan": "da", "deu": "de", "dut": "nl", "ell": "el",
    "eng": "en", "est": "et", "fin": "fi", "fra": "fr", "fre": "fr", "geo": "ka", "ger": "de", "gre": "el", "heb": "he",
    "hin": "hi", "hun": "hu", "hye": "hy", "arm": "hy", "ita": "it", "jpn": "ja", "kat": "ka", "kaz": "kk", "kor": "ko",
    "lav": "lv", "lit": "lt", "nld": "nl", "nor": "no", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru",
    "slk": "sk", "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tur": "tr", "ukr": "uk", "vie": "vi",
    "zho": "zh",
}  # fmt: skip


def language_tag(written: str | None) -> str:
    """BCP 47 from what a container says (ISO 639-1 or 639-2); 'und' for nothing or nonsense."""
    tag = (written or "und").strip().lower()
    if not (tag.isascii() and tag.isalpha() and len(tag) in (2, 3)):
        return "und"
    return _SHORT.get(tag, tag)
