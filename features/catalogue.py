"""What live features need of the catalogue, as it stands in PostgreSQL."""

from pathlib import Path

import psycopg

from features.live import Title
from matinee.db.queries import load

_QUERIES = load(Path(__file__).parent)
_STEPS = 3  # extra, episode, season, series


def read_catalogue(connection: psycopg.Connection) -> dict[str, Title]:
    """title_id -> what `dim_title` would say of it after the next build."""
    rows = {row[0]: row[1:] for row in connection.execute(_QUERIES["titles"])}
    parents = {title: parent for title, (_, parent, _, _) in rows.items() if parent in rows}
    made = {}
    for title, (_, _, runtime_s, _) in rows.items():
        item = title
        for _ in range(_STEPS):
            item = parents.get(item, item)
        kind, _, _, genres = rows[item]
        made[title] = Title(item, runtime_s, tuple(genres or ()), kind != "extra")
    return made
