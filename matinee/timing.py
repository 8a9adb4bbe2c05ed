"""When frames are shown: what the time stamps of a film's packets say. Pure functions."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil

MAX_RATE = 60  # frames/s that are shown at most
_USUAL = (
    "12", "25/2", "15", "24000/1001", "24", "25", "30000/1001", "30", "48000/1001", "48", "50", "60000/1001", "60",
)  # fmt: skip
_RATES = tuple(Fraction(rate) for rate in _USUAL)
_SLOWEST = Fraction(1, 1001)  # what `limit_denominator` can still tell from standing still
_SLOWEST_SHOWN = 1

Packet = tuple[int | None, int | None, bool]
"""When it is shown and when it is decoded, in units of its stream, and whether it is a key frame."""


def shown(packets: Iterable[Packet]) -> list[int]:
    """When frames are shown, sorted, each once; by the time of decoding where a container knows no other."""
    return sorted({time for pts, dts, _ in packets if (time := dts if pts is None else pts) is not None})


def seek_margin(packets: Sequence[Packet]) -> int:
    """How long before a point to seek so that every frame on screen at and after it is decoded, in units of the times.

    The longest that a frame stays on screen, because the one on screen began before the point; the longest that one
    waits for its turn, because some indexes are in the order of decoding; and the longest way between two key
    frames, so that landing one key frame late does no harm.
    """
    times, keys = shown(packets), shown(packet for packet in packets if packet[2])
    waits = [pts - dts for pts, dts, _ in packets if pts is not None and dts is not None]
    longest = [max((b - a for a, b in pairwise(points)), default=0) for points in (times, [*keys, times[-1]])]
    return sum(longest) + max(waits, default=0)


def frame_rate(times: Sequence[int], base: Fraction, declared: Fraction | None = None) -> tuple[Fraction, bool]:
    """The natural frame rate behind sorted time stamps (units of `base` seconds), and whether they are evenly spaced.

    It comes from the median step, which a dropped frame or a slow phone does not move; a single frame has the declared
    rate. Steps may differ by two ticks or a tenth: containers that count milliseconds round every one of them. For the
    same reason the declared rate wins where the evenly spaced times bear it out to half a percent, or to a tick.
    """
    if len(times) < 2:
        return max(_SLOWEST, declared or Fraction(25)), True
    steps = [after - before for before, after in pairwise(times)]
    middle = sorted(steps)[len(steps) // 2]
    steady = all(abs(step - middle) <= max(2, middle / 10) for step in steps)
    rate = 1 / ((times[-1] - times[0]) * base / len(steps) if steady else middle * base)
    if steady and declared and abs(declared / rate - 1) <= max(Fraction(1, 200), Fraction(1, times[-1] - times[0])):
        return max(_SLOWEST, declared), True
    return max(_SLOWEST, rate.limit_denominator(1001)), steady


def output_rate(rate: Fraction, *, interlaced: bool, steady: bool) -> Fraction:
    """Frames/s at which a film of this natural rate is shown: fields become frames, 60 at most, uneven gets even.

    Less than a frame a second, as in a slideshow, becomes the slowest usual rate: segments are made of whole frames.
    """
    rate = rate * (2 if interlaced else 1)
    rate /= max(1, ceil(rate / MAX_RATE))
    nearest = min(_RATES, key=lambda usual: abs(usual - rate))
    return nearest if not steady or rate < _SLOWEST_SHOWN or abs(nearest / rate - 1) < Fraction(1, 2000) else rate
