"""`up`, `down` and `status`: one supervisor a home, in the foreground or in the background."""

import asyncio
import fcntl
import os
import select as readiness
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from matinee.errors import MatineeError, StackError
from matinee.settings import Settings
from matinee.stack import leftovers, postgres, redis, state
from matinee.stack.plan import BACKING, select
from matinee.stack.service import Service
from matinee.stack.session import locked, prepare_database
from matinee.stack.state import ServiceState, StackState, State
from matinee.stack.supervisor import OWN_NAME, Supervisor

Processes = Callable[[Settings], list[Service]]

_POLL_S = 0.1
_DOWN_EXTRA_S = 15.0
_OTHER_COMMAND_S = 600.0


def stack_services(settings: Settings, processes: Processes) -> list[Service]:
    """Everything that `up` runs here: the embedded services in front, then the application's."""
    backing: list[Service] = []
    if settings.embedded_postgres:
        backing.append(replace(postgres.service(settings), once_ready=lambda: prepare_database(settings)))
    if settings.embedded_redis:
        backing.append(redis.service(settings))
    return [*backing, *processes(settings)]


def run(
    settings: Settings,
    processes: Processes,
    *,
    only: Sequence[str] = (),
    note: Callable[[str], None] = print,
    on_ready: Callable[[StackState], None] | None = None,
) -> None:
    """Run the stack in this process until it is told to stop.

    Raises:
        StackError: it runs already, a name in `only` is unknown, or PostgreSQL or Redis do not come up.
        HomeError: the home cannot be written.
    """
    with ExitStack() as held:
        with settings.home.create().usable():
            held.enter_context(_alone(settings))
            if (before := state.read(settings.home)) and (found := leftovers.clean(before)):
                note(f"cleaned up after a killed stack: {', '.join(found)}")
            supervisor = _take_over(settings, processes, only, note, on_ready)
        asyncio.run(supervisor.run())


def _take_over(
    settings: Settings,
    processes: Processes,
    only: Sequence[str],
    note: Callable[[str], None],
    on_ready: Callable[[StackState], None] | None,
) -> Supervisor:
    """Own the services, after every command that runs its own here has ended: two servers cannot share a folder."""
    deadline = time.monotonic() + _OTHER_COMMAND_S
    told = False
    while True:
        with locked(settings, "start.lock"):
            if not _in_use(settings):
                services = select(stack_services(settings, processes), only)
                if not settings.embedded_postgres:
                    prepare_database(settings)
                supervisor = Supervisor(settings, services, essential=BACKING, on_ready=on_ready)
                # From here on other commands see that these services are ours to start.
                state.write(settings.home, supervisor.snapshot())
                return supervisor
        if not told:
            note(f"another command uses the services of {settings.home.root}: waiting for it to end")
            told = True
        if time.monotonic() > deadline:
            raise StackError(f"another command still uses the services of {settings.home.root}: end it and try again")
        time.sleep(_POLL_S)


def start_detached(settings: Settings, processes: Processes, *, only: Sequence[str] = ()) -> StackState:
    """Run the stack in the background; returns when every service is ready or given up.

    Raises:
        StackError: as `run`; or the background process died, the message names its log.
    """
    settings.home.create()
    log = settings.home.logs / f"{OWN_NAME}.log"
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_in_background(settings, processes, only, writing, log)
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        while True:
            if readiness.select([report], [], [], _POLL_S)[0]:
                message = report.read().decode()
                os.waitpid(child, 0)
                raise StackError(message or f"the stack ended while it was starting: see {log}")
            now = state.living(settings.home)
            if now and now.supervisor.pid == child and now.settled:
                return now


def _run_in_background(
    settings: Settings, processes: Processes, only: Sequence[str], report: int, log: Path
) -> None:  # never returns
    """The forked half: no terminal, no way back; a failure goes to the parent as one line."""
    code = 1
    try:
        os.setsid()
        with log.open("ab") as output, Path(os.devnull).open("r+b") as nothing:
            for number, target in ((0, nothing), (1, nothing), (2, output)):
                os.dup2(target.fileno(), number)
        run(settings, processes, only=only, note=lambda text: print(text, file=sys.stderr, flush=True))
        code = 0
    except MatineeError as error:
        os.write(report, str(error).encode())
    except BaseException:  # noqa: BLE001 - the end of a process: the traceback goes to its log
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def stop(settings: Settings, note: Callable[[str], None] = print) -> list[str]:
    """Stop the stack of this home and wait until all of it is down; returns the names of what ran.

    Raises:
        StackError: it belongs to another user.
    """
    known = state.read(settings.home)
    if known is None:
        return []
    try:
        if not known.supervisor.alive():
            return leftovers.clean(known)
        names = [service.name for service in known.services if service.pid]
        patience = sum(service.stop_timeout for service in known.services) + _DOWN_EXTRA_S
        supervisor = psutil.Process(known.supervisor.pid)
        supervisor.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while known.supervisor.alive():
            if time.monotonic() > deadline:
                note(f"the supervisor (pid {known.supervisor.pid}) did not stop within {patience:.0f} s: killing it")
                supervisor.kill()
                leftovers.clean(state.read(settings.home) or known)
                break
            time.sleep(_POLL_S / 2)
        return names
    except psutil.AccessDenied:
        raise StackError(f"the stack of {settings.home.root} belongs to another user: stop it as that user") from None


def status(settings: Settings, processes: Processes) -> list[ServiceState]:
    """Every service of this home as it is now; what runs without a supervisor is `orphaned`."""
    known = state.read(settings.home)
    found = {service.name: service for service in known.services} if known else {}
    alive = known is not None and known.supervisor.alive()
    services = [found[name] for name in found] if alive else [_unowned(service) for service in found.values()]
    missing = [name for name in _names(settings, processes) if name not in found]
    logs = settings.home.logs
    return [*services, *(ServiceState(name, State.STOPPED, log=str(logs / f"{name}.log")) for name in missing)]


def _unowned(service: ServiceState) -> ServiceState:
    if service.process and service.process.alive():
        return replace(service, state=State.ORPHANED)
    if service.state is State.FAILED:
        return replace(service, pid=None, create_time=None)
    return replace(service, state=State.STOPPED, pid=None, create_time=None)


def _names(settings: Settings, processes: Processes) -> list[str]:
    """What `up` would run. Asked of a scratch home: describing services claims ports, and a question must not."""
    with tempfile.TemporaryDirectory(prefix="matinee-status-") as folder:
        free = {"home_path": Path(folder), "api_port": None, "dagster_port": None, "mlflow_port": None}
        scratch = settings.model_copy(update=free)
        scratch.home.create()
        return [service.name for service in stack_services(scratch, processes)]


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the home; the kernel lets go of it when we die, however we die."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(settings, "supervisor.lock", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            running = state.living(settings.home)
            who = f" (pid {running.supervisor.pid})" if running else ""
            raise StackError(
                f"the stack of {settings.home.root} is already up{who}: stop it with `matinee down`"
            ) from None
        yield


def _in_use(settings: Settings) -> bool:
    try:
        with locked(settings, "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            return (settings.embedded_postgres and postgres.answers(settings)) or (
                settings.embedded_redis and redis.answers(settings)
            )
    except BlockingIOError:
        return True
