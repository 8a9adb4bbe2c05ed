"""Where simulated events go in: through the event log as live ones do, or in bulk into the landing zone."""

from collections.abc import Callable, Iterator
from typing import Protocol

import polars as pl
import psycopg
import redis

from ingest import bulk, collector, intake, log
from matinee.pseudonyms import salts
from matinee.settings import Settings
from models.experiments.assignment import Experiment
from simulation.landed import landed_table
from simulation.wire import batches

ORIGIN = "simulate"
ORDER = ("received", "order", "viewer", "seq", "fate")
_APPEND = 4_000
# Dead letters may be large, and the log is in memory.
_LONGEST_LOG = 50_000


class Door(Protocol):
    """Takes the deliveries of some viewers, who exist as accounts; counts what was accepted and what refused."""

    @property
    def accepted(self) -> int: ...

    @property
    def refused(self) -> int: ...

    def take(self, deliveries: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


def judged(deliveries: pl.DataFrame, running: tuple[Experiment, ...]) -> Iterator[intake.Batch]:
    """Deliveries, sorted by `ORDER`, through the same door as live events."""
    for received_at, bot, objects in batches(deliveries, running):
        yield intake.accept(objects, received_at=received_at, origin=ORIGIN, bot=bot)


class ThroughTheLog:
    """Everything at the end, in the order in which the server receives it: about 600 bytes of memory an event."""

    def __init__(
        self,
        client: redis.Redis,
        running: tuple[Experiment, ...],
        on_sent: Callable[[int, int], None] = lambda _sent, _of: None,
    ) -> None:
        """`on_sent` hears, while everything is sent, how much has been, and of how much."""
        self._client, self._running, self._on_sent = client, running, on_sent
        self._waiting: list[pl.DataFrame] = []
        self.accepted = self.refused = 0

    def take(self, deliveries: pl.DataFrame) -> None:
        self._waiting.append(deliveries)

    def close(self) -> None:
        self.send(pl.concat(self._waiting).sort(ORDER))

    def send(self, deliveries: pl.DataFrame) -> None:
        """Judge these and write them into the log now; they are sorted by `ORDER`."""
        entries: list[intake.Entry] = []
        for batch in judged(deliveries, self._running):
            self.accepted += batch.accepted
            self.refused += len(batch.rejections)
            entries += batch.entries
            if len(entries) >= _APPEND:
                log.append(self._client, entries)
                self._on_sent(self.accepted + self.refused, deliveries.height)
                entries = []
        log.append(self._client, entries)


class Straight:
    """What is right lands as it comes, in flat memory; what must be refused goes through the log all the same."""

    def __init__(
        self,
        settings: Settings,
        connection: psycopg.Connection,
        client: redis.Redis,
        running: tuple[Experiment, ...],
        landing: bulk.Bulk | None,
    ) -> None:
        """`landing` None: the events of this run are in the lake already."""
        self._settings, self._connection, self._landing = settings, connection, landing
        self._client, self._running = client, running
        self._log = ThroughTheLog(client, running)
        self.accepted = 0

    @property
    def refused(self) -> int:
        return self._log.refused

    def take(self, deliveries: pl.DataFrame) -> None:
        good = deliveries.filter(pl.col("code").is_null())
        if self._landing is not None:
            accounts = good["account_id"].drop_nulls().unique().to_list()
            with self._connection.transaction():
                known = salts(self._connection, accounts)
            keys = {account: salt.key(account) for account, salt in known.items()}
            table = landed_table(good.sort(ORDER), self._running, keys, ORIGIN, self.accepted)
            self._landing.add(table, known)
        self.accepted += good.height
        self._log.send(deliveries.filter(pl.col("code").is_not_null()).sort(ORDER))
        if log.length(self._client) > _LONGEST_LOG:
            collector.drain(self._settings)

    def close(self) -> None:
        """Nothing waits."""
