"""What a command does that needs the services: start what is not running, stop what it started."""

import fcntl
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from matinee.db.migrate import migrate
from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack import postgres, redis
from matinee.stack.service import Service

_POLL_S = 0.02


@dataclass
class _Started:
    service: Service
    process: subprocess.Popen[bytes]


@contextmanager
def services(settings: Settings) -> Iterator[None]:
    """PostgreSQL (migrated) and Redis for the length of the block.

    A running stack, or another command that started them, is used as it is. Whoever started them waits at the end
    until no other command uses them.

    Raises:
        StackError: a service does not come up; the message names its log.
    """
    settings.home.create()
    with ExitStack() as cleanup:
        with _lock(settings, "start.lock", fcntl.LOCK_EX):
            if settings.embedded_postgres:
                cleanup.callback(_stop, settings, _start(settings, postgres.answers, postgres.service))
            if settings.embedded_redis:
                cleanup.callback(_stop, settings, _start(settings, redis.answers, redis.service))
            prepare_database(settings)
        cleanup.enter_context(_lock(settings, "users.lock", fcntl.LOCK_SH))
        yield


def prepare_database(settings: Settings) -> None:
    """Databases and migrations: idempotent, safe to run from several processes."""
    postgres.ensure_databases(settings)
    migrate(settings.database())


def _start(
    settings: Settings, answers: Callable[[Settings], bool], describe: Callable[[Settings], Service]
) -> _Started | None:
    if answers(settings):
        return None
    service = describe(settings)
    if service.prepare:
        service.prepare()
    log = settings.home.logs / f"{service.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            preexec_fn=service.in_child(),  # noqa: PLW1509 - runs before any thread of ours
        )
    deadline = time.monotonic() + service.ready_timeout
    while not service.ready():
        if process.poll() is not None:
            raise StackError(f"{service.name} ended with code {process.returncode} while starting: see {log}")
        if time.monotonic() > deadline:
            process.kill()
            raise StackError(f"{service.name} was not ready after {service.ready_timeout:.0f} s: see {log}")
        time.sleep(_POLL_S)
    return _Started(service, process)


def _stop(settings: Settings, started: _Started | None) -> None:
    if started is None:
        return
    with _lock(settings, "users.lock", fcntl.LOCK_EX):
        started.process.send_signal(started.service.stop_signal)
        try:
            started.process.wait(started.service.stop_timeout)
        except subprocess.TimeoutExpired:
            started.process.send_signal(signal.SIGKILL)
            started.process.wait()


@contextmanager
def _lock(settings: Settings, name: str, kind: int) -> Iterator[None]:
    with (settings.home.run / name).open("w") as file:
        fcntl.flock(file, kind)
        yield
