"""Where the lake keeps what, and the published snapshot as a connection."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.errors import MatineeError

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Lake:
    """Paths of the lake (Parquet, zstd). `landing` is append-only; `published/current` is switched atomically."""

    root: Path

    @property
    def landing_events(self) -> Path:
        return self.root / "landing" / "events"

    @property
    def landing_imports(self) -> Path:
        return self.root / "landing" / "imports"

    @property
    def landing_tables(self) -> Path:
        return self.root / "landing" / "tables"

    @property
    def dead(self) -> Path:
        return self.root / "dead"

    @property
    def build_file(self) -> Path:
        return self.root / "build" / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def current(self) -> Path:
        return self.published / "current"

    @property
    def spark(self) -> Path:
        """What Spark built last: it is made anew at will."""
        return self.root / "spark"

    @property
    def truth(self) -> Path:
        return self.root / "truth"


class NoSnapshotError(MatineeError):
    """Nothing has been published yet."""


def connect(home: str | Path | None = None) -> "duckdb.DuckDBPyConnection":
    """A read-only DuckDB connection to the marts of the current snapshot.

    The snapshot stays the one that was current when the connection was made, however often the warehouse is rebuilt.

    Raises:
        NoSnapshotError: nothing is published yet; `matinee build` publishes.
    """
    import duckdb

    from matinee.settings import Settings

    lake = Settings.load(home=home).lake
    marts = (lake.current / "marts.duckdb").resolve()
    if not marts.exists():
        raise NoSnapshotError(f"no published snapshot in {lake.published}: run `matinee build` first")
    connection = duckdb.connect(str(marts), read_only=True)
    # Days are UTC days, wherever the reader sits.
    connection.execute("SET TimeZone = 'UTC'")
    return connection
