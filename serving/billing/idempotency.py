"""A request that costs money has one effect and one answer, however often it is sent.

As draft-ietf-httpapi-idempotency-key-header-07: no key 400, another body 422, in flight 409; the first answer is kept
whole for a day. A key belongs to an account and a route. The first transaction of the work names what it made
(`Claim.made`), so that a request after a crash goes on with that instead of beginning again; its other request
finds the same payment, which the provider charges once.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
from psycopg import AsyncConnection
from starlette.responses import Response

from matinee.db.queries import load
from serving.billing.payments.desk import Desk
from serving.db import execute, row
from serving.problems import Problem

QUERIES = load(Path(__file__).parent)
KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)  # longer than any call of a provider may take
PATIENCE_S = 2.0  # that a request waits for the one before it
_PAUSES_S = (0.02, 0.05, 0.1, 0.2)
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"\Z|([!#-~][!-~]{0,254})\Z')


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: whose, to which route (method and path), under which key, with which body."""

    account_id: str
    route: str
    key: str
    body: bytes

    @property
    def place(self) -> dict[str, Any]:
        return {"account_id": self.account_id, "route": self.route, "key": self.key}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept and replayed: the status and the body, byte for byte."""

    status: int
    body: bytes

    def response(self) -> Response:
        kind = "application/problem+json" if self.status >= 400 else "application/json"
        return Response(self.body, self.status, media_type=kind)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer a request, until `lease`. `subject`: what an earlier try made before it died."""

    asked: Asked
    lease: datetime
    subject: str | None = None

    async def made(self, connection: AsyncConnection, subject: str) -> None:
        """Remember what the caller's transaction makes, so that nobody makes it twice.

        Raises:
            Problem: 409 `in_flight`, somebody else took the key over meanwhile.
        """
        await self._still(connection, "idempotency_made", {"subject": subject})

    async def done(self, connection: AsyncConnection, answer: Answer, at: datetime) -> None:
        """Keep the answer, in the caller's transaction.

        Raises:
            Problem: 409 `in_flight`, somebody else took the key over meanwhile.
        """
        await self._still(connection, "idempotency_done", {"status": answer.status, "body": answer.body, "at": at})

    async def _still(self, connection: AsyncConnection, query: str, more: dict[str, Any]) -> None:
        if not await execute(connection, QUERIES[query], {**self.asked.place, "lease": self.lease, **more}):
            raise in_flight()


Work = Callable[[Claim], Awaitable[Answer]]


def key_of(header: str | None) -> str:
    """The key of the header `Idempotency-Key`: a structured string (RFC 9651), quotes may be left out.

    Raises:
        Problem: 400, there is none, or it is no key.
    """
    if header is None:
        raise Problem(
            400, "idempotency_key_missing", "this request costs money: give it an Idempotency-Key, a UUID of its own"
        )
    found = _KEY.match(header.strip())
    if not found:
        raise Problem(400, "idempotency_key_invalid", "an Idempotency-Key is 1 to 255 visible ASCII characters")
    return found[1] or found[2]


def in_flight() -> Problem:
    return Problem(
        409, "in_flight", "the same request is being worked on: ask again in a moment", headers={"Retry-After": "2"}
    )


async def once(desk: Desk, asked: Asked, work: Work, *, patience_s: float = PATIENCE_S) -> Answer:
    """The first answer to this request: kept already, or made by `work` now. Refusals (4xx) are answers too; after
    any other failure the key is free, and the same request goes on where this one stopped.

    Raises:
        Problem: 422, the key was used with another body; 409, somebody works on it and did not end in `patience_s`.
    """
    found = await _claim(desk, asked)
    waited, pauses = 0.0, iter(_PAUSES_S)
    while found is None and waited < patience_s:
        pause = next(pauses, _PAUSES_S[-1])
        await asyncio.sleep(pause)
        waited += pause
        found = await _claim(desk, asked)
    if found is None:
        raise in_flight()
    return found if isinstance(found, Answer) else await _answered(desk, found, work)


async def prune(connection: AsyncConnection, at: datetime) -> int:
    """Forget answers that are older than a day; returns how many."""
    return await execute(connection, QUERIES["idempotency_prune"], {"before": at - KEPT})


async def _claim(desk: Desk, asked: Asked) -> Claim | Answer | None:
    """The right to work, the answer that is kept, or None: somebody works on it."""
    at, print_of_body = desk.clock.now(), hashlib.sha256(asked.body).digest()
    mine = {**asked.place, "fingerprint": print_of_body, "at": at, "before": at - KEPT, "lease": at + LEASE}
    async with desk.transaction() as connection:
        claimed = await row(connection, QUERIES["idempotency_claim"], mine)
        if claimed:
            return Claim(asked, claimed["lease"], claimed["subject"])
        kept = await row(connection, QUERIES["idempotency_kept"], asked.place)
    if kept is None:  # freed between the two statements
        return None
    if kept["fingerprint"] != print_of_body:
        raise Problem(
            422, "idempotency_key_reused", "this Idempotency-Key was used with another body: take another key"
        )
    return None if kept["status"] is None else Answer(kept["status"], kept["body"])


async def _answered(desk: Desk, claim: Claim, work: Work) -> Answer:
    try:
        answer = await _worked(claim, work)
        async with desk.transaction() as connection:
            kept = await row(connection, QUERIES["idempotency_kept"], claim.asked.place)
            if kept is not None and kept["status"] is not None:  # by the work itself, or by who took over
                return Answer(kept["status"], kept["body"])
            await claim.done(connection, answer, desk.clock.now())
    except BaseException:
        with suppress(psycopg.Error, psycopg_pool.PoolTimeout):  # then the lease ends by itself
            await asyncio.shield(_free(desk, claim))
        raise
    return answer


async def _worked(claim: Claim, work: Work) -> Answer:
    try:
        return await work(claim)
    except Problem as problem:
        if problem.status >= 500 or problem.code == "in_flight":
            raise
        return Answer(problem.status, bytes(problem.response().body))


async def _free(desk: Desk, claim: Claim) -> None:
    async with desk.transaction() as connection:
        mine = {**claim.asked.place, "lease": claim.lease, "at": desk.clock.now()}
        await execute(connection, QUERIES["idempotency_free"], mine)
