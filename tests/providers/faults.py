"""How a provider fails: one vocabulary for the local servers of all providers."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"


class Fault(StrEnum):
    """What becomes of one request. After `*_done`, the provider has done what it was asked."""

    slow = "slow"  # done, and answered after `delay_s`
    silent = "silent"  # nothing is done, and no answer comes
    silent_done = "silent_done"
    gateway = "gateway"  # 502 with a page of HTML
    gateway_done = "gateway_done"
    broken = "broken"  # 500 before it began; nothing is remembered for the key
    broken_done = "broken_done"  # 500 after it was done; a provider that remembers answers for a key, remembers that
    busy = "busy"  # 429


DONE = (Fault.silent_done, Fault.gateway_done, Fault.broken_done)
NOT_DONE = (Fault.silent, Fault.gateway, Fault.broken, Fault.busy)


@dataclass
class Faults:
    """What the next requests meet, in order; a fault waits for a request whose `METHOD /path` contains its `on`."""

    delay_s: float = 0.1
    waiting: deque[tuple[Fault, str]] = field(default_factory=deque)
    met: list[tuple[Fault, str]] = field(default_factory=list)

    def plan(self, *faults: Fault, on: str = "POST ") -> None:
        self.waiting.extend((fault, on) for fault in faults)

    def clear(self) -> None:
        self.waiting.clear()
        self.met.clear()

    def take(self, request: str) -> Fault | None:
        if not self.waiting or self.waiting[0][1] not in request:
            return None
        fault, _ = self.waiting.popleft()
        self.met.append((fault, request))
        return fault


class Faulty:
    """A server behind faults. A request's own is in `scope["fault"]`, for a server that has to remember a 500."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app, self.faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self.faults.take(f"{scope['method']} {scope['path']}") if scope["type"] == "http" else None
        if fault is None:
            await self.app(scope, receive, send)
            return
        if fault is Fault.slow:
            await asyncio.sleep(self.faults.delay_s)
            await self.app(scope, receive, send)
            return
        if fault in DONE:
            await self.app({**scope, "fault": fault}, receive, _nowhere)
        if fault in (Fault.silent, Fault.silent_done):
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await _answer(send, fault)


async def _nowhere(message: Message) -> None:
    """An answer that gets lost on its way."""


async def _answer(send: Send, fault: Fault) -> None:
    status, kind, body = 502, b"text/html", HTML
    if fault in (Fault.broken, Fault.broken_done, Fault.busy):
        status, kind = (429 if fault is Fault.busy else 500), b"application/json"
        body = (
            b'{"error": {"type": "api_error", "message": "Sorry."}, "type": "error", "code": "internal_server_error"}'
        )
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


def mangled(sent: Sequence[T], seed: int, *, lost: float = 0.0, doubled: float = 0.0) -> list[T]:
    """What arrives of messages sent: in any order, each with these chances lost, or twice."""
    chance = random.Random(seed)
    arrived = [each for each in sent if chance.random() >= lost for _ in range(1 + (chance.random() < doubled))]
    chance.shuffle(arrived)
    return arrived
