"""VMAF against the source, frame by frame through the same filters that the encoders saw.

The model is libvmaf's `vmaf_v0.6.1`, at the source's size (what is smaller is scaled up, bicubic). Every fifth frame is
scored, which errs by about 0.1 and costs a third.
"""

import json
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import QUIET, filter_graph, input_arguments
from transcoding.errors import TranscodingError
from transcoding.ladder import Rung, display_size
from transcoding.plan import Chunk, Plan
from transcoding.source import Source

SUBSAMPLE = 5
TALLEST = 2160
_LEAST_SIDE = 20  # libvmaf crashes on pictures of 16 pixels
_SEGMENTS_PER_SCORE = 10
_PIXELS_AT_ONCE = 13_000_000  # of all pictures that one process compares: libvmaf holds several floats for each
_LEAST_TIMEOUT_S = 300
_PATIENCE = 60  # seconds for a second of film and a comparison: the slowest that is still work


@dataclass(frozen=True)
class Score:
    """Mean VMAF over the scored ones of `frames` frames."""

    vmaf: float
    frames: int


@dataclass(frozen=True)
class SegmentScore:
    """Mean VMAF of a finished segment; `segment` is its number in the film."""

    segment: int
    vmaf: float
    frames: int


def reference_size(source: Source) -> tuple[int, int]:
    """Even width and height in square pixels at which quality is measured: the source's, at most 2160 lines."""
    width, height = display_size(source)
    lines = min(height, Fraction(TALLEST))
    return _even(width * lines / height), _even(lines)


def measurable(source: Source) -> bool:
    """Whether the picture is large enough for VMAF at all."""
    return min(reference_size(source)) >= _LEAST_SIDE


