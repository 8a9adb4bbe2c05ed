"""What short encodes say of a film: quality against rate for every size, and the ladder that follows from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One short encode: `sample` is the number of its piece of the film, which begins at `start_s`.

    `kbps` is the rate of the picture alone; `vmaf` is the mean over the piece, measured at the source's size.
    """

    codec: str
    height: int
    crf: int
    sample: int
    start_s: float
    kbps: float
    vmaf: float
