"""The sweep of every API process: what a crash left half done waits a minute or two, not for a schedule."""

import asyncio
import logging
import random
from importlib import import_module

import psycopg
import psycopg_pool

from matinee.errors import MatineeError
from serving.billing.payments.desk import Desk
from serving.tasks import end

_EVERY_S = 60.0
_WARM_S = 2.0  # after the API is live
_MOST = 50  # of each sort at once: requests come first, and each takes some hundredth of a second
log = logging.getLogger("matinee.billing")


class Sweeping:
    """Runs beside the requests from `start` to `close`; several processes share the work."""

    def __init__(self, desk: Desk, every_s: float = _EVERY_S) -> None:
        self._desk, self._every_s = desk, every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        await end([self._task])

    async def _run(self) -> None:
        await asyncio.sleep(_WARM_S)
        # A provider's library takes a third of a second to import: not the first buyer's, nor the loop's.
        await asyncio.to_thread(import_module, f"serving.billing.providers.{self._desk.settings.payments}")
        while True:
            await asyncio.sleep(self._every_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that processes take turns
            from serving.billing.payments.sweep import sweep

            try:
                done = await sweep(self._desk, self._desk.clock.now(), most=_MOST)
            except (MatineeError, psycopg.Error, psycopg_pool.PoolTimeout) as error:
                log.warning("the sweep of payments has to wait: %s", error)
                continue
            except Exception:
                log.exception("the sweep of payments stumbled over a defect: tried again in %.0f s", self._every_s)
                continue
            if any((done.payments, done.refunds, done.notices, done.abandoned, done.failed)):
                log.info("swept: %s", done)
