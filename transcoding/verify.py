"""The last look at a draft before anybody sees it."""

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from transcoding import ffmpeg
from transcoding.boxes import seconds
from transcoding.errors import TranscodingError
from transcoding.plan import AudioRendition, Plan, Rung
from transcoding.playlists import KEY_ADDRESS
from transcoding.protect import Protected, decrypt_segment, playlist_keys
from transcoding.renditions import Rendition, Renditions, TextRendition
from transcoding.source import Source

_AAC_FRAME = Fraction(1024, 48_000)
_DECODE_TIMEOUT_S = 300
_DECODE_PATIENCE = 20  # seconds for each second of film


def verify(
    draft: Path,
    source: Source,
    plan: Plan,
    renditions: Renditions,
    rungs: Sequence[Rung] | None = None,
    *,
    cancel: threading.Event | None = None,
) -> None:
    """Hold a clear draft against its plan and its source, and decode all of it.

    Every rung (`rungs`; None: all of the plan): the planned size and codec, the planned frames (of a steady source: its
    own count), segments that begin with a key frame and follow one another without a gap, the same boundaries as the
    first rung. Sound: as long as the picture within one of its frames, with the planned channels. Key frames: one a
    segment and one for each second that has begun. Subtitles: a file for every segment of the picture. Then a full
    decode in which nothing is wrong, of second variants too.

    Raises:
        TransientError: cancelled.
        TranscodingError: the first thing that is wrong.
    """
    if not all(rendition.segments for rendition in renditions.media):
        raise TranscodingError("a rendition without segments")
    _check_source_frames(source, plan)
    video = renditions.video
    for rung, rendition in zip(plan.rungs if rungs is None else rungs, video, strict=True):
        _check_rung(rung, rendition, plan)
        if _times(rendition) != _times(video[0]):
            raise TranscodingError(f"{rung.name} is cut at other times than {video[0].name}")
    for rendition in renditions.media:
        _check_continuous(rendition)
    for planned, rendition in zip(plan.audio, renditions.audio, strict=True):
        _check_sound(planned, rendition, plan)
    for rendition in renditions.iframes:
        _check_iframes(rendition, plan)
    for text in renditions.text:
        _check_text(draft, text)
    for rendition in renditions.media:
        _decode(draft, rendition, cancel)
        if rendition.twins:
            _decode_twins(draft, rendition, cancel)


def verify_protected(draft: Path, protected: Protected, key_for: Callable[[str], bytes]) -> None:
    """Every encrypted segment, read from disk and decrypted as its playlist says, is the clear one that was verified.

    `key_for`: the 16 bytes of a key by its id, taken from where players will get them.

    Raises:
        TranscodingError: one is not, or a segment is in no playlist.
    """
    left = dict(protected.digests)
    secrets = {key_id: key_for(key_id) for key_id in protected.key_ids}
    for rendition in protected.renditions.media:
        listed = playlist_keys((draft / rendition.folder / "main.m3u8").read_text())
        for name, sequence, uri in listed:
            folders = [rendition.folder, *([f"variants/{rendition.name}"] if rendition.twins else [])]
            for path in (f"{folder}/{name}" for folder in folders):
                key_id = (uri or "").removeprefix(KEY_ADDRESS)
                if key_id not in secrets:
                    raise TranscodingError(f"{path}: its playlist names the key {uri!r}, which is not of this package")
                try:
                    clear = decrypt_segment((draft / path).read_bytes(), secrets[key_id], sequence)
                except TranscodingError as error:
                    raise TranscodingError(f"{path}: {error}") from None
                if hashlib.sha256(clear).hexdigest() != left.pop(path, None):
                    raise TranscodingError(f"{path}: what comes out of decrypting is not what went in")
    if left:
        raise TranscodingError(f"{len(left)} encrypted segments are in no playlist, the first is {min(left)}")


