"""Read the session watermark back from a copy of a film, and name the session that it was given to.

Informed detection: the package's own variants A and B say what the picture would be without a mark. A copy may be a
piece of the film, scaled, cropped, re-encoded, and of another brightness and contrast; it must run at the film's speed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matinee.film import FORMATS
from transcoding.errors import TranscodingError
from transcoding.watermark import enlarge, grid

if TYPE_CHECKING:
    import av

Frames = NDArray[np.floating]  # frames x rows x columns, luma in levels of 8 bit

_OPEN = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
# Enough for the pattern's cells, and little enough that the noise of a copy averages out.
WIDTH = 192
_THUMB = (16, 9)
_WINDOW_FRAMES = 8
_DECOYS = 128
# How many standard deviations of what other patterns give a segment must show before its bit is believed.
CONFIDENT = 3.0
_LEAST_LIKENESS = 0.5
# The first frames of a segment in a re-encoded copy are predicted from the segment before and still show its mark.
_SETTLING = 0.25
# More segments than this are not read: so many bits name one session among any number that a service will ever have.
MOST_SEGMENTS = 240


@dataclass(frozen=True)
class Marked:
    """What the detector needs of a package: how its film runs, and the bytes of its files.

    `read` gives the clear bytes of a file, named below the package: `video/<rung>/NNNNN.m4s` and so on. `guide` is the
    rung by which a copy is found in time (the smallest), `rung` the marked one.
    """

    title_id: str
    frame_rate: Fraction
    frames: int
    segment_frames: int
    width: int
    height: int
    rung: str
    guide: str
    read: Callable[[str], bytes]

    @property
    def segments(self) -> int:
        return -(-self.frames // self.segment_frames)


@dataclass(frozen=True)
class Window:
    """Where a copy lies in the film's picture: copy (0..1) -> film (0..1) is `x * width + left`, `y * height + top`."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


@dataclass(frozen=True)
class Reading:
    """What one segment of a copy says. `score` in standard deviations of what other patterns give: > 0 is variant A."""

    segment: int
    frames: int
    score: float

    @property
    def bit(self) -> int | None:
        """0 for A, 1 for B, None where it cannot be read."""
        return None if abs(self.score) < CONFIDENT else int(self.score < 0)


@dataclass(frozen=True)
class Copy:
    """A copy as it was found: `first_frame` is the film's frame (may be negative) that its beginning shows."""

    first_frame: int
    likeness: float
    window: Window
    readings: tuple[Reading, ...]


def read_copy(path: Path, marked: Marked, secret_key: bytes, on_progress: Callable[[float], object] = float) -> Copy:
    """Find a copy in its film and read a bit from every segment it holds (of a long one, from `MOST_SEGMENTS`).

    `on_progress` hears the fraction that is done.

    Raises:
        TranscodingError: the file cannot be decoded, or shows nothing of this film.
    """
    from threadpoolctl import threadpool_limits

    # Threads of small matrix products only wait for one another.
    with threadpool_limits(1):
        return _read_copy(path, marked, secret_key, on_progress)


def _read_copy(path: Path, marked: Marked, secret_key: bytes, on_progress: Callable[[float], object]) -> Copy:
    seen = _on_grid(path, marked.frame_rate, *_THUMB)
    on_progress(0.1)
    film = np.concatenate([_segment(marked, marked.guide, "video", n, *_THUMB) for n in range(marked.segments)])
    on_progress(0.3)
    first, likeness = place(seen, film)
    if likeness < _LEAST_LIKENESS:
        likeness_text = f"its likeness is {likeness:.2f}, {_LEAST_LIKENESS} is the least"
        raise TranscodingError(f"{path.name} does not show {marked.title_id}: {likeness_text}")
    wanted = _every(shown_segments(first, len(seen), marked), MOST_SEGMENTS)
    window = _find_window(path, marked, first, _every(wanted, _WINDOW_FRAMES))
    on_progress(0.4)
    probe, readings = _Probe(marked, secret_key, window), []
    for number, places, frames in _pairs(path, marked, first, wanted):
        readings.append(probe.reading(number, places, frames))
        on_progress(0.4 + 0.6 * len(readings) / len(wanted))
    return Copy(first, likeness, window, tuple(readings))


def shown_segments(first: int, frames: int, marked: Marked) -> list[int]:
    """The segments of which a copy that begins at the film's frame `first` and has so many frames shows something."""
    length = marked.segment_frames
    return [n for n in range(marked.segments) if first < (n + 1) * length and first + frames > n * length]


