"""What the recommenders read of the published snapshot."""

from contextlib import nullcontext
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from matinee.settings import Settings
from models.interactions import Interactions
from models.recommenders.content import TitleContent, read_contents
from models.recommenders.segments import read_profiles
from models.recommenders.zoo import Side
from warehouse.snapshot import hold, named

# A title counts once for a viewer: at the first time that it was positive.
_POSITIVES = """
SELECT p.row AS profile, t.row AS item, epoch(min(i.happened_at)) AS moment
FROM fct_interaction i JOIN profiles p USING (profile_key) JOIN items t USING (item_id)
WHERE i.is_positive
GROUP BY p.row, t.row
ORDER BY moment, min(i.interaction_id)
"""

_ITEMS = """
CREATE TEMP TABLE items AS
SELECT row_number() OVER (ORDER BY item_id) - 1 AS row, *
FROM (
    SELECT item_id, coalesce(any_value(genres) FILTER (WHERE title_id = item_id), []) AS genres,
           epoch(min(created_at) FILTER (WHERE title_id = item_id)) AS created
    FROM dim_title GROUP BY item_id
    HAVING count(*) FILTER (WHERE title_id = item_id AND kind <> 'extra') > 0
)
"""

_PROFILES = """
CREATE TEMP TABLE profiles AS
SELECT row_number() OVER (ORDER BY profile_key) - 1 AS row, profile_key
FROM (SELECT DISTINCT profile_key FROM fct_interaction WHERE profile_key IS NOT NULL)
"""


@dataclass(frozen=True)
class Marts:
    """`data` are the positive interactions, users are rows of `profiles`, items rows of `items`."""

    snapshot_id: str
    data_hash: str
    profiles: list[str]
    items: list[str]
    created: NDArray[np.float64]  # [n_items] seconds
    genres: list[list[str]]
    data: Interactions
    content: list[TitleContent]  # row = item
    regions: list[str | None]  # row = profile
    kids: NDArray[np.bool_]  # [n_profiles]

    @property
    def side(self) -> Side:
        return Side(self.content, self.regions, self.kids)


def read_marts(settings: Settings, snapshot_id: str | None = None) -> Marts:
    """A snapshot (None: the current one), whole: readers keep theirs while a newer one is published.

    Raises:
        NoSnapshotError: nothing is published yet, or there is no such snapshot.
    """
    chosen = hold(settings.lake) if snapshot_id is None else nullcontext(named(settings.lake, snapshot_id))
    with chosen as snapshot, duckdb.connect() as connection:
        path = str(snapshot.marts).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS marts (READ_ONLY)")
        for name in ("dim_title", "fct_interaction"):
            connection.execute(f"CREATE TEMP VIEW {name} AS FROM marts.{name}")
        connection.execute(_ITEMS)
        connection.execute(_PROFILES)
        items = connection.execute("FROM items ORDER BY row").fetchall()
        profiles = [row[0] for row in connection.execute("SELECT profile_key FROM profiles ORDER BY row").fetchall()]
        positives = connection.execute(_POSITIVES).fetchnumpy()
        there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        known = read_contents(connection) if "dim_title_content" in there else {}
        about = read_profiles(connection) if "dim_profile" in there else {}
    return Marts(
        snapshot_id=snapshot.snapshot_id,
        data_hash=snapshot.data_hash,
        profiles=profiles,
        items=[row[1] for row in items],
        genres=[row[2] for row in items],
        created=np.array([row[3] or 0.0 for row in items], dtype=np.float64),
        data=Interactions.sorted(
            positives["profile"], positives["item"], positives["moment"], len(profiles), len(items)
        ),
        content=[known.get(row[1]) or TitleContent(row[1], genres=tuple(row[2])) for row in items],
        regions=[about[key].region if key in about else None for key in profiles],
        kids=np.array([key in about and about[key].kids for key in profiles], dtype=np.bool_),
    )
