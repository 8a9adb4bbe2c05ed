"""Subtitles of a package: text streams of the master and files beside it, as WebVTT cut like the video's segments.

RFC 8216, 3.5: every segment is a WebVTT file of its own that maps its clock to that of the media, and holds every cue
that is on screen at some time of it; so one that spans two segments stands in both, with the same times.
"""

import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg

from matinee.cues import Cue, Cues, CuesError, Dropped, read_cues, webvtt
from matinee.db import queries
from transcoding import ffmpeg
from transcoding.arguments import QUIET
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Plan, Sidecar, SubtitleRendition
from transcoding.source import Source, SubtitleTrack

_SQL = queries.load(Path(__file__).parent)
# Pictures and sound of a package start at time zero of their tracks.
_CLOCK = "X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000"
# What keeps the style of a stream and its places on the screen; any other becomes SRT.
_KEPT_AS = {"ass": "ass", "ssa": "ass", "webvtt": "vtt"}
_TOLD = 5  # reasons that are written out
_PATIENCE = 5  # seconds for each second of film
_LEAST_TIMEOUT_S = 300


@dataclass(frozen=True)
class TextTrack:
    """One subtitle rendition: how many cues are shown, and how many were left out with the first reasons."""

    name: str
    language: str
    forced: bool
    cues: int
    dropped: int = 0
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def write_subtitles(
    plan: Plan, source: Source, media: Path, draft: Path, *, cancel: threading.Event | None = None
) -> list[TextTrack]:
    """Write `subtitles/<name>/00000.vtt`, ... of every planned rendition below `draft`.

    One without a single cue gets no folder: viewers could choose it and would see nothing. Its facts say so.

    Raises:
        TransientError: a file that came with the master is not in the media store, or the work was cancelled.
        TranscodingError: a stream or a file holds nothing that can be shown.
    """
    streams = _extract(plan, source, draft, cancel)
    tracks = []
    for rendition in plan.subtitles:
        if rendition.path is None:
            found = streams[rendition.stream_index]
        else:
            found = _read(media / rendition.path, rendition.language)
        cues, late = fit(found.cues, plan.duration)
        if cues:
            _write(draft / "subtitles" / rendition.name, cut(cues, boundaries(plan)))
        tracks.append(_described(rendition, len(cues), [*found.dropped, *late]))
    return tracks


def text_facts(tracks: Sequence[TextTrack], source: Source) -> dict[str, Any]:
    """What `package.json` says of subtitles: those that were made, and the master's streams that were left out."""
    return {
        "subtitles": [track.as_json() for track in tracks],
        "subtitles_left_out": [
            {"stream": track.index, "language": track.language, "codec": track.codec, "reason": "pictures of text"}
            for track in picture_subtitles(source)
        ],
    }


def picture_subtitles(source: Source) -> tuple[SubtitleTrack, ...]:
    """The subtitle streams of a master that are pictures of text: no rendition is made of them."""
    return tuple(track for track in source.subtitles if not track.is_text)


def sidecars(connection: psycopg.Connection, master_id: str) -> tuple[Sidecar, ...]:
    """The subtitle files that came with a master, for its plan: by language, the forced ones last."""
    rows = connection.execute(_SQL["sidecars"], {"master_id": master_id}).fetchall()
    return tuple(Sidecar(language, path, forced) for language, path, forced in rows)


def boundaries(plan: Plan) -> list[Fraction]:
    """Where the video's segments begin, and the film's end: seconds."""
    starts = range(0, plan.frames, plan.segment_frames)
    return [*(Fraction(start) / plan.frame_rate for start in starts), plan.duration]


def fit(cues: Iterable[Cue], duration: Fraction) -> tuple[list[Cue], list[Dropped]]:
    """Cues cut to a film of `duration` seconds; those that begin after its end are dropped."""
    end = int(duration * 1000)
    kept, late = [], []
    for number, cue in enumerate(cues, start=1):
        if cue.start_ms < end:
            kept.append(cue if cue.end_ms <= end else replace(cue, end_ms=end))
        else:
            late.append(Dropped(number, "begins after the film's end"))
    return kept, late


def cut(cues: Sequence[Cue], bounds: Sequence[Fraction]) -> list[list[Cue]]:
    """The cues on screen in each of the segments that lie between `bounds` (seconds, rising), in their order."""
    segments: list[list[Cue]] = [[] for _ in bounds[1:]]
    first = 0
    for cue in cues:
        # Cues come by their start, so what no later cue can reach is not looked at again.
        while first + 1 < len(segments) and bounds[first + 1] * 1000 <= cue.start_ms:
            first += 1
        for number in range(first, len(segments)):
            if bounds[number] * 1000 >= cue.end_ms:
                break
            segments[number].append(cue)
    return segments


def _write(folder: Path, segments: Sequence[Sequence[Cue]]) -> None:
    folder.mkdir(parents=True)
    for number, shown in enumerate(segments):
        (folder / f"{number:05d}.vtt").write_text(webvtt(shown, _CLOCK), encoding="utf-8")


def _read(path: Path, language: str) -> Cues:
    try:
        return read_cues(path.read_bytes(), path.suffix[1:], language)
    except FileNotFoundError:
        raise TransientError(f"the subtitles are not in the media store: {path}") from None
    except CuesError as error:
        raise TranscodingError(f"subtitles {path.name}: {error}") from error


def _extract(plan: Plan, source: Source, draft: Path, cancel: threading.Event | None) -> dict[int | None, Cues]:
    """The planned streams of the master, by their index: one process, one pass over the file."""
    indexes = [track.stream_index for track in plan.subtitles if track.path is None and track.stream_index is not None]
    if not indexes:
        return {}
    folder = draft / ".subtitles"
    folder.mkdir()
    arguments = [*QUIET, "-protocol_whitelist", "file,pipe", "-format_whitelist", source.container]
    arguments += ["-i", f"file:{source.path}"]
    codecs = {track.index: track.codec for track in source.subtitles}
    files = {index: folder / f"{index}.{_KEPT_AS.get(codecs.get(index, ''), 'srt')}" for index in indexes}
    for index, path in files.items():
        coder = {"vtt": "copy", "ass": "ass"}.get(path.suffix[1:], "srt")
        arguments += ["-map", f"0:{index}", "-c:s", coder, f"{folder.name}/{path.name}"]
    limit = max(_LEAST_TIMEOUT_S, _PATIENCE * float(plan.duration))
    try:
        closed = ffmpeg.confined(source.path, write=(folder,), timeout_s=limit)
        ffmpeg.run(arguments, cwd=draft, timeout_s=limit, cancel=cancel, sandbox=closed)
        return {index: _stream(path) for index, path in files.items()}
    finally:
        shutil.rmtree(folder)


def _stream(path: Path) -> Cues:
    """A stream may be empty: a film whose foreign lines are all understood has no forced subtitles."""
    try:
        return read_cues(path.read_bytes(), path.suffix[1:])
    except CuesError as error:
        return Cues((), (Dropped(0, str(error)),))


def _described(rendition: SubtitleRendition, cues: int, dropped: Sequence[Dropped]) -> TextTrack:
    reasons = tuple(f"{item.line}: {item.reason}" for item in dropped[:_TOLD])
    return TextTrack(rendition.name, rendition.language, rendition.forced, cues, len(dropped), reasons)
