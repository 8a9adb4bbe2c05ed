"""What the supervisor wrote down about itself: `run/stack.json`, replaced atomically at every change."""

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum

import psutil

from matinee.home import Home

# A process's creation time is computed from the boot time, which the kernel gives in whole seconds and may adjust.
_SAME_START_S = 2.0


class State(StrEnum):
    WAITING = "waiting"  # for a service that it needs
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"  # crashed; starts again after a pause
    FAILED = "failed"  # crashed too often, or what it needs did
    STOPPING = "stopping"
    STOPPED = "stopped"
    ORPHANED = "orphaned"  # its supervisor was killed and it still runs


SETTLED = frozenset({State.READY, State.FAILED})


@dataclass(frozen=True)
class Process:
    """A process that a reused pid cannot be mistaken for. `create_time`: Unix seconds."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return not self._other(process) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def replaced(self) -> bool:
        """Whether the pid belongs to somebody else by now."""
        try:
            return self._other(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return False

    def _other(self, process: psutil.Process) -> bool:
        return abs(process.create_time() - self.create_time) >= _SAME_START_S


@dataclass(frozen=True)
class ServiceState:
    """One service as `matinee status` shows it. `since`: when it came into this state, ISO 8601, UTC."""

    name: str
    state: State
    pid: int | None = None
    address: str = ""
    log: str = ""
    since: str | None = None
    restarts: int = 0
    create_time: float | None = None
    stop_signal: int = 15
    stop_timeout: float = 10.0
    reason: str = ""

    @property
    def process(self) -> Process | None:
        return Process(self.pid, self.create_time) if self.pid and self.create_time else None


@dataclass(frozen=True)
class Disk:
    """Free space of the home's disk, MB, and the mark below which it is low."""

    free_mb: int
    watermark_mb: int

    @property
    def low(self) -> bool:
        return self.free_mb < self.watermark_mb


@dataclass(frozen=True)
class StackState:
    """`run_id` stands in the environment of every process that this supervisor started."""

    run_id: str
    supervisor: Process
    services: tuple[ServiceState, ...]
    disk: Disk

    def service(self, name: str) -> ServiceState | None:
        return next((service for service in self.services if service.name == name), None)

    @property
    def settled(self) -> bool:
        return all(service.state in SETTLED for service in self.services)


def write(home: Home, state: StackState) -> None:
    draft = home.run / "stack.json.tmp"
    draft.write_text(json.dumps(asdict(state), indent=1))
    os.replace(draft, home.run / "stack.json")


def read(home: Home) -> StackState | None:
    """What was written last, whether or not it still runs; None where nothing ever ran."""
    try:
        raw = json.loads((home.run / "stack.json").read_text())
        return StackState(
            run_id=raw["run_id"],
            supervisor=Process(**raw["supervisor"]),
            services=tuple(ServiceState(**{**s, "state": State(s["state"])}) for s in raw["services"]),
            disk=Disk(**raw["disk"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Never written, cut off by a power loss (which left no process either), or of another version.
        return None


def living(home: Home) -> StackState | None:
    """The state of the supervisor that runs now, if one does."""
    state = read(home)
    return state if state and state.supervisor.alive() else None
