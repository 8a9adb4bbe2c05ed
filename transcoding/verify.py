"""The last look at a draft before anybody sees it."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from transcoding import ffmpeg
from transcoding.boxes import seconds
from transcoding.errors import TranscodingError
from transcoding.package import frames
from transcoding.plan import Plan
from transcoding.playlists import Rendition
from transcoding.source import Source

_AAC_FRAME = Fraction(1024, 48_000)
_DECODE_TIMEOUT_S = 300
_DECODE_PATIENCE = 20  # seconds for each second of film


def verify(draft: Path, source: Source, plan: Plan, video: Sequence[Rendition], audio: Sequence[Rendition]) -> None:
    """Hold a draft against its plan and its source, and decode all of it.

    Every rung: the planned size, the planned frames (of a steady source: its own count), segments that begin with a key
    frame and follow one another without a gap, the same boundaries as the first rung, and a full decode in which
    nothing is wrong. Sound: as long as the picture within one of its frames.

    Raises:
        TranscodingError: the first thing that is wrong.
    """
    if not all(rendition.segments for rendition in [*video, *audio]):
        raise TranscodingError("a rendition without segments")
    _check_source_frames(source, plan)
    for rung, rendition in zip(plan.rungs, video, strict=True):
        if (rendition.track.width, rendition.track.height) != (rung.width, rung.height):
            raise TranscodingError(f"{rung.name} is {rendition.track.width}x{rendition.track.height}")
        if frames(rendition) != plan.frames:
            raise TranscodingError(f"{rung.name} has {frames(rendition)} frames, the source gives {plan.frames}")
        if _times(rendition) != _times(video[0]):
            raise TranscodingError(f"{rung.name} is cut at other times than {video[0].name}")
    for rendition in [*video, *audio]:
        _check_continuous(rendition)
    for rendition in audio:
        if abs(rendition.duration - plan.duration) > _AAC_FRAME:
            lasts = f"{float(rendition.duration):.3f} s"
            raise TranscodingError(f"sound {rendition.name} lasts {lasts}, the picture {float(plan.duration):.3f} s")
    for rendition in [*video, *audio]:
        _decode(draft, rendition)


def _check_source_frames(source: Source, plan: Plan) -> None:
    """The planned count against the packets of a source whose frames are evenly spaced."""
    if not source.steady:
        return
    expected = round((source.frames / source.frame_rate + source.offset) * plan.frame_rate)
    if abs(plan.frames - expected) > 1:
        raise TranscodingError(f"planned {plan.frames} frames, the source's {source.frames} give {expected}")


def _times(rendition: Rendition) -> list[tuple[Fraction, Fraction]]:
    track = rendition.track
    return [(seconds(segment.start, track), seconds(segment.duration, track)) for segment in rendition.segments]


def _check_continuous(rendition: Rendition) -> None:
    at = 0
    for number, segment in enumerate(rendition.segments):
        if segment.name != f"{number:05d}.m4s" or segment.start != at:
            raise TranscodingError(f"{rendition.folder}: {segment.name} starts at {segment.start}, expected {at}")
        if not segment.independent:
            raise TranscodingError(f"{rendition.folder}: {segment.name} does not begin with a key frame")
        at += segment.duration


def _decode(draft: Path, rendition: Rendition) -> None:
    """Every frame, with ffmpeg's strictest error detection, through the playlist that players will read."""
    told = ffmpeg.run(
        [
            "-hide_banner", "-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1", "-xerror",
            "-err_detect", "explode", "-protocol_whitelist", "file,pipe",
            "-i", f"file:{rendition.folder}/main.m3u8", "-map", "0", "-fps_mode", "passthrough", "-f", "null", "-",
        ],
        cwd=draft,
        timeout_s=max(_DECODE_TIMEOUT_S, _DECODE_PATIENCE * float(rendition.duration)),
        strict=True,
    )  # fmt: skip
    if rendition.kind == "video" and told.frames != frames(rendition):
        raise TranscodingError(f"{rendition.folder}: {told.frames} of {frames(rendition)} frames can be decoded")
