"""Intro and credits from what was heard and seen: pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transcoding.markers.fingerprint import HOP, RATE, Run, Words, longest_common

WORDS_PER_S = RATE // HOP
INTRO_S, CREDITS_S = (10.0, 120.0), (10.0, 600.0)
# Where they may be: an intro in the first third, credits in the last quarter.
_INTRO_WITHIN, _CREDITS_FROM = 1 / 3, 3 / 4
_MOST_WRONG = 0.3  # of the bits of a run
_TO_THE_END_S = 15.0  # credits that stop so soon before the end last to the end
# A picture of credits: nearly all of it black, a little of it bright.
_DARK, _BRIGHT = 40, 90
_DARK_SHARE, _WRITTEN = 0.75, (0.002, 0.25)
_PICTURE_S = (10.0, 900.0)
_PICTURE_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Marker:
    """A stretch of a title, in seconds. `source`: 'sound' or 'picture'. `confidence`: 0 to 1."""

    kind: str
    start: float
    end: float
    source: str
    confidence: float


@dataclass(frozen=True)
class Shared:
    """What two titles have in common: the markers that it gives to each."""

    own: tuple[Marker, ...]
    sibling: tuple[Marker, ...]


def share(own: Words, sibling: Words) -> Shared:
    """The markers that two episodes give each other by the sound that they share."""
    found = [*_intro(own, sibling), *_credits(own, sibling)]
    return Shared(tuple(ours for ours, _ in found), tuple(theirs for _, theirs in found))


def best(markers: Iterable[Marker]) -> dict[str, Marker]:
    """Of each kind the one to believe: by sound before by picture, then the more certain."""
    ranked = sorted(markers, key=lambda marker: (marker.source == "sound", marker.confidence))
    return {marker.kind: marker for marker in ranked}


def _intro(own: Words, sibling: Words) -> list[tuple[Marker, Marker]]:
    ends = [int(len(words) * _INTRO_WITHIN) for words in (own, sibling)]
    run = longest_common(own[: ends[0]], sibling[: ends[1]])
    if run is None or not _plausible(run, INTRO_S):
        return []
    return [(_marker("intro", run), _marker("intro", run.turned()))]


def _credits(own: Words, sibling: Words) -> list[tuple[Marker, Marker]]:
    starts = [int(len(words) * _CREDITS_FROM) for words in (own, sibling)]
    run = longest_common(own[starts[0] :], sibling[starts[1] :])
    if run is None or not _plausible(run, CREDITS_S):
        return []
    own_from, sibling_from = (start / WORDS_PER_S for start in starts)
    run = Run(run.start + own_from, run.other_start + sibling_from, run.length, run.error)
    return [
        (
            _marker("credits", run, len(own) / WORDS_PER_S),
            _marker("credits", run.turned(), len(sibling) / WORDS_PER_S),
        )
    ]


def _plausible(run: Run, length: tuple[float, float]) -> bool:
    return length[0] <= run.length <= length[1] and run.error <= _MOST_WRONG


def _marker(kind: str, run: Run, duration: float | None = None) -> Marker:
    end = run.end if duration is None or duration - run.end > _TO_THE_END_S else duration
    return Marker(kind, run.start, end, "sound", round(1 - 2 * run.error, 3))


def written_end(frames: NDArray[np.uint8], begin: float, duration: float) -> Marker | None:
    """Credits by the picture: the dark, written stretch that lasts to the end of a film.

    `frames`: one a second (seconds x rows x columns of luma) of the film from `begin` on. One frame in ten may look
    otherwise.
    """
    dark = (frames < _DARK).mean((1, 2))
    bright = (frames > _BRIGHT).mean((1, 2))
    black = dark > 1 - _WRITTEN[0]
    written = (dark >= _DARK_SHARE) & (bright >= _WRITTEN[0]) & (bright <= _WRITTEN[1])
    start = _suffix(written | black)
    # A black end, or black before the first line, is no writing.
    start += int(np.argmax(written[start:])) if written[start:].any() else len(frames) - start
    length = len(frames) - start
    if not _PICTURE_S[0] <= length <= _PICTURE_S[1] or start == 0 or written[start:].mean() < 0.5:
        return None
    return Marker("credits", begin + start, duration, "picture", _PICTURE_CONFIDENCE)


def _suffix(fits: Sequence[bool] | NDArray[np.bool_]) -> int:
    """Where the longest end of it begins that fits to nine tenths, itself beginning with one that fits."""
    backwards = np.asarray(fits)[::-1]
    shares = np.cumsum(backwards) / np.arange(1, len(backwards) + 1)
    good = np.flatnonzero((shares >= 0.9) & backwards)
    return len(backwards) - 1 - int(good[-1]) if len(good) else len(backwards)
