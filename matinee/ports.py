"""Ports of one home: chosen free once, written to `run/ports.json`, kept."""

import json
import os
import socket

from filelock import FileLock

from matinee.errors import StackError
from matinee.home import Home


def known_port(home: Home, name: str) -> int:
    """The port that `name` has in this home.

    Raises:
        StackError: the service never started in this home.
    """
    ports = _read(home)
    if name not in ports:
        raise StackError(f"{name} has no port in {home.root} yet: start the stack with `matinee up`")
    return ports[name]


def claim_port(home: Home, name: str, wanted: int | None = None) -> int:
    """The port for a service that is about to start on loopback: the wanted one, the one it had, or a free one.

    Raises:
        StackError: the wanted port is taken by another process.
    """
    with FileLock(home.run / "ports.lock"):
        ports = _read(home)
        if wanted is not None and not is_free(wanted):
            raise StackError(
                f"port {wanted} for {name} is in use: stop what listens there or set MATINEE_{name.upper()}_PORT"
            )
        port = wanted or ports.get(name)
        if port is None or not is_free(port):
            taken = set(ports.values())
            port = next(p for p in iter(_free_port, None) if p not in taken)
        ports[name] = port
        draft = home.run / "ports.json.tmp"
        draft.write_text(json.dumps(ports, indent=1, sort_keys=True))
        os.replace(draft, home.run / "ports.json")
        return port


def _read(home: Home) -> dict[str, int]:
    try:
        return json.loads((home.run / "ports.json").read_text())
    except (FileNotFoundError, ValueError):  # never written, or cut off by a power loss: new ones do as well
        return {}


def is_free(port: int) -> bool:
    """Whether a server could listen there, on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
