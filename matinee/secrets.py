"""Secrets of one home: 32 random bytes each, in files of mode 0600 below `secrets/`, made on first use.

A secret that is renewed has versions: the first one lies in `<name>`, later ones in `<name>.<version>`.
"""

import contextlib
import os
import secrets
from pathlib import Path

from matinee.home import Home

SECRET_BYTES = 32


def secret(home: Home, name: str) -> bytes:
    """The 32 bytes of the named secret (`token`, `kek`, `media`, `redis`), created if it does not exist."""
    path = home.secrets / name
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    home.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = home.secrets / f".{name}.{secrets.token_hex(8)}"
    draft.touch(mode=0o600)
    draft.write_bytes(secrets.token_bytes(SECRET_BYTES))
    # A link fails where the name exists: of two who race here, both end up reading the first one's bytes.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_bytes()


def newest(home: Home, name: str) -> tuple[int, bytes]:
    """The version of a secret to use for what is new, and its bytes; made if there is none."""
    version = max(_versions(home, name), default=1)
    return version, secret(home, _file(name, version))


def version(home: Home, name: str, number: int) -> bytes | None:
    """An older version for what was made with it; none where it is not there."""
    path = _versions(home, name).get(number)
    return path.read_bytes() if path else None


def renew(home: Home, name: str) -> int:
    """Make the next version of a secret; the older ones stay until `retire`."""
    number = newest(home, name)[0] + 1
    secret(home, _file(name, number))
    return number


def retire(home: Home, name: str, needed: set[int]) -> list[int]:
    """Delete the versions that are neither needed nor one of the two newest; returns which."""
    there = _versions(home, name)
    old = [number for number in sorted(there)[:-2] if number not in needed]
    for number in old:
        there[number].unlink()
    return old


def _file(name: str, number: int) -> str:
    return name if number == 1 else f"{name}.{number}"


def _versions(home: Home, name: str) -> dict[int, Path]:
    first = {1: home.secrets / name} if (home.secrets / name).is_file() else {}
    later = {int(path.suffix[1:]): path for path in home.secrets.glob(f"{name}.*") if path.suffix[1:].isdecimal()}
    return first | later
