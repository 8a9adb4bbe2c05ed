"""Exposures: the API itself tells the event log which variant an account was shown, once a day and experiment.

No page waits for it: exposures are queued and written together. While Redis or the log do not answer they wait, up to
a limit; a day's mark in Redis keeps several API processes from telling the same.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from redis import RedisError
from redis.asyncio import Redis

from ingest.errors import LogUnavailableError
from ingest.intake import Entry, accept
from matinee.clock import Clock
from matinee.contracts.events import SCHEMA_MAJOR, SCHEMA_NAME
from matinee.ids import uuid7
from models.experiments.assignment import Experiment
from serving.events.core import Log

log = logging.getLogger("matinee.api")
PAUSE_S = 5.0  # between a write that failed and the next one
MOST_WAITING = 20_000
_TOGETHER = 1_000
_DAY_S = 86_400
_MEMO_SIZE = 100_000


@dataclass(eq=False, slots=True)
class _Exposure:
    """`mark`: the key of the account's day in Redis; `is_marked`: it is there, and ours."""

    mark: str
    event_id: str
    entries: Sequence[Entry]
    is_marked: bool = False


class Exposures:
    def __init__(self, client: Redis, event_log: Log, clock: Clock) -> None:
        self._client, self._log, self._clock = client, event_log, clock
        self._told: set[tuple[str, str, str]] = set()
        self._waiting: list[_Exposure] = []
        self._writing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def tell(
        self, account_id: str, session_id: str, variants: Mapping[Experiment, str], bot: Callable[[], str | None]
    ) -> None:
        """Queue the exposures that were not told today; while too many wait, none: a later page tells it.

        `bot` says why the sender counts as one; it is asked only where something is queued.
        """
        now = self._clock.now()
        day = now.date().isoformat()
        fresh = {e: v for e, v in variants.items() if (account_id, e.name, day) not in self._told}
        if not fresh or len(self._waiting) + len(fresh) > MOST_WAITING:
            return
        if len(self._told) + len(fresh) > _MEMO_SIZE:
            self._told.clear()
        self._told |= {(account_id, experiment.name, day) for experiment in fresh}
        why = bot()
        for experiment, variant in fresh.items():
            event = _event(experiment, variant, session_id, now, self._clock)
            batch = accept([event], received_at=now, origin="live", account_id=account_id, bot=why)
            mark = f"exposure:{experiment.name}:{experiment.salt}:{day}:{account_id}"
            self._waiting.append(_Exposure(mark, event["event_id"], batch.entries))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    async def close(self) -> None:
        """Write what waits, in one try; what cannot be written may be told by another process that day."""
        self._closing.set()
        if self._writing is not None:
            await self._writing
        marks = [exposure.mark for exposure in self._waiting if exposure.is_marked]
        if marks:
            with contextlib.suppress(RedisError):
                await self._client.delete(*marks)

    async def _write(self) -> None:
        while self._waiting:
            is_last = self._closing.is_set()
            batch = self._waiting[:_TOGETHER]
            try:
                await self._append(batch)
            except (RedisError, LogUnavailableError) as error:
                line = {"event": "exposures_wait", "reason": type(error).__name__, "waiting": len(self._waiting)}
                log.warning(orjson.dumps(line).decode())
                if is_last:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), PAUSE_S)
            else:
                del self._waiting[: len(batch)]

    async def _append(self, batch: Sequence[_Exposure]) -> None:
        unmarked = [exposure for exposure in batch if not exposure.is_marked]
        pipeline = self._client.pipeline(transaction=False)
        for exposure in unmarked:
            pipeline.set(exposure.mark, exposure.event_id, nx=True, ex=2 * _DAY_S)
            # Asked back, for the answer to a first try may have been lost.
            pipeline.get(exposure.mark)
        owners = (await pipeline.execute())[1::2] if unmarked else []
        for exposure, owner in zip(unmarked, owners, strict=True):
            exposure.is_marked = owner == exposure.event_id.encode()
        await self._log.append([entry for exposure in batch if exposure.is_marked for entry in exposure.entries])


def _event(experiment: Experiment, variant: str, session_id: str, now: datetime, clock: Clock) -> dict:
    return {
        "event_id": uuid7(clock),
        "schema": f"{SCHEMA_NAME}/{SCHEMA_MAJOR}.0",
        "session_id": session_id,
        "ts_client": now.isoformat(),
        "ts_sent": now.isoformat(),
        "type": "exposure",
        "experiments": {experiment.name: variant},
        "data": {"experiment": experiment.name, "variant": variant, "salt": experiment.salt},
    }
