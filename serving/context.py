"""What the routes of one app share: settings, clock, connections, keys."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import psycopg
from fastapi import Depends, Request
from psycopg import AsyncConnection
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.applications import Starlette
from starlette.datastructures import State

from features.online import Online
from matinee.clock import Clock
from matinee.db.connect import pool
from matinee.secrets import secret
from matinee.settings import Settings
from serving.accounts.memo import Memo
from serving.accounts.passwords import Passwords
from serving.accounts.revoked import Revoked
from serving.accounts.second_factor import SecondFactors
from serving.accounts.tokens import Tokens
from serving.billing.payments.desk import Desk
from serving.billing.payments.sweeping import Sweeping
from serving.catalog.listings import Listings
from serving.changes import Changes
from serving.cors import listed
from serving.events.core import Log
from serving.events.senders import Senders
from serving.events.sessions import Playbacks, Sessions
from serving.gateway import accel
from serving.limits import Limits
from serving.metrics import Metrics
from serving.paging import Cursors
from serving.playback.keyring import Keys
from serving.playback.opening import Openings
from serving.playback.playlists import Playlists
from serving.playback.streams import Streams
from serving.playback.tokens import MediaTokens
from serving.profiles.doors import Pins
from serving.profiles.memo import Owners, Viewers
from serving.recommendations.catalogue import Catalogues
from serving.recommendations.core import Homes
from serving.recommendations.exposures import Exposures
from serving.recommendations.live import PATIENCE_S, Live
from serving.recommendations.systems import Systems
from serving.recommendations.tracking import Tracking
from serving.rights.known import Known
from serving.search.core import Engine, PostgresEngine
from serving.tracing import tracing
from transcoding import watermark

_REDIS_TIMEOUT_S = 2.0
_STREAMS_TIMEOUT_S = 0.5  # without Redis, streams have PostgreSQL
T = TypeVar("T")


class Context:
    """Made with the app, opened and closed by its lifespan."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.draining = False  # set when the process is told to go
        self.origins = listed(settings.cors_origins)
        self.tracing = tracing(settings)
        cursors = self.tracing.cursor_factory if self.tracing else None
        self.pool = pool(settings, cursor_factory=cursors)
        self.reads = pool(settings, reading=True, cursor_factory=cursors)
        self.changes = Changes(settings)
        kind = self.tracing.redis_class if self.tracing else Redis
        self.redis = _redis(settings.redis(), kind=kind)
        # Events may have a Redis of their own.
        self.events = _redis(settings.events(), kind=kind) if settings.events_url else self.redis
        self.tokens = Tokens(settings.home, clock)
        self.refresh_key = secret(settings.home, "refresh")
        self.second_factors = SecondFactors(settings.home)
        self.media_tokens = MediaTokens(secret(settings.home, "media"))
        self.playlists = Playlists(settings.media)
        self.addresses: Memo[str, tuple[int, bytes]] = Memo(clock, life_s=120.0)
        self.keys = Keys(self.transaction, settings)
        self.watermark_key = watermark.key(settings)
        self.cursors = Cursors(secret(settings.home, "token"))
        self.passwords = Passwords()
        self.revoked = Revoked(self.transaction, clock)
        self.metrics = Metrics()
        self.log = Log(self.events)
        self.senders = Senders(settings, clock)
        self.sessions = Sessions(self.redis)
        self.playbacks = Playbacks(self.transaction, clock)
        self.pins = Pins(settings.home)
        self.owners = Owners(self.transaction, clock)
        self.viewers = Viewers(self.read, clock)
        self.changes.on("account", self.owners.forget)
        self.changes.on("account", self.viewers.forget)
        self.listings = Listings(self.read, clock)
        self.search: Engine = PostgresEngine()
        # Pages do without Redis rather than wait for it.
        self.quick = _redis(settings.redis(), PATIENCE_S, kind)
        self.gateway_mark = accel.mark(settings.home)
        limits_key = secret(settings.home, "token")
        self.limits = Limits(self.quick, clock, self.metrics, limits_key, settings.limits_scale)
        catalogues = Catalogues(self.transaction)
        self.systems = Systems(settings.home, self.metrics, catalogues)
        self.tracking = Tracking(self.quick)
        live = Live(Online(self.quick, clock), self.tracking)
        self.exposures = Exposures(self.quick, self.log, clock)
        self.home = Homes(self.transaction, catalogues, self.systems, live, self.exposures, self.metrics, clock)
        self.slots = _redis(settings.redis(), _STREAMS_TIMEOUT_S, kind)
        self.known = Known(self.read, clock)
        self.streams = Streams(self.read, self.transaction, self.slots, clock, self.known, self.home.forget)
        self.billing = Desk(settings, clock, self.transaction)
        self.sweeping = Sweeping(self.billing)
        self.openings = Openings(self.read, self.transaction, clock, self.known)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection that commits when the block ends well and rolls back when it raises."""
        async with self.pool.connection() as connection:
            yield connection

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run statements that change nothing, each for itself; once more where the connection was dead."""
        try:
            async with self.reads.connection() as connection:
                return await work(connection)
        except psycopg.OperationalError:
            await self.reads.check()
            async with self.reads.connection() as connection:
                return await work(connection)

    async def open(self) -> None:
        # Without waiting: the API is live before PostgreSQL is, and says so under /health/ready.
        await self.pool.open(wait=False)
        await self.reads.open(wait=False)
        self.changes.start()
        await self.revoked.open()
        self.systems.start()
        self.streams.start()
        self.tracking.start()
        self.sweeping.start()

    async def close(self) -> None:
        await self.streams.close()
        await self.sweeping.close()
        await self.billing.aclose()
        await self.systems.stop()
        await self.tracking.stop()
        await self.home.close()
        await self.revoked.close()
        await self.exposures.close()
        await self.log.close()
        await self.changes.stop()
        await self.pool.close()
        await self.reads.close()
        for client in {self.redis, self.events, self.quick, self.slots}:
            await client.aclose()
        self.passwords.close()
        if self.tracing:
            await self.tracing.close()


def _redis(url: str, timeout_s: float = _REDIS_TIMEOUT_S, kind: type[Redis] = Redis) -> Redis:
    # One retry, at once: the first command after a restart finds its pooled connection dead. A Redis that does not
    # answer in time is not asked again.
    return kind.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=64,
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
    )


def context_of(app: Starlette) -> Context:
    state: State = app.state
    return state.context


async def _context(request: Request) -> Context:
    return context_of(request.app)


Ctx = Annotated[Context, Depends(_context)]
