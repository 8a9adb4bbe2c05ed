"""Processes of a service that outlived their leader or their supervisor: found, never mixed up, ended.

Three marks, because each alone misses some: the recorded leader (pid and creation time), its process group, and the
environment variable `MATINEE_STACK` that every descendant inherits (PostgreSQL overwrites its environment, a
daemonising grandchild leaves the group).
"""

import contextlib
import os
import time
from collections.abc import Iterable

import psutil

from matinee.stack.state import Process, StackState

MARK = "MATINEE_STACK"
_POLL_S = 0.05
_KILL_WAIT_S = 5.0


def mark(run_id: str, name: str = "") -> str:
    """The value of the mark: the supervisor's run, then the service."""
    return f"{run_id}/{name}"


def marked(prefix: str, groups: Iterable[Process] = ()) -> list[psutil.Process]:
    """Living processes, ourselves apart, whose mark starts so or that belong to a group of these leaders.

    A group's number is not given away while the group has members; the leader's pid is compared by creation time.
    """
    leaders = {leader.pid: leader for leader in groups}
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, prefix, leaders)]


def _belongs(process: psutil.Process, prefix: str, leaders: dict[int, Process]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        leader = leaders.get(os.getpgid(process.pid))
        if leader and not leader.replaced():
            return True
        return process.environ().get(MARK, "").startswith(prefix)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's: not ours
        return False


def end(processes: Iterable[psutil.Process], wait: float = _KILL_WAIT_S) -> None:
    """SIGKILL, and wait until they are gone. psutil refuses a pid that was reused meanwhile."""
    doomed = list(processes)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_gone(doomed, wait)


def clean(state: StackState) -> list[str]:
    """End what a killed supervisor left: each service by its own stop signal first; returns the names found."""
    leaders = {service.name: service.process for service in state.services if service.process}
    running = [service for service in state.services if service.name in leaders and leaders[service.name].alive()]
    strays = marked(mark(state.run_id), leaders.values())
    handles = []
    for service in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            handles.append(handle := psutil.Process(leaders[service.name].pid))
            handle.send_signal(service.stop_signal)
    _wait_gone(handles, max((service.stop_timeout for service in running), default=0.0))
    end(marked(mark(state.run_id), leaders.values()))
    return [service.name for service in running] or [f"{len(strays)} child processes"] * bool(strays)


def _wait_gone(processes: list[psutil.Process], seconds: float) -> None:
    """Wait for processes that need not be our children; a zombie that nobody buries counts as gone."""
    deadline = time.monotonic() + seconds
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