def _check_rung(rung: Rung, rendition: Rendition, plan: Plan) -> None:
    track = rendition.track
    if (track.width, track.height) != (rung.width, rung.height):
        raise TranscodingError(f"{rung.name} is {track.width}x{track.height}")
    if rendition.codec != rung.codec:
        raise TranscodingError(f"{rung.name} is {track.codec}, planned as {rung.codec}")
    if rung.hdr and track.video_range == "SDR":
        raise TranscodingError(f"{rung.name} is planned as HDR, but its boxes say SDR")
    if rendition.frames != plan.frames:
        raise TranscodingError(f"{rung.name} has {rendition.frames} frames, the source gives {plan.frames}")
    if rung.marked and not rendition.twins:
        raise TranscodingError(f"{rung.name} is to carry a watermark, but has no second variants")


def _check_sound(planned: AudioRendition, rendition: Rendition, plan: Plan) -> None:
    if abs(rendition.duration - plan.duration) > _AAC_FRAME:
        lasts = f"{float(rendition.duration):.3f} s"
        raise TranscodingError(f"sound {rendition.name} lasts {lasts}, the picture {float(plan.duration):.3f} s")
    if rendition.track.channels != planned.channels:
        raise TranscodingError(
            f"sound {rendition.name} has {rendition.track.channels} channels, not the planned {planned.channels}"
        )


def _check_iframes(rendition: Rendition, plan: Plan) -> None:
    if any(segment.samples != 1 for segment in rendition.segments):
        raise TranscodingError(f"{rendition.folder}: a segment of key frames holds more than one")
    expected = math.ceil(plan.duration)
    if len(rendition.segments) != expected:
        raise TranscodingError(
            f"{rendition.folder}: {len(rendition.segments)} key frames, {expected} seconds have begun"
        )
    if abs(rendition.duration - plan.duration) > 1 / plan.frame_rate:
        lasts = f"{float(rendition.duration):.3f} s"
        raise TranscodingError(f"{rendition.folder} lasts {lasts}, the picture {float(plan.duration):.3f} s")


def _check_text(draft: Path, text: TextRendition) -> None:
    for number in range(len(text.durations)):
        path = draft / text.folder / f"{number:05d}.vtt"
        if not path.is_file() or not path.read_text().startswith("WEBVTT"):
            raise TranscodingError(f"{text.folder}: {path.name} is missing or no WebVTT; subtitles span the whole film")


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


def _decode(draft: Path, rendition: Rendition, cancel: threading.Event | None) -> None:
    """Every frame, with ffmpeg's strictest error detection, through the playlist that players will read."""
    told = _strictly(draft, f"{rendition.folder}/main.m3u8", rendition, cancel)
    if rendition.kind != "audio" and told.frames != rendition.frames:
        raise TranscodingError(f"{rendition.folder}: {told.frames} of {rendition.frames} frames can be decoded")


def _decode_twins(draft: Path, rendition: Rendition, cancel: threading.Event | None) -> None:
    """The second variants, which no playlist lists: the server hands them out in place of the first ones."""
    folder = draft / "variants" / rendition.name
    playlist = folder / "verify.m3u8"
    text = (draft / rendition.folder / "main.m3u8").read_text()
    playlist.write_text(text.replace('URI="init.mp4"', f'URI="../../{rendition.folder}/init.mp4"'))
    try:
        told = _strictly(draft, f"variants/{rendition.name}/verify.m3u8", rendition, cancel)
    finally:
        playlist.unlink()
    if told.frames != rendition.frames:
        raise TranscodingError(f"variants/{rendition.name}: {told.frames} of {rendition.frames} frames can be decoded")


def _strictly(draft: Path, playlist: str, rendition: Rendition, cancel: threading.Event | None) -> ffmpeg.Progress:
    return ffmpeg.run(
        [
            "-hide_banner", "-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1", "-xerror",
            "-err_detect", "explode", "-protocol_whitelist", "file,pipe",
            "-i", f"file:{playlist}", "-map", "0", "-fps_mode", "passthrough", "-f", "null", "-",
        ],
        cwd=draft,
        timeout_s=max(_DECODE_TIMEOUT_S, _DECODE_PATIENCE * float(rendition.duration)),
        cancel=cancel,
        strict=True,
    )  # fmt: skip
