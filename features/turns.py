"""One writer of live state at a time: builds and the worker take turns, a few milliseconds to some hundred each.

A build that brings features online reads the lake for minutes and writes what it has read. Whoever forgets what erased
people were called waits for its end: else it could bring them back, and nobody would know them any more.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

LOCK = 7_228_118  # any constant: it names the turn in the database
BUILDING = 7_228_122  # builds (shared) against whoever wants none to run


@contextmanager
def turn(connection: psycopg.Connection) -> Iterator[None]:
    """Hold the turn for a transaction. What is read of Redis within it nobody else changes meanwhile."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        yield


@contextmanager
def building(connection: psycopg.Connection) -> Iterator[None]:
    """Say for the length of the block that a build writes what it reads from now on; `connection` commits by itself."""
    connection.execute("SELECT pg_advisory_lock_shared(%s)", (BUILDING,))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", (BUILDING,))


@contextmanager
def alone(connection: psycopg.Connection) -> Iterator[None]:
    """Hold the turn for a transaction in which no build is half way; waits for the end of one that is."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (BUILDING,))
        with turn(connection):
            yield
