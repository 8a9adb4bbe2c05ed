"""Exported systems: `$MATINEE_HOME/models/<version>/`, and `current`, a symlink to the one that serves.

A version appears at once or not at all, and becomes current only after a copy loaded from its files has answered its
golden requests as recorded. One process at a time exports (a build and the worker both follow the registry). A folder
is never written again: other content of a version that is there stands beside it, as `<version>-2`.
"""

import filecmp
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from matinee.errors import MatineeError
from matinee.home import Home
from models.errors import ModelError
from models.recommenders.files import FILES
from models.recommenders.system import System

KEPT = 3
_LINK = "current"
_NEW_LINK, _DRAFT = f".{_LINK}.new", ".draft"
_LEFT = (".draft*", ".old.*", f".{_LINK}.*")  # what an export that was killed leaves behind
_PATIENCE_S = 60.0  # for another export: one takes about a second


class OvertakenError(ModelError):
    """What was to be exported is not wanted any more; what served before goes on."""


def current(home: Home) -> Path | None:
    """The folder of the system that serves; None where nothing was exported yet, or its folder is gone."""
    link = home.models / _LINK
    return link.resolve() if link.exists() else None


def kept(home: Home) -> list[Path]:
    """The folders of exported systems, links resolved, the newest first; the one that serves is among them."""
    if not home.models.is_dir():
        return []
    found = [path for path in home.models.resolve().iterdir() if path.name[0] != "." and not path.is_symlink()]
    return sorted((path for path in found if path.is_dir()), key=lambda path: -path.stat().st_mtime_ns)


def mark(folder: Path) -> object | None:
    """What changes when any file of an exported system is replaced, cut off or deleted; None: one is missing."""
    try:
        found = [(folder / name).stat() for name in FILES]
    except OSError:
        return None
    return folder, tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in found)


def checked(folder: Path, name: str = "") -> System:
    """The system of these files, after it has answered its golden requests as recorded. `name`: how errors call it.

    Raises:
        ModelError: it does not load or answers wrongly.
    """
    name = name or str(folder)
    try:
        system = System.load(folder)
        system.check()
    except MatineeError as error:
        raise ModelError(str(error).replace(str(folder), name)) from error
    except Exception as error:  # arrays of other shapes or types raise whatever NumPy meets first
        raise ModelError(f"{name} is damaged ({type(error).__name__}: {error}): export the model again") from error
    return system


def export(system: System, home: Home, wanted: Callable[[], bool] = lambda: True) -> Path:
    """Write the system, check what was written, make it current; the last three versions are kept.

    What serves already with the very same files stays as it is. `wanted` is asked last, while nobody else may export.
    Returns the folder, links resolved.

    Raises:
        ModelError: the written copy does not load or answers wrongly; what was current before stays.
        OvertakenError: it is not wanted any more; the same.
        HomeError: the folder cannot be written.
    """
    version = system.about.version
    if not version or "/" in version or version.startswith(".") or version == _LINK:
        raise ModelError(f"a model cannot be exported as version {version!r}")
    with home.usable(), _alone(home):
        draft = home.models / _DRAFT
        try:
            system.save(draft)
            checked(draft, f"the export of model {version}")
            if not wanted():
                raise OvertakenError(f"model {version} is not wanted any more")
            return _switched(draft, home, version)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Be the only one that exports; the lock lies beside the folder, which may be deleted at any time."""
    home.run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.run / "models.lock", timeout=_PATIENCE_S)
    try:
        lock.acquire()
    except Timeout:
        raise ModelError(f"another process has been exporting for {_PATIENCE_S:.0f} s: see {lock.lock_file}") from None
    try:
        home.models.mkdir(parents=True, exist_ok=True)
        for left in [path for pattern in _LEFT for path in home.models.glob(pattern)]:
            left.unlink() if left.is_symlink() or left.is_file() else shutil.rmtree(left)
        yield
    finally:
        lock.release()


def _switched(draft: Path, home: Home, version: str) -> Path:
    serves = current(home)
    if serves is not None and _same(draft, serves):
        return serves
    target = next((folder for folder in kept(home) if _same(draft, folder)), None)
    if target is not None:  # gone back to
        os.utime(target)
    else:
        _sync_tree(draft)
        target = _free(home, version)
        os.replace(draft, target)
    _switch(home, target.name)
    _clear(home)
    return target.resolve()  # as `current` tells it


def _same(draft: Path, serves: Path) -> bool:
    return filecmp.cmpfiles(draft, serves, FILES, shallow=False)[0] == list(FILES)


def _free(home: Home, version: str) -> Path:
    """A folder that nobody has: never the one that serves, which would be gone for a moment."""
    folder, number = home.models / version, 2
    while os.path.lexists(folder):
        folder, number = home.models / f"{version}-{number}", number + 1
    return folder


def _switch(home: Home, name: str) -> None:
    new, link = home.models / _NEW_LINK, home.models / _LINK
    if link.is_dir() and not link.is_symlink():  # a copied home, whose links became folders
        os.replace(link, _free(home, "copied"))
    new.symlink_to(name)
    os.replace(new, link)
    _sync(home.models)


def _clear(home: Home) -> None:
    for path in kept(home)[KEPT:]:
        if path != current(home):
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
