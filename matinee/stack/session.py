"""What a command does that needs the services: start what is not running, stop what it started."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from matinee.db.migrate import migrate
from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack import postgres, redis, state
from matinee.stack.output import rotate
from matinee.stack.service import Service
from matinee.stack.state import ServiceState, State

_POLL_S = 0.02
_SUPERVISOR_WAIT_S = 60.0


@dataclass
class _Started:
    service: Service
    process: subprocess.Popen[bytes]


def prepare_database(settings: Settings) -> None:
    """Databases and migrations: idempotent, safe to run from several processes.

    Raises:
        StackError: PostgreSQL does not answer or refuses.
        ContractError: a migration was changed after it was applied.
    """
    try:
        postgres.ensure_databases(settings)
        migrate(settings.database())
    except psycopg.OperationalError as error:
        raise StackError(f"PostgreSQL cannot be prepared: {str(error).strip().splitlines()[0]}") from None


@contextmanager
def services(settings: Settings, prepare: Callable[[Settings], None] = prepare_database) -> Iterator[None]:
    """PostgreSQL (migrated) and Redis for the length of the block.

    A running stack, or another command that started them, is used as it is. Whoever started them waits at the end
    until no other command uses them.

    Raises:
        StackError: a service does not come up; the message names its log.
        HomeError: the home cannot be written.
    """
    with ExitStack() as cleanup:
        with settings.home.create().usable():
            _start_missing(settings, prepare, cleanup)
        yield


def _start_missing(settings: Settings, prepare: Callable[[Settings], None], cleanup: ExitStack) -> None:
    with locked(settings, "start.lock"):
        if settings.embedded_postgres:
            cleanup.callback(_stop, settings, _start(settings, "postgres", postgres.answers, postgres.service))
        if settings.embedded_redis:
            cleanup.callback(_stop, settings, _start(settings, "redis", redis.answers, redis.service))
        prepare(settings)
        cleanup.enter_context(locked(settings, "users.lock", fcntl.LOCK_SH))


def _start(
    settings: Settings, name: str, answers: Callable[[Settings], bool], describe: Callable[[Settings], Service]
) -> _Started | None:
    if answers(settings):
        return None
    if supervised(settings, name):
        _wait_for_supervisor(settings, name, answers)
        return None
    service = describe(settings)
    if service.prepare:
        service.prepare()
    log = settings.home.logs / f"{service.name}.log"
    if log.exists() and log.stat().st_size > settings.log_rotate_mb * 1_000_000:
        rotate(log)
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=service.cwd or "/",
            env={**os.environ, **service.env},
            start_new_session=True,
            preexec_fn=service.in_child(),  # noqa: PLW1509 - only system calls between fork and exec
        )
    deadline = time.monotonic() + service.ready_timeout
    while not service.ready():
        if process.poll() is not None:
            raise StackError(f"{service.name} ended with code {process.returncode} while starting: see {log}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StackError(f"{service.name} was not ready after {service.ready_timeout:.0f} s: see {log}")
        time.sleep(_POLL_S)
    return _Started(service, process)


def supervised(settings: Settings, name: str) -> ServiceState | None:
    """The service as the running supervisor has it, if there is one and it has that service."""
    stack = state.living(settings.home)
    return stack.service(name) if stack else None


def _wait_for_supervisor(settings: Settings, name: str, answers: Callable[[Settings], bool]) -> None:
    """A supervisor owns the service: it starts or restarts it, and we must not start a second one."""
    deadline = time.monotonic() + _SUPERVISOR_WAIT_S
    while not answers(settings):
        service = supervised(settings, name)
        if service is None or service.state in (State.FAILED, State.STOPPING, State.STOPPED):
            raise StackError(
                f"{name} is {service.state if service else 'gone'}: see `matinee status`, then `matinee up`"
            )
        if time.monotonic() > deadline:
            raise StackError(f"{name} does not answer, though `matinee up` runs: see {service.log}")
        time.sleep(_POLL_S)


def _stop(settings: Settings, started: _Started | None) -> None:
    if started is None:
        return
    with locked(settings, "users.lock"):
        started.process.send_signal(started.service.stop_signal)
        try:
            started.process.wait(started.service.stop_timeout)
        except subprocess.TimeoutExpired:
            started.process.send_signal(signal.SIGKILL)
            started.process.wait()


@contextmanager
def locked(settings: Settings, name: str, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock of this home. `start.lock`: starting services; `users.lock`: using them (shared), stopping them.

    Raises:
        BlockingIOError: `kind` has `LOCK_NB` and another process holds it.
    """
    with (settings.home.run / name).open("w") as file:
        fcntl.flock(file, kind)
        yield
