"""Exposures: the API itself tells the event log which variant an account was shown, once a day and experiment."""

import logging
from collections.abc import Callable
from datetime import datetime

import orjson
from redis import RedisError
from redis.asyncio import Redis

from ingest.errors import LogUnavailableError
from ingest.intake import accept
from matinee.clock import Clock
from matinee.contracts.events import SCHEMA_MAJOR, SCHEMA_NAME
from matinee.ids import uuid7
from models.experiments.assignment import Experiment
from serving.events.core import Log

log = logging.getLogger("matinee.api")
_DAY_S = 86_400
_MEMO_SIZE = 100_000


class Exposures:
    def __init__(self, client: Redis, event_log: Log, clock: Clock) -> None:
        self._client, self._log, self._clock = client, event_log, clock
        self._told: set[tuple[str, str, str]] = set()

    async def tell(
        self, account_id: str, session_id: str, variants: dict[Experiment, str], bot: Callable[[], str | None]
    ) -> None:
        """Log the exposures that were not logged today. Without Redis none is: the page matters more.

        `bot` says why the sender counts as one; it is asked only where something is logged.
        """
        now = self._clock.now()
        day = now.date().isoformat()
        fresh = {e: v for e, v in variants.items() if (account_id, e.name, day) not in self._told}
        if not fresh:
            return
        if len(self._told) + len(fresh) > _MEMO_SIZE:
            self._told.clear()
        self._told |= {(account_id, experiment.name, day) for experiment in fresh}
        try:
            await self._append(account_id, session_id, fresh, now, bot)
        except (RedisError, LogUnavailableError) as error:
            self._told -= {(account_id, experiment.name, day) for experiment in fresh}
            log.warning(orjson.dumps({"event": "exposure_not_logged", "reason": type(error).__name__}).decode())

    async def _append(
        self,
        account_id: str,
        session_id: str,
        variants: dict[Experiment, str],
        now: datetime,
        bot: Callable[[], str | None],
    ) -> None:
        marks = {e: f"exposure:{e.name}:{e.salt}:{now.date().isoformat()}:{account_id}" for e in variants}
        first = [e for e, mark in marks.items() if await self._client.set(mark, b"1", nx=True, ex=2 * _DAY_S)]
        if not first:
            return
        events = [_event(e, variants[e], session_id, now, self._clock) for e in first]
        batch = accept(events, received_at=now, origin="live", account_id=account_id, bot=bot())
        try:
            await self._log.append(batch.entries)
        except LogUnavailableError:
            await self._client.delete(*(marks[e] for e in first))
            raise


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
