"""The models' part in forgetting people: which versions have learnt from them.

What is stored of a model has a row for each title and none for a viewer (the histories in `golden.json` are made up).
So nothing in it can be taken out for one person: a version that has learnt from them is named, and the next build
trains without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg

from matinee.settings import Settings

_SNAPSHOT_ID = "%Y%m%dT%H%M%S%fZ"
_VERSIONS = """
    SELECT v.name, v.version::text, t.value, coalesce(string_agg(a.alias, ', ' ORDER BY a.alias), '')
    FROM model_versions v
    JOIN model_version_tags t ON t.name = v.name AND t.version = v.version AND t.key = 'snapshot_id'
    LEFT JOIN registered_model_aliases a ON a.name = v.name AND a.version = v.version
    GROUP BY v.name, v.version, t.value ORDER BY v.name, v.version
"""


@dataclass(frozen=True)
class Learnt:
    """A registered version whose training snapshot held the person's rows."""

    model: str
    version: str
    aliases: str
    snapshot_id: str


def learnt_from(settings: Settings, since: datetime | None) -> list[Learnt]:
    """The versions that were fitted to snapshots made after `since`, when the warehouse first heard of the person.

    Read from MLflow's own tables where it is ours, as importing MLflow takes longer than an erasure may.
    """
    if since is None:
        return []
    return [version for version in _versions(settings) if _made_after(version.snapshot_id, since)]


def _versions(settings: Settings) -> list[Learnt]:
    if settings.mlflow_url is None:
        try:
            with psycopg.connect(settings.database("mlflow"), connect_timeout=5) as connection:
                rows = connection.execute(_VERSIONS).fetchall()
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):  # nothing was ever trained here
            return []
        return [Learnt(model, version, aliases, snapshot) for model, version, snapshot, aliases in rows]
    from models.recommenders.registry import MODEL, versions

    found: list[tuple[Mapping[str, str], str, str]] = [
        (v.tags, v.version, ", ".join(v.aliases)) for v in versions(settings)
    ]
    return [Learnt(MODEL, version, aliases, tags.get("snapshot_id", "")) for tags, version, aliases in found]


def _made_after(snapshot_id: str, since: datetime) -> bool:
    """Whether the snapshot of this name holds what was loaded then; a name that tells no time may."""
    try:
        made = datetime.strptime(snapshot_id.partition("-")[0] + "+0000", f"{_SNAPSHOT_ID}%z")
    except ValueError:
        return True
    return made >= since
