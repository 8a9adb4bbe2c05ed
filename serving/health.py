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

from serving.context import Context, context_of
from serving.problems import RETRY_AFTER_S, Problem

_PATIENCE_S = 2.0


async def live(_: Request) -> Response:
    return Response(b'{"status":"live"}', media_type="application/json")


async def ready(request: Request) -> Response:
    """200 when PostgreSQL and Redis answer right now and a model was looked for; otherwise 503 that names what lacks.

    Without a good model the pages fall back and say so: that is no reason to send viewers away.
    """
    context = context_of(request.app)
    postgres, cache = await asyncio.gather(_postgres(context), _redis(context))
    checks = {"postgres": postgres, "redis": cache, "model": context.systems.looked.is_set()}
    if not all(checks.values()):
        missing = ", ".join(name for name, answers in checks.items() if not answers)
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(503, "not_ready", f"no answer from {missing}", headers=headers, checks=checks)
    return Response(orjson.dumps({"status": "ready", "checks": checks}), media_type="application/json")


async def metrics(request: Request) -> Response:
    return Response(context_of(request.app).metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _postgres(context: Context) -> bool:
    try:
        async with context.pool.connection(timeout=_PATIENCE_S) as connection:
            await connection.execute("SELECT 1 FROM migration LIMIT 1")
        return True
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        return False


async def _redis(context: Context) -> bool:
    try:
        for client in {context.redis, context.events}:
            await cast(Awaitable[bool], client.ping())
        return True
    except redis.RedisError:
        return False
