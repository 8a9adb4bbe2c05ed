"""What is inside a film file, by reading it: never by its name, and never more than the file itself.

The containers are limited to those that hold films and the only protocol is `file`, so that a playlist dressed as a
film cannot make us open other files. Rotation, interlacing and HDR are read from the first decoded frames; the real
length from a scan of all packets, because a header tells how long a film was meant to be.
"""

import codecs
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ingest.errors import IngestError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,mxf,ogg,ivf,dv,nut"
# Their headers state a length that was known when the file was finished; others only estimate one.
_EXACT_CONTAINERS = ("mov", "matroska", "avi", "asf", "mxf")
_FIRST_FRAMES = 5
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273, TransferCharacteristics


class RefusedError(IngestError):
    """This file cannot become a film; the message is the reason, in one line."""


@dataclass(frozen=True)
class Stream:
    index: int
    kind: str
    codec: str | None
    language: str | None
    channels: int | None = None
    sample_rate: int | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Probe:
    """What a film file is.

    `width` and `height` are as coded, before `rotation` (degrees, counter-clockwise) and `sar`. `fps` is the average;
    `vfr` says that frames are not evenly spaced. `channels` and `languages` are of the audio streams.
    """

    container: str
    duration_ms: int
    video_index: int
    width: int
    height: int
    fps: float
    vfr: bool
    rotation: int
    sar: str
    pix_fmt: str
    interlaced: bool
    hdr: str | None
    has_audio: bool
    channels: tuple[int, ...]
    languages: tuple[str, ...]
    streams: tuple[Stream, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Scan:
    """One pass over all packets: how long the video and the whole file are (seconds), and how even the frames are."""

    video_s: float
    file_s: float
    video_packets: int
    uneven: bool


def probe(path: Path) -> Probe:
    """Look into a file.

    Raises:
        RefusedError: it is empty, text, not a film, cut short, or its video cannot be decoded.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise RefusedError("empty: the file has no content")
    # Opened twice, because not every container can be wound back.
    with _open(path, head) as container:
        frames = _first_frames(container, _main_video(container))
    with _open(path, head) as container:
        video = _main_video(container)
        scan = _scan(container, video)
        _check_length(container, video, scan)
        return _describe(container, video, frames, scan)


def _open(path: Path, head: bytes) -> "InputContainer":
    import av
    from av.error import FFmpegError

    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        # With the protocol in front a name like `concat:a|b` is a name.
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise RefusedError(_why_not_media(path, head)) from error


def _main_video(container: "InputContainer") -> "VideoStream":
    """The largest video stream that is not a cover picture."""
    import av.stream

    pictures = av.stream.Disposition.attached_pic
    films = [s for s in container.streams.video if not s.disposition & pictures]
    # A stream without a decoder has no size either.
    decodable = [s for s in films if s.codec_context is not None and s.width and s.height]
    if decodable:
        return max(decodable, key=lambda s: (s.width * s.height, -s.index))
    if films:
        raise RefusedError("the video is in a format that nothing here decodes, or its description is damaged")
    raise RefusedError("no video stream (sound only)" if container.streams.audio else "no video stream")


def _first_frames(container: "InputContainer", video: "VideoStream") -> "list[VideoFrame]":
    from av.error import FFmpegError

    frames: list[VideoFrame] = []
    reason = "no frame in the whole stream"
    packets = container.demux(video)
    while len(frames) < _FIRST_FRAMES:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames += islice(packet.decode(), _FIRST_FRAMES)
        except FFmpegError as error:
            reason = str(error.strerror or error)
            if frames:
                break
    if not frames:
        raise RefusedError(f"the video ({video.codec_context.name}) cannot be decoded: {reason}")
    return frames


def _scan(container: "InputContainer", video: "VideoStream") -> _Scan:
    import av
    from av.error import FFmpegError

    ends: dict[int, float] = {}
    times: list[int] = []
    packets = 0
    try:
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is None or packet.time_base is None or not packet.size:
                continue
            end = float((time + (packet.duration or 0)) * packet.time_base)
            ends[packet.stream_index] = max(end, ends.get(packet.stream_index, end))
            if packet.stream_index == video.index:
                packets += 1
                times.append(time)
    except FFmpegError:
        pass  # the end of what can be read: whether that is too early, the comparison of lengths tells
    start = (container.start_time or 0) / av.time_base
    file_end = max(ends.values(), default=start) - start
    first = float(min(times) * (video.time_base or 0)) if times else start
    return _Scan(ends.get(video.index, first) - first, file_end, packets, _uneven(times))


def _uneven(times: Sequence[int]) -> bool:
    """Whether more than one in fifty frame intervals is over half longer than the usual one."""
    gaps = [later - earlier for earlier, later in pairwise(sorted(times))]
    if not gaps:
        return False
    usual = median(gaps)
    return sum(gap > usual * 1.5 for gap in gaps) > len(gaps) / 50


def _check_length(container: "InputContainer", video: "VideoStream", scan: _Scan) -> None:
    import av

    if not container.format.name.startswith(_EXACT_CONTAINERS):
        return
    if container.format.name == "avi" and video.frames and video.average_rate:
        # Without its index an AVI's length is guessed from its size; the number of frames stands in the header.
        stated, real = (float(count / video.average_rate) for count in (video.frames, scan.video_packets))
    elif video.duration is not None and video.time_base is not None:
        stated, real = float(video.duration * video.time_base), scan.video_s
    else:
        stated, real = (container.duration or 0) / av.time_base, scan.file_s
    if stated - real > max(1.0, stated * 0.02):
        raise RefusedError(f"cut short: {real:.1f} s are there of {stated:.1f} s")


def _describe(container: "InputContainer", video: "VideoStream", frames: "Sequence[VideoFrame]", scan: _Scan) -> Probe:
    first = frames[0]
    streams = tuple(_stream(s) for s in container.streams)
    audio = [s for s in streams if s.kind == "audio" and s.codec]
    sar = video.sample_aspect_ratio or 1
    fps = video.average_rate or video.guessed_rate or (scan.video_packets / scan.video_s if scan.video_s else 0)
    return Probe(
        container=container.format.name,
        duration_ms=round(scan.video_s * 1000),
        video_index=video.index,
        width=video.width,
        height=video.height,
        fps=round(float(fps), 3),
        vfr=scan.uneven,
        rotation=int(first.rotation) % 360,
        sar=f"{sar.numerator}:{sar.denominator}",
        pix_fmt=first.format.name,
        interlaced=any(frame.interlaced_frame for frame in frames),
        hdr=_HDR_TRANSFERS.get(int(first.color_trc)),
        has_audio=bool(audio),
        channels=tuple(s.channels or 0 for s in audio),
        languages=tuple(s.language or "und" for s in audio),
        streams=streams,
    )


def _stream(stream: Any) -> Stream:
    context = stream.codec_context  # none where nothing decodes it
    audio, video = (context and stream.type == kind for kind in ("audio", "video"))
    return Stream(
        index=stream.index,
        kind=stream.type,
        codec=context.name if context else None,
        language=stream.metadata.get("language"),
        channels=context.channels if audio else None,
        sample_rate=context.sample_rate if audio else None,
        width=stream.width if video else None,
        height=stream.height if video else None,
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
