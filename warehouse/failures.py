"""What failed in the last build: each model and test with its reason and the first rows that broke it."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matinee.settings import Settings
from warehouse import build_file

if TYPE_CHECKING:
    import duckdb

_QUERY = """
    SELECT r.node_id, r.resource_type, r.status, coalesce(r.message, ''), coalesce(max(f.failures), 0),
           list(f.row ORDER BY f.row) FILTER (f.row IS NOT NULL)
    FROM audit.node_result r LEFT JOIN audit.failed_row f USING (node_id)
    WHERE r.status NOT IN ('success', 'pass')
    GROUP BY ALL
    ORDER BY r.node_id
"""
_BY_ITSELF = ("fail", "error", "runtime error")


@dataclass(frozen=True)
class Failure:
    """A model or test whose last result is not good. `count`: rows that broke it, `rows`: the first of them."""

    node_id: str
    kind: str
    status: str
    message: str
    count: int
    rows: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        return self.node_id.split(".")[2]

    @property
    def by_itself(self) -> bool:
        """Not merely skipped, or not asked again, because of another."""
        return self.status in _BY_ITSELF

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __str__(self) -> str:
        return f"{self.name} ({self.count:,} rows)" if self.count else f"{self.name} ({self.status})"


def failures(warehouse: "duckdb.DuckDBPyConnection") -> list[Failure]:
    """Everything without a good last result, warnings included; what failed by itself comes first."""
    found = [
        Failure(node_id, kind, status, message, count, tuple(json.loads(row) for row in rows or ()))
        for node_id, kind, status, message, count, rows in warehouse.execute(_QUERY).fetchall()
    ]
    return sorted(found, key=lambda failure: not failure.by_itself)


def last_failures(settings: Settings) -> list[Failure]:
    """`failures` of this home's build file, claimed for the moment."""
    with build_file.writing(settings) as warehouse:
        return failures(warehouse)