def _even(length: Fraction) -> int:
    return max(2, int(length) // 2 * 2)


def vmaf(
    distorted: Sequence[Path],
    plan: Plan,
    source: Source,
    window: Chunk,
    *,
    cancel: threading.Event | None = None,
    threads: int = 1,
) -> list[Score]:
    """The scores of files that each hold exactly the frames of `window` of the plan's film, in the order given.

    Raises:
        TranscodingError: a file cannot be decoded, or has fewer frames than the window.
    """
    width, height = reference_size(source)
    at_once = max(1, _PIXELS_AT_ONCE // (width * height))
    scores: list[Score] = []
    for first in range(0, len(distorted), at_once):
        scores += _compare(distorted[first : first + at_once], plan, source, window, cancel, threads)
    return scores


def _compare(
    distorted: Sequence[Path],
    plan: Plan,
    source: Source,
    window: Chunk,
    cancel: threading.Event | None,
    threads: int,
) -> list[Score]:
    with tempfile.TemporaryDirectory(prefix="matinee-vmaf-") as name:
        folder = Path(name)
        arguments = [*QUIET, *input_arguments(plan, source, window)]
        for path in distorted:
            arguments += ["-protocol_whitelist", "file,pipe", "-i", f"file:{path.absolute()}"]
        arguments += ["-filter_complex", _graph(len(distorted), plan, source, window, threads)]
        for number in range(len(distorted)):
            arguments += ["-map", f"[o{number}]", "-fps_mode", "passthrough", "-f", "null", "-"]
        seconds = float(window.frames / plan.frame_rate)
        if not source.seekable:  # it is decoded from its beginning
            seconds += float(window.first_frame / plan.frame_rate)
        timeout_s = max(_LEAST_TIMEOUT_S, _PATIENCE * seconds * len(distorted))
        closed = ffmpeg.confined(source.path, *distorted, write=(folder,), timeout_s=timeout_s)
        ffmpeg.run(arguments, cwd=folder, timeout_s=timeout_s, cancel=cancel, sandbox=closed)
        return [_read(folder / f"{number}.json", path, window) for number, path in enumerate(distorted)]


def _graph(count: int, plan: Plan, source: Source, window: Chunk, threads: int) -> str:
    """Both sides are numbered from zero, frame by frame, so that the same numbers meet."""
    width, height = reference_size(source)
    rung = Rung("reference", width, height, 0, 0, 0)
    numbered = "settb=1/25,setpts=N"
    chains = [filter_graph(plan, source, rungs=(rung,), chunk=window)]
    chains.append(f"[v0]{numbered},split={count}" + "".join(f"[r{number}]" for number in range(count)))
    for number in range(count):
        chains.append(f"[{number + 1}:v]{numbered},scale={width}:{height}:flags=bicubic,format=yuv420p[d{number}]")
        chains.append(
            f"[d{number}][r{number}]libvmaf=log_fmt=json:log_path={number}.json:n_subsample={SUBSAMPLE}:"
            f"n_threads={threads}:eof_action=endall:repeatlast=0[o{number}]"
        )
    return ";".join(chains)


def _read(log: Path, path: Path, window: Chunk) -> Score:
    told = json.loads(log.read_text())
    expected = list(range(0, window.frames, SUBSAMPLE))
    scored = [frame["frameNum"] for frame in told["frames"]]
    if scored != expected:
        raise TranscodingError(
            f"{path.name}: {len(scored)} frames could be compared with the source, {len(expected)} were expected"
        )
    return Score(round(told["pooled_metrics"]["vmaf"]["mean"], 3), window.frames)


def sampled_segments(chunk: Chunk, *, seekable: bool = True) -> tuple[int, ...]:
    """Which segments of a chunk are scored, counted within it: about one in ten, at least one, evenly spread.

    One alone where the film cannot be sought: each costs a decode from the beginning.
    """
    count = max(1, round(chunk.segments / _SEGMENTS_PER_SCORE)) if seekable else 1
    return tuple((2 * number + 1) * chunk.segments // (2 * count) for number in range(count))


def measure_chunk(
    plan: Plan,
    source: Source,
    chunk: Chunk,
    folder: Path,
    rungs: Sequence[Rung],
    *,
    cancel: threading.Event | None = None,
    threads: int = 1,
) -> dict[str, list[SegmentScore]]:
    """VMAF of sampled finished segments of a chunk, by rung name; HDR rungs, which VMAF does not know, are left out.

    Nothing of a picture that is too small to be measured.

    `folder` holds the chunk: `video/<rung>/{init.mp4,00000.m4s,...}`, numbered within the chunk.

    Raises:
        TranscodingError: a segment cannot be decoded or lacks frames of its source.
    """
    scored = [rung for rung in rungs if not rung.hdr] if measurable(source) else []
    made: dict[str, list[SegmentScore]] = {rung.name: [] for rung in scored}
    if not scored:
        return made
    with tempfile.TemporaryDirectory(prefix="matinee-segments-") as name:
        for place in sampled_segments(chunk, seekable=source.seekable):
            files = [_playable(folder / "video" / rung.name, place, Path(name) / f"{rung.name}.mp4") for rung in scored]
            window = _window(plan, chunk, place)
            scores = vmaf(files, plan, source, window, cancel=cancel, threads=threads)
            for rung, score in zip(scored, scores, strict=True):
                made[rung.name].append(SegmentScore(window.first_segment, score.vmaf, score.frames))
    return made


def _window(plan: Plan, chunk: Chunk, place: int) -> Chunk:
    """One segment as a chunk of its own."""
    start = chunk.first_frame + place * plan.segment_frames
    end = min(start + plan.segment_frames, chunk.first_frame + chunk.frames)
    return replace(chunk, first_segment=chunk.first_segment + place, segments=1, first_frame=start, frames=end - start)


def _playable(folder: Path, place: int, to: Path) -> Path:
    with to.open("wb") as out:
        for part in (folder / "init.mp4", folder / f"{place:05d}.m4s"):
            with part.open("rb") as read:
                shutil.copyfileobj(read, out)
    return to
