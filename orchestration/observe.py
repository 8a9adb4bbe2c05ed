"""Progress of long work as Dagster sees it: observations of the asset while it is being made."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from transcoding.build import TitleProgress

_EVERY_S = 15.0


class Reporter:
    """Hears of every step of every title and writes an observation now and then; safe to call from any thread."""

    def __init__(
        self, context: dg.AssetExecutionContext, every_s: float = _EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._context, self._every_s, self._now = context, every_s, now
        self._lock = threading.Lock()
        self._titles: dict[str, TitleProgress] = {}
        self._told = now()

    def heard(self, step: "TitleProgress") -> None:
        with self._lock:
            self._titles[step.title_id] = step
            if self._now() - self._told < self._every_s:
                return
            self._told = self._now()
            metadata = self._metadata()
        self._context.log_event(dg.AssetObservation(asset_key=self._context.asset_key, metadata=metadata))

    def _metadata(self) -> dict[str, Any]:
        under_way = [step for step in self._titles.values() if step.fraction < 1]
        left = [step.seconds_left for step in under_way if step.seconds_left is not None]
        return {
            "titles done": len(self._titles) - len(under_way),
            "titles under way": len(under_way),
            "progress of these": {step.title_id: round(step.fraction, 3) for step in under_way},
            # One queue for all: what is left of a title waits for the others too.
            "seconds left": round(sum(left)) if left else "not known yet",
        }
