"""The chunks of a film, encoded apart, become one draft: segments numbered and timed through the whole film."""

import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from transcoding.boxes import Segment, patch_segment, read_segment, read_track
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Chunk, Plan, Rung
from transcoding.playlists import media_playlist
from transcoding.renditions import Rendition, target_duration

_SHORTER_S = Fraction(1, 10)  # that a sound may be than the picture: some of its frames


def assemble(work: Path, draft: Path, plan: Plan, rungs: Sequence[Rung] | None = None) -> None:
    """Fill `draft` from the work folder of a job: `video/`, `variants/` of marked rungs, and `audio/`.

    `rungs`: those of the plan that go into this package (None: all); each is taken from the part that encoded it. A
    chunk or a sound that cannot be read, or is not whole, is thrown away; otherwise the work folder stays as it is.
    Each folder gets a playlist, so that pictures can be taken from the draft.

    Raises:
        TransientError: a chunk or a sound is missing or not whole: it must be made again.
        TranscodingError: the chunks do not fit together, or two variants do not.
    """
    for rung in plan.rungs if rungs is None else rungs:
        _join(work, draft, plan, rung, "video")
        if rung.marked:
            _join(work, draft, plan, rung, "variants")
            _check_twins(draft, rung)
    for sound in plan.audio:
        folder = work / "audio" / sound.name
        if not (folder / "init.mp4").is_file():
            raise TransientError(f"sound {sound.name} is not in {work / 'audio'}: it must be encoded again")
        with _thrown_away_if_damaged(work / "audio", f"sound {sound.name}"):
            require_whole_sound(folder, plan)
        (draft / "audio" / sound.name).mkdir(parents=True)
        for path in [folder / "init.mp4", *folder.glob("*.m4s")]:
            shutil.copyfile(path, draft / "audio" / sound.name / path.name)
        _write_playlist(draft, "audio", sound.name)


def _join(work: Path, draft: Path, plan: Plan, rung: Rung, kind: str) -> None:
    """One rung: `kind` is `video` or, for the second variants of its segments, `variants`."""
    out = draft / kind / rung.name
    out.mkdir(parents=True)
    init: bytes | None = None
    fragments = 0
    for chunk in plan.chunks:
        folder = _folder(work, chunk, kind, rung)
        with _thrown_away_if_damaged(folder.parents[1], f"chunk {chunk.number} of {kind} {rung.name}"):
            segments = whole_segments(folder, chunk, plan, rung)
            own, timescale = (folder / "init.mp4").read_bytes(), read_track(folder / "init.mp4").timescale
        if init is None:
            init = own
            (out / "init.mp4").write_bytes(init)
        elif own != init:
            raise TranscodingError(
                f"{kind} {rung.name}: the initialisation segment of chunk {chunk.number} differs from the first one's "
                "(another encoder, or other settings?): all chunks must be encoded alike"
            )
        offset = _ticks(chunk.first_frame, plan, timescale)
        for number, segment in enumerate(segments, chunk.first_segment):
            moved = patch_segment((folder / segment.name).read_bytes(), offset, fragments + 1)
            (out / f"{number:05d}.m4s").write_bytes(moved)
            fragments += segment.fragments
    if kind == "video":
        _write_playlist(draft, kind, rung.name)


@contextmanager
def _thrown_away_if_damaged(folder: Path, what: str) -> Iterator[None]:
    """A disk or a machine that went down leaves files that cannot be read: the master is not to blame for them."""
    try:
        yield
    except (TranscodingError, OSError, struct.error, IndexError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TransientError):
            raise
        raise TransientError(f"{what} is damaged, it must be encoded again: {error}") from error


def _folder(work: Path, chunk: Chunk, kind: str, rung: Rung) -> Path:
    """Where some part's worker put a rung of a chunk; a folder that is not whole yet has another name."""
    found = sorted((work / "chunks").glob(f"[0-9]*/{chunk.number:05d}/{kind}/{rung.name}"))
    folders = [folder for folder in found if (folder / "init.mp4").is_file()]
    if not folders:
        raise TransientError(f"chunk {chunk.number} of {kind} {rung.name} is not in {work}: it must be encoded again")
    return folders[0]


