"""The sandbox's webhooks: signed with a secret of the home, told again until somebody answers 2xx."""

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
import psycopg
import psycopg_pool

from matinee.secrets import secret
from matinee.settings import Settings
from serving.billing.providers.base import ForgedError, Notice
from serving.db import execute, rows

if TYPE_CHECKING:
    from serving.billing.providers.sandbox.core import Sandbox

HEADER = "sandbox-signature"
ROUTE = "/api/billing/webhooks/sandbox"
_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)
# How old a signature may be, and how far ahead the sender's clock.
_OLDEST_S, _AHEAD_S = 300, 60
# Seconds until the next try; after the last one a notice is given up, as providers do.
_PAUSES_S = (10, 60, 600, 3_600, 21_600, 86_400, 86_400)
_LOOK_S = 2.0
_KINDS = ("payment", "refund", "dispute")
log = logging.getLogger("matinee.billing")

Post = Callable[[bytes, Mapping[str, str]], Awaitable[int]]


def sign(settings: Settings, body: bytes, at: datetime) -> str:
    """The header that proves that the body is ours and of that moment."""
    moment = str(int(at.timestamp()))
    return f"t={moment},v1={_mac(settings, moment, body)}"


def read(settings: Settings, headers: Mapping[str, str], body: bytes, now: datetime) -> Notice:
    """The notice in a request.

    Raises:
        ForgedError: the signature does not hold, or is of another time.
    """
    given = next((value for name, value in headers.items() if name.lower() == HEADER), "")
    found = _SIGNATURE.fullmatch(given)
    if found is None or not hmac.compare_digest(found[2], _mac(settings, found[1], body)):
        raise ForgedError("the notice does not carry the sandbox's signature")
    age = now.timestamp() - int(found[1])
    if not -_AHEAD_S <= age <= _OLDEST_S:
        raise ForgedError(f"the notice was signed {age:.0f} s ago: {_OLDEST_S} at most, {_AHEAD_S} ahead")
    told = orjson.loads(body)
    kind = told["name"].partition(".")[0]
    payment_id = told["payment_id"]
    named = cast(Literal["payment", "refund", "dispute"], kind) if kind in _KINDS else "other"
    return Notice(told["event_id"], named, told["name"], told["ref"], payment_id, {"payment_id": payment_id})


async def deliver(sandbox: "Sandbox", post: Post) -> int:
    """Tell the webhook what is due; returns how many notices it took. `post(body, headers)` answers the status."""
    from serving.billing.providers.sandbox.bank import QUERIES

    at = sandbox.clock.now()
    async with sandbox.books() as connection:
        await sandbox.happen(connection)
        faults = await sandbox.switched(connection)
        due = await rows(connection, QUERIES["take"], {"at": at, "later": at + timedelta(seconds=_PAUSES_S[0])})
    taken = 0
    for notice in due:
        name, event_id, tries = notice["kind"], notice["event_id"], notice["tries"]
        about = {"event_id": event_id, "name": name, "ref": notice["ref"], "payment_id": notice["payment_id"]}
        body = orjson.dumps({**about, "at": notice["at"]})
        copies = 2 if faults.chance("twice", event_id) < faults.twice else 1
        answers = [await post(body, {HEADER: sign(sandbox.settings, body, at)}) for _ in range(copies)]
        heard = all(200 <= status < 300 for status in answers)
        taken += heard
        async with sandbox.books() as connection:
            if heard or tries >= len(_PAUSES_S):
                await execute(connection, QUERIES["delivered"], {"event_id": event_id})
            else:
                again = {"event_id": event_id, "due_at": at + timedelta(seconds=_PAUSES_S[tries - 1])}
                await execute(connection, QUERIES["undeliverable"], again)
    return taken


async def run(sandbox: "Sandbox", app: Any) -> None:
    """Tell this app's own webhook for as long as it runs, by its own door but without a network."""
    import httpx

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:

        async def post(body: bytes, headers: Mapping[str, str]) -> int:
            kind = {"content-type": "application/json"}
            return (await client.post(ROUTE, content=body, headers={**headers, **kind})).status_code

        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await sandbox.woken.wait()
            except TimeoutError:
                pass
            sandbox.woken.clear()
            try:
                await deliver(sandbox, post)
            except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
                log.warning("the sandbox's notices wait until PostgreSQL is back: %s", error)
            except Exception:
                log.exception("the sandbox's notices stumbled over a defect: tried again in %.0f s", _LOOK_S)


def _mac(settings: Settings, moment: str, body: bytes) -> str:
    return hmac.digest(secret(settings.home, "sandbox"), moment.encode() + b"." + body, hashlib.sha256).hex()
