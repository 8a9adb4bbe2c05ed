"""Decode a whole master once, strictly: what a look at headers and packets cannot see, such as flipped bits."""

import threading
from collections.abc import Callable

from transcoding import ffmpeg
from transcoding.errors import TranscodingError, TransientError
from transcoding.source import Source

# The slowest that is still work and not a hang: a floor, and this many seconds for each second of film.
_LEAST_TIMEOUT_S = 300
_PATIENCE = 20
_THREADS = 4  # more hold more frames in memory; of the largest picture, a frame takes up to 140 MB
_MEMORY_MB = 4096
_MISSING = 0.05  # the share of frames that may fail to come out: some old encoders wrote empty ones


def check_master(
    source: Source,
    *,
    cancel: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Decode the main video and every sound of a master, closed off; `on_progress` is told the done share, 0 to 1.

    Raises:
        TranscodingError: something in it is damaged; the message names the time of the first damage.
        TransientError: cancelled or killed.
    """
    last = ffmpeg.Progress(0.0, 0)
    length = float(source.offset + source.duration)

    def follow(progress: ffmpeg.Progress) -> None:
        nonlocal last
        last = progress
        if on_progress is not None:
            on_progress(min(1.0, progress.seconds / length))

    limit = _LEAST_TIMEOUT_S + _PATIENCE * length
    closed = ffmpeg.confined(source.path, timeout_s=limit, memory_mb=_MEMORY_MB)
    try:
        done = ffmpeg.run(
            decode_arguments(source), timeout_s=limit, on_progress=follow, cancel=cancel, strict=True, sandbox=closed
        )
    except TransientError:
        raise
    except TranscodingError as error:
        raise TranscodingError(f"{source.path.name}: damaged near {_time(source, last)}: {error}") from None
    if done.frames < source.frames * (1 - _MISSING) - 2:
        raise TranscodingError(f"{source.path.name}: only {done.frames} of its {source.frames} frames can be decoded")


def decode_arguments(source: Source) -> list[str]:
    """ffmpeg's arguments: everything that would be encoded, decoded to nothing; the first error ends it."""
    tracks = [source.video_index, *(track.index for track in source.audio)]
    return [
        "-hide_banner", "-nostdin", "-v", "error", "-nostats", "-progress", "pipe:1", "-stats_period", "0.2", "-xerror",
        "-err_detect", "explode", "-threads", str(_THREADS), "-protocol_whitelist", "file,pipe",
        "-format_whitelist", source.container, "-i", f"file:{source.path}",
        *(word for track in tracks for word in ("-map", f"0:{track}")), "-fps_mode", "passthrough", "-f", "null", "-",
    ]  # fmt: skip


def _time(source: Source, last: ffmpeg.Progress) -> str:
    """Where decoding stopped: by the frames that came out, because sound runs ahead of them; a few are on their way."""
    frames = float(source.offset + last.frames / source.frame_rate)
    seconds = min(frames, last.seconds) if last.frames < source.frames else last.seconds
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
