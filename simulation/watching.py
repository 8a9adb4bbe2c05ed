"""What happens after play: how long it takes to start, how often it stalls, when the viewer leaves."""

from dataclasses import dataclass

import numpy as np

from simulation.parameters import Behaviour

RENDITIONS = ("240p", "360p", "480p", "720p", "1080p")
_KBPS = np.array([400, 800, 1_600, 3_000, 5_500])
# Nobody leaves between these shares of a title, so that how a runtime is rounded cannot decide a completion.
_LEAVES_BEFORE, _COMPLETES_FROM = 0.88, 0.93


@dataclass(frozen=True)
class Watched:
    """Plays, by position: milliseconds, bits, and how it ended."""

    played_ms: np.ndarray
    startup_ms: np.ndarray
    stall_ms: np.ndarray
    stalls: np.ndarray
    paused_ms: np.ndarray
    bits: np.ndarray
    rendition: np.ndarray
    completed: np.ndarray
    failed: np.ndarray

    @property
    def wall_ms(self) -> np.ndarray:
        """From the first frame to the end."""
        return self.played_ms + self.stall_ms + self.paused_ms


DRAWS = 10


def watch(
    match: np.ndarray, runtime_ms: np.ndarray, mbps: np.ndarray, draws: np.ndarray, behaviour: Behaviour
) -> Watched:
    """Watch titles of these runtimes with this match to one's taste (0 to 1); `draws`: uniform, plays x `DRAWS`."""
    speed = mbps * np.exp(0.7 * (draws[:, 0] - 0.5))
    rendition = np.clip(np.searchsorted(_KBPS * 1.3, speed * 1000) - 1, 0, len(RENDITIONS) - 1)
    startup = (350 + 2_500 * -np.log1p(-draws[:, 1] * 0.999) / np.maximum(speed, 0.5)).astype(np.int64)
    # Slow connections stall; a longer title has more time to.
    risk = np.minimum(0.04 + 0.5 / (1 + speed) + runtime_ms / 9e7, 0.9)
    stalls = np.floor(np.log(np.maximum(draws[:, 2], 1e-9)) / np.log(risk)).astype(np.int64).clip(0, 12)
    stall_ms = (stalls * (400 + 3_000 * draws[:, 3])).astype(np.int64)
    paused_ms = np.where(draws[:, 4] < 0.06, 1_000 + 180_000 * draws[:, 5] ** 3, 0).astype(np.int64)

    hazard = behaviour.hazard * np.exp(-behaviour.match_holds * match + behaviour.stall_hurts * np.minimum(stalls, 4))
    share = -np.log1p(-draws[:, 6] * 0.999999) / hazard
    failed = draws[:, 7] < 0.006
    share = np.where(failed, share.clip(0, 0.8) * draws[:, 8], share)
    completed = share >= _LEAVES_BEFORE
    ending = _COMPLETES_FROM + (1 - _COMPLETES_FROM) * draws[:, 9]
    played_ms = (np.where(completed, ending, share) * runtime_ms).astype(np.int64)
    return Watched(
        played_ms=played_ms,
        startup_ms=startup,
        stall_ms=stall_ms,
        stalls=stalls,
        paused_ms=paused_ms,
        bits=played_ms * _KBPS[rendition],
        rendition=rendition,
        completed=completed,
        failed=failed,
    )
