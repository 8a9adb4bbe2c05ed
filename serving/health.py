"""Whether the process lives, whether it can serve, and its metrics."""

import asyncio
from collections.abc import Awaitable
from typing import cast

import orjson
import psycopg
import psycopg_pool
import redis
from starlette.requests import Request
from starlette.responses import Response

from matinee.db.migrate import known
from serving.context import Context, context_of
from serving.problems import RETRY_AFTER_S, Problem

_PATIENCE_S = 2.0


async def live(_: Request) -> Response:
    return Response(b'{"status":"live"}', media_type="application/json")


async def ready(request: Request) -> Response:
    """200 while viewers can be served; 503, with what lacks, where they should be sent elsewhere.

    Needed are PostgreSQL, migrated as far as this code knows, and a first look for a model. Without Redis (`degraded`)
    the catalogue, pages and playback go on; events, and what counts streams and attempts for all processes, do not.
    Without a good model the pages fall back and say so: that is no reason to send viewers away.
    """
    context = context_of(request.app)
    if context.draining:
        raise Problem(503, "draining", "this process is about to stop", headers={"Retry-After": str(RETRY_AFTER_S)})
    postgres, cache = await asyncio.gather(_postgres(context), _redis(context))
    needed = {**postgres, "model": context.systems.looked.is_set()}
    checks = {**needed, "redis": cache}
    if not all(needed.values()):
        missing = ", ".join(name for name, holds in checks.items() if not holds)
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(503, "not_ready", f"missing: {missing}", headers=headers, checks=checks)
    status = "ready" if cache else "degraded"
    return Response(orjson.dumps({"status": status, "checks": checks}), media_type="application/json")


async def metrics(request: Request) -> Response:
    return Response(context_of(request.app).metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _postgres(context: Context) -> dict[str, bool]:
    try:
        async with context.pool.connection(timeout=_PATIENCE_S) as connection:
            found = await connection.execute("SELECT name FROM migration")
            done = {name for (name,) in await found.fetchall()}
        return {"postgres": True, "migrated": known() <= done}
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        return {"postgres": False, "migrated": False}


async def _redis(context: Context) -> bool:
    try:
        for client in {context.redis, context.events}:
            await cast(Awaitable[bool], client.ping())
        return True
    except redis.RedisError:
        return False
