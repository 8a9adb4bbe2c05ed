"""Carry out a plan: the ffmpeg processes that make the renditions of a master, or of one chunk of it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import ENCODER_THREADS, encode_arguments, folders
from transcoding.errors import TranscodingError
from transcoding.plan import Chunk, Plan, Rung
from transcoding.source import Source
from transcoding.watermark import Mark

# The slowest that is still work and not a hang: this many seconds for each second of film, and a floor for the start.
_PATIENCE = 120
_LEAST_TIMEOUT_S = 300


@dataclass(frozen=True)
class EncodeProgress:
    """`fraction` of the work that is done, 0 to 1, and the estimated seconds that are left (none at first)."""

    fraction: float
    seconds_left: float | None


OnEncode = Callable[[EncodeProgress], None]


def encode(
    plan: Plan,
    source: Source,
    out: Path,
    *,
    on_progress: OnEncode | None = None,
    timeout_s: float | None = None,
    cancel: threading.Event | None = None,
    threads: int = ENCODER_THREADS,
    mark: Mark | None = None,
) -> None:
    """Write picture and sound of an undivided film below `out`, which must be a folder; `mark` for marked rungs.

    Raises:
        TranscodingError: ffmpeg failed, was cancelled or took too long.
    """
    from transcoding.audio import encode_audio  # which tells its progress in the words of this module

    _make(out, folders(plan))
    limit = timeout_s or max(_LEAST_TIMEOUT_S, _PATIENCE * float(plan.duration))
    # Relative names: whatever the home's path holds, ffmpeg sees no pattern in it.
    picture = encode_arguments(plan, source, Path(), threads=threads)
    closed = ffmpeg.confined(source.path, write=(out,), timeout_s=limit)
    report = _reporter(plan.frames, on_progress)
    with _patterns(plan.rungs, mark, out):
        ffmpeg.run(picture, cwd=out, timeout_s=limit, on_progress=report, cancel=cancel, sandbox=closed)
    encode_audio(plan, source, out, cancel=cancel)


def encode_chunk(
    plan: Plan,
    source: Source,
    chunk: Chunk,
    rungs: Sequence[Rung],
    out: Path,
    *,
    on_progress: OnEncode | None = None,
    cancel: threading.Event | None = None,
    threads: int = ENCODER_THREADS,
    mark: Mark | None = None,
) -> None:
    """Write some rungs of one chunk below `out`, which must be a folder: segments from 00000, times from zero.

    `mark` is needed for marked rungs.

    Raises:
        TranscodingError: ffmpeg failed, was cancelled or took too long, or the source gives other frames than planned.
    """
    _make(out, folders(plan, rungs))
    # An unseekable source is decoded from its beginning, so the time that is allowed grows with the chunk's end.
    limit = max(_LEAST_TIMEOUT_S, _PATIENCE * float((chunk.first_frame + chunk.frames) / plan.frame_rate))
    with _patterns(rungs, mark, out):
        told = ffmpeg.run(
            encode_arguments(plan, source, Path(), rungs=rungs, chunk=chunk, threads=threads),
            cwd=out,
            timeout_s=limit,
            on_progress=_reporter(chunk.frames, on_progress),
            cancel=cancel,
            sandbox=ffmpeg.confined(source.path, write=(out,), timeout_s=limit),
        )
    if told.frames != chunk.frames:
        at = float(chunk.first_frame / plan.frame_rate)
        raise TranscodingError(
            f"{source.path.name}: gives {told.frames} frames from {at:.3f} s on where {chunk.frames} were planned"
        )


@contextmanager
def _patterns(rungs: Sequence[Rung], mark: Mark | None, out: Path) -> Iterator[None]:
    """The watermark's patterns in `out`, only as long as ffmpeg needs them: nobody else shall read them."""
    if mark is None and any(rung.marked for rung in rungs):
        raise TranscodingError("the plan marks rungs, but no watermark was given")
    written = mark.write(rungs, out) if mark is not None else []
    try:
        yield
    finally:
        for path in written:
            path.unlink()


def _make(out: Path, names: Sequence[Path]) -> None:
    for name in names:
        (out / name).mkdir(parents=True)


def _reporter(frames: int, listener: OnEncode | None) -> Callable[[ffmpeg.Progress], None]:
    started = time.monotonic()

    def report(progress: ffmpeg.Progress) -> None:
        if listener is not None:
            fraction = min(1.0, progress.frames / frames)
            spent = time.monotonic() - started
            listener(EncodeProgress(fraction, spent * (1 - fraction) / fraction if fraction > 0 else None))

    return report
