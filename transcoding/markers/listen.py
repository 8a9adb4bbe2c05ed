"""A master's sound and the end of its picture as arrays, read by a closed-off ffmpeg."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transcoding import ffmpeg
from transcoding.arguments import QUIET
from transcoding.markers.fingerprint import RATE, Words, fingerprint
from transcoding.source import Source

_LEAST_TIMEOUT_S, _PATIENCE = 300, 5
_END_SHARE, _END_S = 0.2, 600.0
_WIDTH, _HEIGHT = 160, 90


def words_of(source: Source, scratch: Path) -> Words:
    """The fingerprint of a master's first sound track; none without sound. Time 0 is that of its package.

    Raises:
        TranscodingError: ffmpeg cannot decode it.
    """
    if not source.audio:
        return np.zeros(0, dtype=np.uint32)
    sound = f"aresample={RATE}:async=1:first_pts=0"
    output = ["-map", f"0:{source.audio[0].index}", "-af", sound, "-ac", "1", "-f", "s16le"]
    return fingerprint(np.frombuffer(_decode(source, scratch, output), dtype="<i2"))


def end_of(source: Source, scratch: Path) -> tuple[NDArray[np.uint8], float]:
    """The last fifth of a film's picture (ten minutes at most), one small grey frame a second, and where it begins.

    Raises:
        TranscodingError: ffmpeg cannot decode it.
    """
    duration = float(source.offset + source.duration)
    begin = max(0.0, duration - min(_END_S, _END_SHARE * duration))
    picture = f"fps=1,scale={_WIDTH}:{_HEIGHT}:flags=area,format=gray"
    output = ["-map", f"0:{source.video_index}", "-vf", picture, "-f", "rawvideo"]
    raw = _decode(source, scratch, output, begin)
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, _HEIGHT, _WIDTH), begin


def _decode(source: Source, scratch: Path, output: list[str], begin: float = 0.0) -> bytes:
    limit = max(_LEAST_TIMEOUT_S, _PATIENCE * float(source.duration))
    with tempfile.TemporaryDirectory(prefix="~markers-", dir=scratch) as folder:
        raw = Path(folder) / "raw"
        seek = ["-ss", f"{begin:.3f}"] if begin else []
        ffmpeg.run(
            [
                *QUIET, "-protocol_whitelist", "file,pipe", "-format_whitelist", source.container, *seek,
                "-i", f"file:{source.path}", *output, f"file:{raw}",
            ],
            timeout_s=limit,
            sandbox=ffmpeg.confined(source.path, write=(Path(folder),), timeout_s=limit),
        )  # fmt: skip
        return raw.read_bytes()
