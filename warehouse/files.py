"""Files and folders that are whole on disk before anybody can see them."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

_CLONE = 0x40049409  # FICLONE of Linux: the same blocks under another name, until one of the two changes


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a draft beside `path`, put it on disk, then give it its name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write(draft)
    sync(draft)
    os.replace(draft, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """The same for all that is below a folder, and the folder itself."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def clone(source: Path, target: Path) -> None:
    """The file's content under another name, to be changed there; in no time where the file system can share blocks."""
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new, _CLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)
