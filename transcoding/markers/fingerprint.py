"""Audio fingerprints: a 32-bit word for every eighth of a second, nearly the same however the sound was coded.

After J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: the signs of the differences
of energy between 33 neighbouring bands from 300 to 2000 Hz and between neighbouring moments. Ours are wider in time
(words are for finding minutes, not for looking up seconds) and take the logarithm of the energies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHOD = "bands-1"  # changes with everything that changes the words
RATE = 8000  # Hz, mono
HOP = 1000  # samples: eight words a second
_FRAME = 4096
_STEP = 2  # hops between the two moments that a word compares
_LOW, _HIGH, _BITS = 300.0, 2000.0, 32
_QUIET = 1e-3  # RMS of full scale: what is softer says nothing
_FULL = 32768
_FLOOR, _RISE = 1e-2, 0.02
_BLOCK = 2048  # frames at once
# Unrelated words differ in 16 bits of 32, those of the same sound in two to eight.
_ALIKE = 10.5
_LAG, _STEADY = 8, 5.0

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Run:
    """A stretch of sound that two fingerprints share; seconds from the beginning of each.

    `error` is the share of bits in which they differ.
    """

    start: float
    other_start: float
    length: float
    error: float

    @property
    def end(self) -> float:
        return self.start + self.length

    def turned(self) -> "Run":
        """The same stretch as the other one sees it."""
        return Run(self.other_start, self.start, self.length, self.error)


def fingerprint(samples: NDArray[np.int16]) -> Words:
    """Words of a mono signal of `RATE` Hz; 0 where it is silent or steady. Word n belongs to second n / 8."""
    padded = np.pad(samples, _FRAME // 2)
    count = 1 + (len(padded) - _FRAME) // HOP
    window = np.hanning(_FRAME).astype(np.float32)
    edges = np.geomspace(_LOW, _HIGH, _BITS + 2) * _FRAME / RATE
    energies, loud = np.empty((count, _BITS + 1)), np.empty(count, dtype=bool)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        frames = np.stack([padded[n * HOP : n * HOP + _FRAME] for n in range(first, last)]).astype(np.float32) / _FULL
        spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
        energies[first:last] = np.add.reduceat(spectrum, edges.astype(int), axis=1)[:, :-1]
        loud[first:last] = np.sqrt((frames**2).mean(1)) > _QUIET
    # What is far softer than the rest of its moment is the coder's, not the sound's.
    bands = np.log(energies + _FLOOR * energies.mean(1, keepdims=True) + 1e-9)
    slopes = bands[:, :-1] - bands[:, 1:]
    signs = np.zeros((count, _BITS), dtype=bool)
    signs[_STEP:] = slopes[_STEP:] > slopes[:-_STEP] + _RISE
    words = np.packbits(signs, axis=1, bitorder="little").view("<u4").ravel()
    return np.where(loud, words, 0).astype(np.uint32)


def longest_common(a: Words, b: Words) -> Run | None:
    """The stretch that two fingerprints share for longest, at any two places; None where they share nothing.

    For every offset between them the run of words with the highest sum of (10.5 - differing bits) is taken: its ends
    are sharp, and single words in it may be wrong. Silence and steady tones, which are like themselves anywhere, do not
    count.
    """
    fit_a, fit_b = _telling(a), _telling(b)
    best, found = 0.0, None
    for offset in range(-len(b) + 1, len(a)):
        start, end = max(0, offset), min(len(a), len(b) + offset)
        here, there = slice(start, end), slice(start - offset, end - offset)
        both = fit_a[here] & fit_b[there]
        if both.sum() <= best / _ALIKE:
            continue
        gains = np.where(both, _ALIKE - np.bitwise_count(a[here] ^ b[there]), -_ALIKE / 2)
        sums = np.concatenate([[0.0], np.cumsum(gains)])
        lows = np.minimum.accumulate(sums)
        last = int(np.argmax(sums - lows))
        if sums[last] - lows[last] > best:
            best = float(sums[last] - lows[last])
            first = int(np.argmin(sums[: last + 1]))
            found = start + first, start + last, offset
    if found is None:
        return None
    first, last, offset = found
    wrong = np.bitwise_count(a[first:last] ^ b[first - offset : last - offset]).mean() / _BITS
    # A word compares moments `_STEP` hops apart: the first of the run reaches back to where the sound began.
    begin, hop = first - _STEP / 2, HOP / RATE
    return Run(max(0.0, begin * hop), max(0.0, (begin - offset) * hop), (last - first - _STEP / 2) * hop, float(wrong))


def _telling(words: Words) -> NDArray[np.bool_]:
    """Words that can place a sound: neither silent nor much like those of a second later."""
    if len(words) <= _LAG:
        return np.zeros(len(words), dtype=bool)
    apart = np.bitwise_count(words[:-_LAG] ^ words[_LAG:]).astype(float)
    apart = np.concatenate([apart, np.full(_LAG, apart[-1])])
    around = np.convolve(apart, np.ones(_LAG) / _LAG, mode="same")
    return (words != 0) & (around > _STEADY)
