"""A question to the current snapshot."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from matinee.settings import Settings
from warehouse.errors import WarehouseError
from warehouse.snapshot import hold


@dataclass(frozen=True)
class Answer:
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    snapshot_id: str

    def to_csv(self, out: TextIO) -> None:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)


def ask(settings: Settings, query: str) -> Answer:
    """Run one query on the published marts, read-only.

    Raises:
        NoSnapshotError: nothing is published yet.
        WarehouseError: the query is wrong; the message is DuckDB's first line.
    """
    import duckdb

    with hold(settings.lake) as snapshot, duckdb.connect(str(snapshot.marts), read_only=True) as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            cursor = connection.execute(query)
            columns = [name for name, *_ in cursor.description or ()]
            return Answer(columns, cursor.fetchall(), snapshot.snapshot_id)
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise WarehouseError(
                f'the query cannot be run: {reason} (`matinee sql "SHOW TABLES"` lists the tables)'
            ) from None
