"""What everything that moves money works with: transactions of ours, providers of others, the clock."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from psycopg import AsyncConnection

from matinee.clock import Clock, SystemClock
from matinee.db.connect import pool
from matinee.errors import SettingsError
from matinee.settings import Settings
from serving.billing.providers import keys
from serving.billing.providers.base import Provider


class Desk:
    """`transaction()` lends a connection that commits when its block ends well; `provider()` makes each one once."""

    def __init__(
        self, settings: Settings, clock: Clock, transaction: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    ) -> None:
        self.settings, self.clock, self.transaction = settings, clock, transaction
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str | None = None) -> Provider:
        """The provider of this name; without one, that of `MATINEE_PAYMENTS`.

        Raises:
            SettingsError: it is unknown, or not configured.
        """
        from serving.billing.providers import provider_of

        wanted = name or self.settings.payments
        if wanted not in self._providers:
            self._providers[wanted] = provider_of(self.settings, wanted, self.clock)
        return self._providers[wanted]

    def check(self) -> None:
        """Tell what the settings of new payments lack, before anybody pays; imports no provider's heavy library.

        Raises:
            SettingsError: as `provider`.
        """
        if self.settings.payments == "stripe":
            keys.stripe(self.settings)
        else:
            self.provider()

    def uses(self, name: str) -> bool:
        """Whether that provider can be asked: not, where payments were taken by another one before, or simulated."""
        try:
            self.provider(name)
        except SettingsError:
            return False
        return True

    async def aclose(self) -> None:
        """Close what providers hold open."""
        for provider in self._providers.values():
            await provider.aclose()
        self._providers.clear()


@asynccontextmanager
async def desk(settings: Settings, clock: Clock | None = None, *, size: int = 4) -> AsyncIterator[Desk]:
    """A desk with connections of its own, for workers and commands."""
    connections = pool(settings, size=size)
    await connections.open(wait=False)
    made = Desk(settings, clock or SystemClock(), connections.connection)
    try:
        yield made
    finally:
        await made.aclose()
        await connections.close()