def whole_segments(folder: Path, chunk: Chunk, plan: Plan, rung: Rung) -> list[Segment]:
    """The segments of a chunk in order: as many as planned, of the planned frames, without a gap, each independent."""
    paths = sorted(folder.glob("*.m4s"), key=lambda path: int(path.stem))
    where = f"chunk {chunk.number} of {rung.name}"
    if len(paths) != chunk.segments:
        raise TransientError(f"{where} has {len(paths)} segments, {chunk.segments} are planned: encode it again")
    segments = [read_segment(path) for path in paths]
    timescale = read_track(folder / "init.mp4").timescale
    left, at = chunk.frames, 0
    for segment in segments:
        frames = min(plan.segment_frames, left) if segment is not segments[-1] else left
        expected = (at, _ticks(frames, plan, timescale), frames, True)
        if (segment.start, segment.duration, segment.samples, segment.independent) != expected:
            raise TransientError(
                f"{where}: {segment.name} holds {segment.samples} frames from {segment.start} for {segment.duration} "
                f"ticks, planned are {frames} from {at} for {expected[1]}, beginning with a key frame: encode it again"
            )
        left, at = left - frames, at + segment.duration
    return segments


def require_whole_sound(folder: Path, plan: Plan) -> None:
    """On a full disk ffmpeg leaves segments empty, cut off or out, and ends as if all were well.

    Raises:
        TransientError: a segment cannot be read, does not follow the one before, or they are shorter than the film.
    """
    at = None
    try:
        timescale = read_track(folder / "init.mp4").timescale
        for path in sorted(folder.glob("*.m4s"), key=lambda path: int(path.stem)):
            segment = read_segment(path)
            if at is not None and segment.start != at:
                raise TransientError(f"{path.name} starts at {segment.start}, the one before ends at {at}")
            at = segment.start + segment.duration
        if at is None or Fraction(at, timescale) < plan.duration - _SHORTER_S:
            raise TransientError(f"it ends at {at} ticks of 1/{timescale} s, the film at {float(plan.duration):.3f} s")
    except (TranscodingError, OSError, struct.error, IndexError) as error:
        raise TransientError(f"sound {folder.name} is not whole, it must be encoded again: {error}") from error


def _ticks(frames: int, plan: Plan, timescale: int) -> int:
    ticks = frames * timescale / plan.frame_rate
    if ticks.denominator != 1:
        raise TranscodingError(f"{frames} frames at {plan.frame_rate}/s are no whole number of 1/{timescale} s")
    return int(ticks)


def _check_twins(draft: Path, rung: Rung) -> None:
    """A server hands out either variant of a segment: they must share initialisation, times and frames."""
    first, second = draft / "video" / rung.name, draft / "variants" / rung.name
    if (first / "init.mp4").read_bytes() != (second / "init.mp4").read_bytes():
        raise TranscodingError(f"{rung.name}: the two variants need different initialisation segments")
    (second / "init.mp4").unlink()
    for path in sorted(first.glob("*.m4s")):
        one, other = read_segment(path), read_segment(second / path.name)
        if (one.start, one.duration, one.samples) != (other.start, other.duration, other.samples):
            raise TranscodingError(f"{rung.name}: the variants of {path.name} are not cut alike")


def _write_playlist(draft: Path, kind: str, name: str) -> None:
    folder = draft / kind / name
    segments = tuple(read_segment(path) for path in sorted(folder.glob("*.m4s"), key=lambda path: int(path.stem)))
    rendition = Rendition(kind, name, read_track(folder / "init.mp4"), segments)
    (folder / "main.m3u8").write_text(media_playlist(rendition, target_duration([rendition])))
