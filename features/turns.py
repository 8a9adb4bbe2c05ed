"""One writer of live state at a time: builds and the worker take turns, a few milliseconds to some hundred each."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

LOCK = 7_228_118  # any constant: it names the turn in the database


@contextmanager
def turn(connection: psycopg.Connection) -> Iterator[None]:
    """Hold the turn for a transaction. What is read of Redis within it nobody else changes meanwhile."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        yield
