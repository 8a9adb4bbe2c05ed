"""Redis reads of many requests in one command: whoever asks within a turn of the event loop shares an MGET."""

import asyncio

from redis.asyncio import Redis


class Lists:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._asked: dict[str, asyncio.Future[bytes | None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def get(self, key: str) -> asyncio.Future[bytes | None]:
        """The value of a key, or None; the future carries Redis' error where it does not answer."""
        asked = self._asked.get(key)
        if asked is None:
            loop = asyncio.get_running_loop()
            if not self._asked:
                loop.call_soon(self._flush)
            asked = self._asked[key] = loop.create_future()
        return asked

    def _flush(self) -> None:
        asked, self._asked = self._asked, {}
        task = asyncio.ensure_future(self._read(asked))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _read(self, asked: dict[str, asyncio.Future[bytes | None]]) -> None:
        try:
            values = await self._client.mget(list(asked))
        except Exception as error:  # noqa: BLE001 - every request that waits hears of it and falls back
            for waiting in asked.values():
                if not waiting.done():
                    waiting.set_exception(error)
                    waiting.exception()  # a request may have left: nobody else has to look at it
            return
        for waiting, value in zip(asked.values(), values, strict=True):
            if not waiting.done():
                waiting.set_result(value)
