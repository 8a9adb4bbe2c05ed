"""A package that a title is given without being transcoded."""

import json
import shutil
from pathlib import Path

import psycopg

from matinee.settings import Settings


def publish(connection: psycopg.Connection, settings: Settings, package: Path, title_id: str) -> str:
    """Put the package's files and rows where transcoding puts them; returns its id."""
    package_id, master_id = f"package-of-{title_id}", f"master-of-{title_id}"
    shutil.copytree(package, settings.media / title_id / package_id, copy_function=_link)
    connection.execute(
        "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
        "VALUES (%s, %s, 'film.mp4', 'x', 1, 'accepted')", (master_id, title_id),
    )  # fmt: skip
    connection.execute(
        "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, rungs) "
        "VALUES (%s, %s, %s, 'published', 20000, %s)",
        (package_id, title_id, master_id, json.dumps([{"name": "360p"}, {"name": "180p"}])),
    )
    return package_id


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
