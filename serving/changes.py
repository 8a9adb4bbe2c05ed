"""What others committed, as this process hears of it: topics of the outbox, by PostgreSQL's LISTEN.

Hearing makes caches quick to change, it promises nothing: who must not miss anything polls as well, or reads by a
`Consumer`. When the connection was lost everything counts as changed.
"""

import asyncio
import logging
from collections.abc import Callable

import psycopg

from matinee.db.outbox import CHANNEL
from matinee.settings import Settings
from serving import tasks

_PAUSE_S = 0.5
log = logging.getLogger("matinee.changes")


class Changes:
    """Made with the app, started and stopped by its lifespan."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database()
        self._listeners: dict[str, list[Callable[[str | None], None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    def on(self, topic: str, callback: Callable[[str | None], None]) -> None:
        """Call with the key of each change of the topic; None: many changed, or nobody knows which."""
        self._listeners.setdefault(topic, []).append(callback)

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        await tasks.end([self._task])

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=5
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self.listening.set()
                    for topic in self._listeners:
                        self._tell(topic, None)
                    async for notice in connection.notifies():
                        topic, _, key = notice.payload.partition(" ")
                        self._tell(topic, key or None)
            except psycopg.OperationalError as error:
                if self.listening.is_set():
                    log.warning("changes are not heard until PostgreSQL is back: %s", error)
            self.listening.clear()
            await asyncio.sleep(_PAUSE_S)

    def _tell(self, topic: str, key: str | None) -> None:
        for callback in self._listeners.get(topic, ()):
            try:
                callback(key)
            except Exception:
                log.exception("a listener of %s failed", topic)
