"""What a viewer sees above the seek bar: sprites of small pictures, and a WebVTT file that says where each belongs."""

import math
import threading
from fractions import Fraction
from pathlib import Path

from matinee.cues import Cue, webvtt
from transcoding import ffmpeg
from transcoding.arguments import QUIET
from transcoding.errors import TranscodingError
from transcoding.plan import Plan, Rung
from transcoding.trick import pictures, playlist, trick_rung

COLUMNS = ROWS = 10
_WIDTH = 240
_QUALITY = 5  # of JPEG, as ffmpeg counts: 2 is the best, 31 the worst
_TIMEOUT_S = 300


def write_thumbnails(draft: Path, plan: Plan, *, cancel: threading.Event | None = None) -> None:
    """Write `thumbnails/sprite-000.jpg`, ... and `thumbnails/thumbnails.vtt` from the I-frames of a draft.

    Only the I-frames that are shown are decoded.

    Raises:
        TranscodingError: there are no I-frames, or ffmpeg failed.
    """
    rung = trick_rung(plan, draft)
    folder, every = draft / "thumbnails", interval(plan.duration)
    frames = draft / "iframes" / rung.name
    folder.mkdir(parents=True)
    names = [f"{second:05d}.m4s" for second in range(0, pictures(plan), every)]
    width, height = size(rung)
    rows = min(ROWS, math.ceil(len(names) / COLUMNS))
    with playlist(frames, names, Fraction(1)) as listed:
        ffmpeg.run(
            [
                *QUIET, "-protocol_whitelist", "file,pipe", "-i", f"file:{listed.relative_to(draft)}",
                # One output frame for each that is decoded: their times have gaps, and none of them matters.
                "-fps_mode", "passthrough", "-vf",
                f"setpts=N/TB,scale={width}:{height}:flags=area:out_range=pc,format=yuvj420p,tile={COLUMNS}x{rows}",
                "-q:v", str(_QUALITY), "-start_number", "0", f"{folder.name}/sprite-%03d.jpg",
            ],
            cwd=draft,
            timeout_s=_TIMEOUT_S,
            cancel=cancel,
        )  # fmt: skip
    made, expected = len(list(folder.glob("sprite-*.jpg"))), math.ceil(len(names) / (COLUMNS * ROWS))
    if made != expected:
        raise TranscodingError(f"{made} thumbnail sprites were made, {expected} were expected")
    written = webvtt(thumbnail_cues(len(names), every, plan.duration, (width, height)))
    (folder / "thumbnails.vtt").write_text(written)


def interval(duration: Fraction) -> int:
    """Seconds from one thumbnail to the next: ten, in short films fewer, so that there are some."""
    return 10 if duration >= 120 else 2 if duration >= 20 else 1


def size(rung: Rung) -> tuple[int, int]:
    """Width and height of a thumbnail in pixels, never larger than the rung."""
    width = min(_WIDTH, rung.width)
    return width, max(2, 2 * round(width * rung.height / rung.width / 2))


def thumbnail_cues(count: int, every: int, duration: Fraction, tile: tuple[int, int]) -> list[Cue]:
    """One cue a thumbnail: its part of a sprite as a media fragment, until the next one or the film's end."""
    end = max(1, int(duration * 1000))
    width, height = tile
    cues = []
    for number in range(count):
        sprite, place = divmod(number, COLUMNS * ROWS)
        row, column = divmod(place, COLUMNS)
        area = f"{column * width},{row * height},{width},{height}"
        start = min(number * every * 1000, end - 1)
        cues.append(Cue(start, min((number + 1) * every * 1000, end), f"sprite-{sprite:03d}.jpg#xywh={area}"))
    return cues