def _every(numbers: Sequence[int], most: int) -> Sequence[int]:
    """At most so many of them, evenly spread."""
    return numbers[:: max(1, -(-len(numbers) // most))]


def place(seen: Frames, film: Frames) -> tuple[int, float]:
    """The film's frame at which a copy begins (may be negative), and the likeness there, 0 to 1.

    Both are thumbnails at one rate. What is compared is how each thumbnail differs from the mean one, so brightness,
    contrast and a small crop matter little; all places are tried at once by convolution.
    """
    from scipy.signal import fftconvolve

    a, b = _signature(seen), _signature(film)
    # Correlation over all lags: index k of the result is a copy that begins at film frame k - (len(a) - 1).
    match = sum(fftconvolve(b[:, i], a[::-1, i]) for i in range(a.shape[1]))
    ones_a, ones_b = np.ones(len(a)), np.ones(len(b))
    energy_b = np.maximum(fftconvolve((b**2).sum(1), ones_a), 1e-9)
    energy_a = np.maximum(fftconvolve(ones_b, (a**2).sum(1)[::-1]), 1e-9)
    overlap = fftconvolve(ones_b, ones_a)
    # An overlap of a few frames proves nothing.
    likeness = np.where(overlap >= min(len(a), len(b)) / 2, match / np.sqrt(energy_a * energy_b), -1.0)
    best = int(np.argmax(likeness))
    return best - (len(a) - 1), float(likeness[best])


def _signature(thumbs: Frames) -> NDArray[np.float64]:
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.maximum(flat.std(1, keepdims=True), 1.0)
    return flat - flat.mean(0)


class _Probe:
    """The pattern and its decoys as they lie in the copy's window, and the reading of one segment."""

    def __init__(self, marked: Marked, secret_key: bytes, window: Window) -> None:
        self.marked, self.window = marked, window
        self.height = detection_height(marked)
        names = [marked.title_id, *(f"decoy {n}\0{marked.title_id}" for n in range(_DECOYS))]
        patterns = np.stack([enlarge(grid(secret_key, name), WIDTH, self.height) for name in names])
        self.patterns = stretch(patterns.astype(np.float32), window).reshape(len(names), -1)

    def reading(self, number: int, places: Sequence[int], frames: Frames) -> Reading:
        """`frames` of the copy show the film's frames `places` (from the segment's start)."""
        a = _segment(self.marked, self.marked.rung, "video", number, WIDTH, self.height)
        b = _segment(self.marked, self.marked.rung, "variants", number, WIDTH, self.height)
        settled = _SETTLING * self.marked.segment_frames
        keep = [n for n, at in enumerate(places) if settled <= at < min(len(a), len(b))]
        if not keep:
            return Reading(number, 0, 0.0)
        at = [places[n] for n in keep]
        mean = stretch((a[at] + b[at]) / 2, self.window)
        rest = np.stack([residual(seen, picture) for seen, picture in zip(frames[keep], mean, strict=True)])
        # Where the copy differs from the film anyway, by coding noise at edges and motion, it is believed less.
        noise = (rest**2).mean(0)
        weight = 1 / (noise + np.median(noise) + 1e-6)
        products = self.patterns @ (weight * rest.mean(0)).ravel()
        spread = math.sqrt(float((products[1:] ** 2).mean())) or 1.0
        return Reading(number, len(keep), float(products[0] / spread))


def residual(seen: Frames, picture: Frames) -> Frames:
    """What of a copy's frame its film's picture does not explain, under any brightness, contrast and gamma."""
    x = (picture.ravel() - picture.mean()) / 64.0
    basis = np.stack([np.ones_like(x), x, x * x])
    # A picture of one colour leaves the factors open, and then they do not matter.
    factors = np.linalg.pinv(basis @ basis.T) @ (basis @ seen.ravel())
    return (seen.ravel() - factors @ basis).reshape(seen.shape).astype(np.float32)


def detection_height(marked: Marked) -> int:
    return max(24, round(WIDTH * marked.height / marked.width))


def stretch(frames: Frames, window: Window) -> Frames:
    """What of film frames a copy with this window shows, at the same size, by linear interpolation."""
    below, share = _between(frames.shape[1], window.top, window.height)
    rows = frames[:, below] * (1 - share[:, None]) + frames[:, below + 1] * share[:, None]
    below, share = _between(frames.shape[2], window.left, window.width)
    return rows[:, :, below] * (1 - share) + rows[:, :, below + 1] * share


def _between(size: int, start: float, length: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Between which of `size` samples those of a stretch (0..1) lie: the lower one's number, the share of the other."""
    at = np.clip(((np.arange(size) + 0.5) / size * length + start) * size - 0.5, 0, size - 1)
    below = np.minimum(at.astype(np.intp), size - 2)
    return below, (at - below).astype(np.float32)


def _pairs(path: Path, marked: Marked, first: int, wanted: Sequence[int]) -> Iterator[tuple[int, list[int], Frames]]:
    """What the copy shows of the wanted segments: number, places of the frames within the segment, the frames."""
    segment, only = marked.segment_frames, set(wanted)
    timed = _timed(path, marked.frame_rate, WIDTH, detection_height(marked), lambda at: (at + first) // segment in only)
    for number, run in groupby(timed, key=lambda frame: (frame[0] + first) // segment):
        frames = list(run)
        yield number, [(at + first) % segment for at, _ in frames], np.stack([picture for _, picture in frames])


def _find_window(path: Path, marked: Marked, first: int, wanted: Sequence[int]) -> Window:
    """Where the copy lies in the picture, from a frame of each wanted segment."""
    some = []
    for number, places, frames in _pairs(path, marked, first, wanted):
        film = _segment(marked, marked.rung, "video", number, WIDTH, detection_height(marked))
        middle = len(places) // 2
        if places[middle] < len(film):
            some.append((frames[middle], film[places[middle]]))
    if not some:
        return Window()
    return fit_window(np.stack([seen for seen, _ in some]), np.stack([film for _, film in some]))


def fit_window(seen: Frames, film: Frames) -> Window:
    """The window of the film's picture that explains the copy best: axis-aligned, by coarse search and then Powell's.

    Sizes are equal: frames x rows x columns. The measure is the mean correlation of the frames.
    """
    from scipy.optimize import minimize

    wanted = _normal(seen)

    def unlikeness(values: NDArray[np.float64]) -> float:
        return 1 - float((_normal(stretch(film, _window(values))) * wanted).sum(1).mean())

    starts = [np.array([x, y, x, y]) for x in (0.0, 0.03, 0.06) for y in (0.0, 0.03, 0.06)]
    start = min(starts, key=unlikeness)
    bounds = [(-0.02, 0.2)] * 4
    found = minimize(unlikeness, start, method="Powell", bounds=bounds, options={"xtol": 1e-4, "ftol": 1e-8})
    return _window(found.x)


def _window(edges: Sequence[float] | NDArray[np.float64]) -> Window:
    """From what is cut away left, above, right and below."""
    left, top, right, bottom = (float(edge) for edge in edges)
    return Window(left, top, 1 - left - right, 1 - top - bottom)


def _normal(frames: Frames) -> Frames:
    flat = frames.reshape(len(frames), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _on_grid(path: Path, rate: Fraction, width: int, height: int) -> Frames:
    """A copy at the film's rate: for each moment of the grid the frame that is shown then."""
    shown = list(_timed(path, rate, width, height))
    if not shown:
        raise TranscodingError(f"{path.name}: no picture can be decoded")
    last, grid_frames = 0, []
    for at in range(shown[-1][0] + 1):
        while last + 1 < len(shown) and shown[last + 1][0] <= at:
            last += 1
        grid_frames.append(shown[last][1])
    return np.stack(grid_frames)


def _timed(
    path: Path, rate: Fraction, width: int, height: int, wanted: Callable[[int], bool] | None = None
) -> Iterator[tuple[int, Frames]]:
    """Wanted frames of a copy with their places on a grid of `rate`, counted from its first frame."""
    import av
    from av.error import FFmpegError

    begin: float | None = None
    try:
        with av.open(f"file:{path}", mode="r", metadata_errors="ignore", options=_OPEN) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                seconds = float(frame.time or 0.0)
                begin = seconds if begin is None else begin
                at = round((seconds - begin) * float(rate))
                if wanted is None or wanted(at):
                    yield at, _luma(frame, width, height)
    except (FFmpegError, IndexError) as error:
        raise TranscodingError(f"{path.name}: its picture cannot be decoded ({error})") from None


def _segment(marked: Marked, rung: str, kind: str, number: int, width: int, height: int) -> Frames:
    """A segment of the package, decoded and scaled."""
    import av
    from av.error import FFmpegError

    name = f"{kind}/{rung}/{number:05d}.m4s"
    data = marked.read(f"video/{rung}/init.mp4") + marked.read(name)
    try:
        with av.open(BytesIO(data), mode="r", format="mp4") as container:
            return np.stack([_luma(frame, width, height) for frame in container.decode(video=0)])
    except (FFmpegError, ValueError) as error:
        raise TranscodingError(f"{name} cannot be decoded ({error})") from None


def _luma(frame: "av.VideoFrame", width: int, height: int) -> Frames:
    # With fractions of a level: the pattern is as faint as rounding.
    small = frame.reformat(width, height, format="gray16le", interpolation="AREA")
    return small.to_ndarray().astype(np.float32) / 256
