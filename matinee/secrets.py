"""Secrets of one home: 32 random bytes each, in files of mode 0600 below `secrets/`, made on first use."""

import contextlib
import os
import secrets

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
