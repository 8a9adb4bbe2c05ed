"""The API as a service of the local stack: one uvicorn process on loopback."""

import sys
import urllib.error
import urllib.request
from pathlib import Path

from matinee.ports import claim_port
from matinee.settings import Settings
from matinee.stack.service import Service

_ROOT = Path(__file__).resolve().parent.parent


def service(settings: Settings) -> Service:
    """What the supervisor runs.

    Raises:
        StackError: the port in the settings is taken.
    """
    port = claim_port(settings.home, "api", settings.api_port)
    address = f"http://127.0.0.1:{port}"
    return Service(
        name="api",
        argv=(
            sys.executable,
            "-m",
            "serving.run",
            *("--port", str(port)),
        ),
        ready=lambda: answers(f"{address}/health/ready"),
        address=address,
        after=tuple(
            name
            for name, embedded in (("postgres", settings.embedded_postgres), ("redis", settings.embedded_redis))
            if embedded
        ),
        env=settings.environment(),
        cwd=_ROOT,
        stop_timeout=10.0 + settings.drain_s,
    )


def answers(url: str) -> bool:
    """Whether a GET of the address succeeds within a second."""
    try:
        with urllib.request.urlopen(url, timeout=0.9) as response:  # noqa: S310 - our own loopback address
            return response.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
