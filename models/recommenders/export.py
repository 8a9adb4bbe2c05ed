"""Exported systems: `$MATINEE_HOME/models/<version>/`, and `current`, a symlink to the one that serves.

A version appears at once or not at all, and becomes current only after a copy loaded from its files has answered its
golden requests as recorded.
"""

import os
import shutil
from pathlib import Path

from matinee.home import Home
from models.errors import ModelError
from models.recommenders.system import System

KEPT = 3
_LINK = "current"


def current(home: Home) -> Path | None:
    """The folder of the system that serves; None where nothing was exported yet, or its folder is gone."""
    link = home.models / _LINK
    return link.resolve() if link.exists() else None


def export(system: System, home: Home) -> Path:
    """Write the system, check what was written, make it current; the last three versions are kept.

    Raises:
        ModelError: the written copy does not load or answers wrongly; what was current before stays.
    """
    home.models.mkdir(parents=True, exist_ok=True)
    draft = home.models / f".draft.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        system.save(draft)
        return publish(draft, home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, home: Home) -> Path:
    """Make the files in `draft` (below the home) current, once a copy loaded from them has answered as recorded.

    Raises:
        ModelError: it does not load or answers wrongly; what was current before stays.
    """
    loaded = System.load(draft)
    loaded.check()
    version = loaded.about.version
    if not version or "/" in version or version.startswith("."):
        raise ModelError(f"a model cannot be exported as version {version!r}")
    _sync_tree(draft)
    target = home.models / version
    if target.exists():  # exported before; other content under its name belongs to a registry that was made anew
        old = home.models / f".old.{os.getpid()}"
        os.replace(target, old)
        os.replace(draft, target)
        shutil.rmtree(old)
    else:
        os.replace(draft, target)
    _switch(home, version)
    _clear(home)
    return target


def _switch(home: Home, version: str) -> None:
    link = home.models / f".{_LINK}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    os.replace(link, home.models / _LINK)
    _sync(home.models)


def _clear(home: Home) -> None:
    """Remove all but the newest versions; what serves is the newest, as it was written last."""
    folders = [
        path for path in home.models.iterdir() if path.is_dir() and path.name[0] != "." and not path.is_symlink()
    ]
    for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(path)


def _sync_tree(folder: Path) -> None:
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
