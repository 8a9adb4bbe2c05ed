"""Carry out a plan: the one ffmpeg process that makes all renditions of a master."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import encode_arguments, folders
from transcoding.plan import Plan
from transcoding.source import Source

# The slowest that is still work and not a hang: this many seconds for each second of film, and a floor for the start.
_PATIENCE = 120
_LEAST_TIMEOUT_S = 300


@dataclass(frozen=True)
class EncodeProgress:
    """`fraction` of the film that is encoded, 0 to 1, and the estimated seconds that are left (none at first)."""

    fraction: float
    seconds_left: float | None


def encode(
    plan: Plan,
    source: Source,
    out: Path,
    *,
    on_progress: Callable[[EncodeProgress], None] | None = None,
    timeout_s: float | None = None,
    cancel: threading.Event | None = None,
    threads: int = 0,
) -> None:
    """Write the segments of every rendition below `out`, which must be a folder.

    Raises:
        TranscodingError: ffmpeg failed, was cancelled or took too long.
    """
    for folder in folders(plan):
        (out / folder).mkdir(parents=True)
    started = time.monotonic()

    def report(progress: ffmpeg.Progress) -> None:
        if on_progress is not None:
            fraction = min(1.0, progress.seconds / float(plan.duration))
            spent = time.monotonic() - started
            on_progress(EncodeProgress(fraction, spent * (1 - fraction) / fraction if fraction > 0 else None))

    ffmpeg.run(
        # Relative names: whatever the home's path holds, ffmpeg sees no pattern in it.
        encode_arguments(plan, source, Path(), threads=threads),
        cwd=out,
        timeout_s=timeout_s or max(_LEAST_TIMEOUT_S, _PATIENCE * float(plan.duration)),
        on_progress=report,
        cancel=cancel,
    )
