"""Our own small supervisor: starts services in the order of their readiness, keeps them up, stops them in reverse.

One asyncio loop in the main thread. A child dies with us (the kernel sends it its stop signal when we die, however we
die), has a session of its own, so that Ctrl-C in the terminal reaches only us, and is marked in its environment, so
that what it started is found and ended with it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from io import FileIO

from matinee.clock import Clock, SystemClock
from matinee.errors import MatineeError, StackError
from matinee.ids import uuid7
from matinee.settings import Settings
from matinee.stack import leftovers, state
from matinee.stack.output import Lines, RotatingLog, Terminal
from matinee.stack.plan import Backoff
from matinee.stack.service import Service
from matinee.stack.state import Disk, Process, ServiceState, StackState, State

OWN_NAME = "stack"
_FIRST_POLL_S = 0.02
_LONGEST_POLL_S = 0.25
_DISK_EVERY_S = 15.0
_LAST_WORDS_S = 1.0
_MB = 1_000_000


@dataclass
class _Child:
    service: Service
    log: RotatingLog
    state: State = State.WAITING
    reason: str = ""
    since: str = ""
    restarts: int = 0
    process: asyncio.subprocess.Process | None = None
    identity: Process | None = None
    pump: "asyncio.Task[None] | None" = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class _GivenUpError(Exception):
    """The service cannot be started, and trying again would not help."""


class Supervisor:
    """Runs the services until it is told to stop (SIGINT, SIGTERM, SIGHUP, or `stop`).

    `services` come in an order in which each follows what it needs (see `plan.select`). If one of `essential` does
    not come up at the first start, everything is stopped. `on_ready` is called once, when every service is ready or
    given up.
    """

    def __init__(
        self,
        settings: Settings,
        services: Sequence[Service],
        *,
        essential: frozenset[str] = frozenset(),
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        terminal: Terminal | None = None,
        on_ready: Callable[[StackState], None] | None = None,
    ) -> None:
        self.settings = settings
        self.run_id = uuid7()
        self._essential = essential
        self._backoff = backoff or Backoff()
        self._clock = clock or SystemClock()
        self._on_ready = on_ready
        width = max((len(service.name) for service in services), default=0)
        self._terminal = terminal or Terminal(max(width, len(OWN_NAME)))
        self._limit = settings.log_rotate_mb * _MB
        self._own_log = RotatingLog(settings.home.logs / f"{OWN_NAME}.log", self._limit)
        self._children = {
            service.name: _Child(service, RotatingLog(settings.home.logs / f"{service.name}.log", self._limit))
            for service in services
        }
        for child in self._children.values():
            child.since = self._now()
        self._me = Process.of(os.getpid()) or Process(os.getpid(), 0.0)
        self._disk = self._look_at_disk()
        self._unwritable = False
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: str | None = None

    async def run(self) -> None:
        """Start everything, keep it up, and stop it when told to.

        Raises:
            StackError: an essential service did not come up.
            HomeError: the state cannot be written.
        """
        with self.settings.home.usable():
            state.write(self.settings.home, self.snapshot())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        tasks = [asyncio.create_task(self._keep(child)) for child in self._children.values()]
        tasks += [asyncio.create_task(self._watch_disk()), asyncio.create_task(self._announce())]
        for task in tasks:
            task.add_done_callback(self._stop_on_defect)
        try:
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_all()
        for result in results:
            if isinstance(result, Exception):
                raise result
        if self._failure:
            raise StackError(self._failure)

    def stop(self) -> None:
        """Stop cleanly; asked twice, stop at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def _stop_on_defect(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception():
            self.stop()

    def say(self, text: str, *, alarm: bool = False) -> None:
        self._terminal.line(OWN_NAME, text, alarm=alarm)
        self._own_log.write(f"{self._now()} {text}\n".encode())

    def snapshot(self) -> StackState:
        return StackState(
            self.run_id, self._me, tuple(self._describe(child) for child in self._children.values()), self._disk
        )

    # -- the life of one service ---------------------------------------------------------------------------------

    async def _keep(self, child: _Child) -> None:
        try:
            await self._wait_for_needs(child)
            crashes = 0
            while True:
                reason, seconds_ready = await self._live(child)
                crashes = 1 if seconds_ready > self._backoff.window else crashes + 1
                pause = self._backoff.delay(crashes)
                if pause is None:
                    raise _GivenUpError(f"{reason}, {crashes} times in a row: given up")
                self._set(child, State.BACKOFF, reason)
                self.say(f"{child.service.name} {reason}; starting again in {pause:g} s", alarm=True)
                await asyncio.sleep(pause)
                child.restarts += 1
        except (MatineeError, _GivenUpError) as error:
            if child.process and child.process.returncode is None:
                await self._halt(child, child.process)
            self._give_up(child, str(error))

    async def _wait_for_needs(self, child: _Child) -> None:
        for name in child.service.after:
            if need := self._children.get(name):
                await need.settled.wait()
                if need.state is State.FAILED:
                    raise _GivenUpError(f"not started, because it needs {name}, which failed")

    async def _live(self, child: _Child) -> tuple[str, float]:
        """One life, from start to exit: why it ended, and for how many seconds it had been ready."""
        service = child.service
        self._set(child, State.STARTING)
        if service.prepare:
            await asyncio.to_thread(service.prepare)
        try:
            process = await self._spawn(child)
        except OSError as error:
            raise _GivenUpError(f"cannot run {service.argv[0]}: {error.strerror}") from None
        self._record()
        if not await self._until_ready(child, process):
            await self._halt(child, process)
            return f"was not ready after {service.ready_timeout:g} s", 0.0
        ready_at = time.monotonic()
        if process.returncode is None:
            if service.once_ready:
                await asyncio.to_thread(service.once_ready)
            self._set(child, State.READY)
            self.say(f"{service.name} is ready (pid {process.pid})")
            child.settled.set()
        code = await process.wait()
        await self._bury(child)
        return f"ended with {_exit(code)}", time.monotonic() - ready_at

    async def _spawn(self, child: _Child) -> asyncio.subprocess.Process:
        service = child.service
        mark = {leftovers.MARK: leftovers.mark(self.run_id, service.name)}
        # A pipe of our own: with asyncio's, the exit is not seen while a grandchild still holds the other end.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *service.argv,
                stdin=DEVNULL,
                stdout=writing,
                stderr=STDOUT,
                cwd=service.cwd or "/",
                env={**os.environ, **self.settings.environment(), **service.env, **mark},
                start_new_session=True,
                preexec_fn=service.in_child(),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        child.process, child.identity = process, Process.of(process.pid)
        child.pump = asyncio.create_task(self._pump(child, os.fdopen(reading, "rb", buffering=0)))
        return process

    async def _until_ready(self, child: _Child, process: asyncio.subprocess.Process) -> bool:
        """Wait until the service is ready or gone; False: it took too long."""
        deadline = time.monotonic() + child.service.ready_timeout
        pause = _FIRST_POLL_S
        while process.returncode is None and not await asyncio.to_thread(child.service.ready):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_S)
        return True

    async def _pump(self, child: _Child, pipe: FileIO) -> None:
        """Read what the service writes until nobody holds the other end, or until we are cancelled."""
        reader, lines = asyncio.StreamReader(), Lines()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while chunk := await reader.read(65_536):
                for line in lines.feed(chunk):
                    self._print(child, line)
        finally:
            transport.close()
            for line in lines.end():
                self._print(child, line)

    def _print(self, child: _Child, line: bytes) -> None:
        child.log.write(line)
        self._terminal.line(child.service.name, line.decode(errors="replace").rstrip())

    async def _halt(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        """Stop by the service's own signal; by force when that takes too long."""
        process.send_signal(child.service.stop_signal)
        if not await self._ends(process.wait(), child.service.stop_timeout):
            self.say(f"{child.service.name} did not stop by itself: killed", alarm=True)
            process.kill()
            await process.wait()
        await self._bury(child)

    async def _bury(self, child: _Child) -> None:
        """After the leader's exit: end what it started, and read its last words."""
        groups = [child.identity] if child.identity else []
        leftovers.end(leftovers.marked(leftovers.mark(self.run_id, child.service.name), groups))
        if child.pump:
            await asyncio.wait([child.pump], timeout=_LAST_WORDS_S)
            child.pump.cancel()
        child.process = child.identity = child.pump = None

    # -- the end -------------------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        if running := [name for name, child in self._children.items() if child.process]:
            self.say(f"stopping {', '.join(reversed(running))}")
        await asyncio.gather(*(self._stop_one(child) for child in self._children.values()))
        leftovers.end(leftovers.marked(leftovers.mark(self.run_id)))
        self.say("everything is stopped")
        for child in self._children.values():
            child.log.close()
        self._own_log.close()

    async def _stop_one(self, child: _Child) -> None:
        name = child.service.name
        for other in self._children.values():
            if name in other.service.after:
                await other.gone.wait()
        process = child.process
        if process and process.returncode is None:
            self._set(child, State.STOPPING)
            await self._halt(child, process)
        self._set(child, State.STOPPED)
        child.gone.set()

    async def _ends(self, exit_: Awaitable[int], seconds: float) -> bool:
        """Whether the process exits in time, and before we are told to hurry."""
        ended = asyncio.ensure_future(exit_)
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([ended, hurry], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        return ended.done()

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def _give_up(self, child: _Child, reason: str) -> None:
        first_start = not child.settled.is_set()
        log = child.log.path
        self._set(child, State.FAILED, reason)
        child.settled.set()
        self.say(f"{child.service.name} failed: {reason}; see {log}", alarm=True)
        if first_start and child.service.name in self._essential:
            self._failure = f"{child.service.name} {reason}: see {log}"
            self.stop()

    def _set(self, child: _Child, new: State, reason: str = "") -> None:
        child.state, child.reason, child.since = new, reason, self._now()
        self._record()

    def _describe(self, child: _Child) -> ServiceState:
        service, identity = child.service, child.identity
        return ServiceState(
            name=service.name,
            state=child.state,
            pid=identity.pid if identity else None,
            address=service.address,
            log=str(child.log.path),
            since=child.since,
            restarts=child.restarts,
            create_time=identity.create_time if identity else None,
            stop_signal=int(service.stop_signal),
            stop_timeout=service.stop_timeout,
            reason=child.reason,
        )

    def _record(self) -> None:
        try:
            state.write(self.settings.home, self.snapshot())
            self._unwritable = False
        except OSError as error:
            if not self._unwritable:  # once, not at every change
                self.say(f"cannot write the state to {self.settings.home.run}: {error.strerror}", alarm=True)
            self._unwritable = True

    async def _announce(self) -> None:
        for child in self._children.values():
            await child.settled.wait()
        if self._on_ready:
            self._on_ready(self.snapshot())

    async def _watch_disk(self) -> None:
        warned = False
        while True:
            before, self._disk = self._disk, self._look_at_disk()
            if self._disk.low and not warned:
                self.say(low_disk(self.settings, self._disk), alarm=True)
            warned = self._disk.low
            if before.low != self._disk.low:
                self._record()
            broken = next((c.log for c in self._children.values() if c.log.broken), None)
            if broken and broken.broken:
                self.say(f"cannot write {broken.path}: {broken.broken.strerror}", alarm=True)
            await asyncio.sleep(_DISK_EVERY_S)

    def _look_at_disk(self) -> Disk:
        return Disk(shutil.disk_usage(self.settings.home.root).free // _MB, self.settings.disk_watermark_mb)

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="seconds")


def low_disk(settings: Settings, disk: Disk) -> str:
    return (
        f"only {disk.free_mb:,} MB are free on the disk of {settings.home.root} (MATINEE_DISK_WATERMARK_MB="
        f"{disk.watermark_mb}): free some space, or events will be refused when it is full"
    )


def _exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"code {code}"
