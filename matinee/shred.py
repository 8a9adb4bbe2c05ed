"""Make deleted bytes go away: tables and their write-ahead log in PostgreSQL, the append-only file of Redis."""

import time
from typing import Any, cast

import psycopg
import redis

from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack.postgres import NEIGHBOURS

_PATIENCE_S = 600.0
# Segments that were kept to be used again hold what was written when they were first used.
_AHEAD = (
    "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_lsn())"
)


def shred_tables(settings: Settings) -> list[str]:
    """Write every table anew without its dead rows (statistics too, which hold samples); returns the databases.

    Takes each table for itself while it is written.
    """
    done = []
    for neighbour in (None, *NEIGHBOURS):
        try:
            connection = psycopg.connect(settings.database(neighbour), autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            if neighbour is None:
                raise
            continue  # nobody has used it yet
        with connection:
            # The samples first: they are of rows that are gone.
            connection.execute("ANALYZE")
            connection.execute("VACUUM (FULL)")
            done.append(connection.info.dbname)
    return done


def shred_log(settings: Settings) -> bool:
    """Remove the write-ahead log up to now. False where the server is not ours: its log is its operator's."""
    if not settings.embedded_postgres:
        return False
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET wal_recycle = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            ahead = connection.execute(_AHEAD).fetchone() or (0,)
            for _ in range(ahead[0] + 1):
                connection.execute("SELECT pg_logical_emit_message(true, '', '')")  # an empty segment is not switched
                connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        finally:
            connection.execute("ALTER SYSTEM RESET wal_recycle")
            connection.execute("SELECT pg_reload_conf()")
    return True


def shred_redis(client: redis.Redis) -> bool:
    """Have Redis write its append-only file anew, and wait for it. False where it keeps none.

    Raises:
        StackError: it does not end, or fails.
    """
    if not _persistence(client)["aof_enabled"]:
        return False
    deadline = time.monotonic() + _PATIENCE_S
    asked = False
    while time.monotonic() < deadline:
        now = _persistence(client)
        busy = now["aof_rewrite_in_progress"] or now["aof_rewrite_scheduled"]
        if not busy and asked:
            if now["aof_last_bgrewrite_status"] != "ok":
                break
            return True
        if not busy:
            client.bgrewriteaof()
            asked = True
        time.sleep(0.02)
    raise StackError("Redis did not write its append-only file anew: see its log, free some disk space and purge again")


def _persistence(client: redis.Redis) -> dict[str, Any]:
    return cast("dict[str, Any]", client.info("persistence"))
