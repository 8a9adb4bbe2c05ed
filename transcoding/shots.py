"""Where the shots of a film are, found cheaply, and which pieces of it stand for the whole."""

import re
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import QUIET, input_arguments
from transcoding.plan import Chunk, Plan
from transcoding.source import Source

MOST_SAMPLES = 12
_WHOLE_S = 10  # a film up to this long is its own sample, and a longer one is not sampled less
_SHARE = 60  # of a long film one second in so many is sampled ...
_MOST_S = 48  # ... up to this many
_CUT = 10.0  # scdet's score, in per cent
_ALL_FRAMES_S = 120  # longer films are looked at by their key frames only
_APART_S = 0.25  # between frames that are looked at
_TIMEOUT_S = 3600
_LINE = re.compile(r"pts_time:(?P<time>-?[\d.]+)|lavfi\.scd\.score=(?P<score>[\d.]+)")


@dataclass(frozen=True)
class Sample:
    """A piece of the film: `window` begins at a key frame of the ladder and has whole GOPs; `weight` sums to one."""

    window: Chunk
    weight: float


def find_cuts(plan: Plan, source: Source, *, cancel: threading.Event | None = None) -> tuple[float, ...]:
    """Seconds at which a new shot begins, rising, without the beginning of the film.

    The picture is looked at in 64x36 pixels, four times a second; of a film over two minutes only the key frames are
    decoded, so that a cut is known to within their distance, which is enough to spread samples.

    Raises:
        TranscodingError: the picture cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="matinee-shots-") as folder:
        keys = ["-skip_frame", "nokey"] if plan.duration > _ALL_FRAMES_S else []
        graph = (
            f"[0:{source.video_index}]select=isnan(prev_selected_t)+gte(t-prev_selected_t\\,{_APART_S}),"
            "scale=64:36:flags=area,format=gray,scdet=threshold=0,metadata=mode=print:file=cuts.txt[out]"
        )
        arguments = [*QUIET, *keys, *input_arguments(plan, source), "-filter_complex", graph, "-map", "[out]"]
        arguments += ["-fps_mode", "passthrough", "-f", "null", "-"]
        closed = ffmpeg.confined(source.path, write=(Path(folder),), timeout_s=_TIMEOUT_S)
        ffmpeg.run(arguments, cwd=Path(folder), timeout_s=_TIMEOUT_S, cancel=cancel, sandbox=closed)
        return parse_cuts((Path(folder) / "cuts.txt").read_text())


def parse_cuts(told: str) -> tuple[float, ...]:
    """Times of the frames that ffmpeg's `scdet` scores as a cut, from what its `metadata` filter prints."""
    cuts, time = [], 0.0
    for match in _LINE.finditer(told):
        if match["time"]:
            time = float(match["time"])
        elif float(match["score"]) >= _CUT and time > 0:
            cuts.append(time)
    return tuple(cuts)


def sample_count(plan: Plan) -> int:
    """How many pieces a film is sampled by; its cuts do not matter."""
    return _amount(plan)[0]


def _amount(plan: Plan) -> tuple[int, int]:
    """Pieces, and GOPs in each."""
    grid = max(1, plan.frames // plan.gop)  # whole GOPs
    seconds = float(plan.duration)
    if seconds <= _WHOLE_S or grid == 1:
        return 1, grid
    gops = min(grid, max(1, round(min(_MOST_S, max(_WHOLE_S, seconds / _SHARE)) * plan.frame_rate / plan.gop)))
    count = min(MOST_SAMPLES, gops)
    return count, gops // count


def choose_samples(plan: Plan, cuts: Sequence[float]) -> tuple[Sample, ...]:
    """Pieces that stand for a film: all of a short one, twelve of four seconds of a long one.

    The film is cut into as many stretches as there are pieces, equal in the mean of two shares: of the time and of the
    shots. So a busy passage gets more pieces than the clock would give it, and a long take still gets some. The piece
    lies in the middle of its stretch, on the ladder's grid of GOPs, and weighs as much as its stretch is long.
    """
    count, length = _amount(plan)
    if count == 1:
        return (Sample(Chunk(0, 0, 0, 0, plan.frames), 1.0),)
    grid, gop_s, seconds = plan.frames // plan.gop, float(plan.gop / plan.frame_rate), float(plan.duration)
    apart = sorted(cut for cut in {round(cut, 1) for cut in cuts} if 0 < cut < seconds)
    edges = [_inverse(number / count, seconds, apart) for number in range(count + 1)]
    samples: list[Sample] = []
    free = 0  # the first GOP that no piece has taken
    for number, (start, end) in enumerate(pairwise(edges)):
        middle = round((start + end) / 2 / gop_s - length / 2)
        latest = grid - length * (count - number)  # leaves room for the pieces that follow
        first = min(max(free, middle), latest)
        free = first + length
        window = Chunk(number, 0, 0, first * plan.gop, length * plan.gop)
        samples.append(Sample(window, (end - start) / seconds))
    return tuple(samples)


def _inverse(share: float, seconds: float, cuts: Sequence[float]) -> float:
    """The time before which lies `share` of the film, half by the clock and half by its shots."""
    starts = [0.0, *cuts]
    low, high = 0.0, seconds
    for _ in range(40):
        middle = (low + high) / 2
        place = bisect_right(starts, middle) - 1
        end = starts[place + 1] if place + 1 < len(starts) else seconds
        shots = (place + (middle - starts[place]) / max(end - starts[place], 1e-9)) / len(starts)
        if (middle / seconds + shots) / 2 < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
