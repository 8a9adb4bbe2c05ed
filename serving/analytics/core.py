"""Figures from the published snapshot: read-only, a connection a call, away from the event loop."""

from pathlib import Path
from typing import Any

from matinee import connect

_TOP = """
SELECT w.week_start, w.rank, w.title_id, t.title, w.plays, w.viewers, w.hours_viewed, w.views
FROM mart_title_week w LEFT JOIN dim_title t USING (title_id)
WHERE w.week_start = (SELECT max(week_start) FROM mart_title_week)
ORDER BY w.rank, w.title_id LIMIT ?
"""


def top_titles(home: Path, limit: int) -> list[dict[str, Any]]:
    """The most watched titles of the snapshot's newest week; blocks.

    Raises:
        NoSnapshotError: nothing is published yet.
    """
    with connect(home) as connection:
        cursor = connection.execute(_TOP, [limit])
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
