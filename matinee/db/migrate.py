"""Plain forward-only migrations: `migrations/NNNN_name.sql`, each in one transaction, remembered with its checksum."""

import hashlib
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from matinee.errors import ContractError

MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant: it names the lock that keeps two processes from migrating at once.
_LOCK = 7_228_113


@cache
def known() -> frozenset[str]:
    """The names of the migrations of this code."""
    return frozenset(path.stem for path in MIGRATIONS.glob("*.sql"))


def migrate(url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the database to the newest version; returns the names applied, oldest first.

    Raises:
        ContractError: a migration that was applied before has other text now.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration ("
            "name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = dict(connection.execute("SELECT name, checksum FROM migration").fetchall())
        applied = []
        for path in sorted(folder.glob("*.sql")):
            text = path.read_text()
            checksum = hashlib.sha256(text.encode()).hexdigest()
            if path.stem in done:
                if done[path.stem] != checksum:
                    raise ContractError(
                        f"migration {path.stem} was changed after it was applied: add a new one instead"
                    )
                continue
            with connection.transaction():
                # The text comes from this repository's migration folder, so it is as literal as code.
                connection.execute(cast(LiteralString, text))
                connection.execute("INSERT INTO migration (name, checksum) VALUES (%s, %s)", (path.stem, checksum))
            applied.append(path.stem)
        return applied
