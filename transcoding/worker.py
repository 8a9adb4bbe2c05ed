"""A worker: lanes that claim tasks, carry them out and say how it went, while their leases are kept."""

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg

from matinee.errors import StackError
from matinee.settings import Settings
from transcoding import package, queue
from transcoding.collect import clear_left
from transcoding.errors import TransientError
from transcoding.failures import bury_worn_out, settle
from transcoding.queue import Database, LeaseLostError, Task
from transcoding.steps import Context, carry_out

LEASE_S = 60.0
PATIENCE_S = 300.0  # that PostgreSQL may be away
_CORES_OF_A_LANE = 1.7  # that one ffmpeg with a ladder keeps busy
_POLL_S = 0.25
_FULL_MB = 16
_RENEW_S = 2.0


def default_lanes() -> int:
    """Tasks at once that keep the cores busy which this process may use."""
    return max(1, math.ceil(len(os.sched_getaffinity(0)) / _CORES_OF_A_LANE))


@dataclass
class _Running:
    task: Task
    cancel: threading.Event = field(default_factory=threading.Event)
    fraction: float = 0.0
    lost: bool = False

    def heard(self, fraction: float) -> None:
        self.fraction = max(self.fraction, fraction)


class Worker:
    """Lanes and a heartbeat over one queue. `titles` narrows the work to some titles.

    With `drain` it ends when no job for its tools is active any more, whoever works on it; otherwise when it is told
    to `stop`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        drain: bool,
        lanes: int | None = None,
        titles: Sequence[str] | None = None,
        lease_s: float = LEASE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings, self._drain, self._titles = settings, drain, titles
        self._lanes = lanes or settings.transcode_lanes or default_lanes()
        self._lease_s, self._patience_s = lease_s, patience_s
        self._stop, self._done = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}

    def stop(self) -> None:
        """End soon: what is under way is cancelled and given back."""
        self._stop.set()
        with self._lock:
            for running in self._running.values():
                running.cancel.set()

    def run(self) -> None:
        """Work until the end.

        Raises:
            TransientError: the disk is nearly full (with `drain`; otherwise the worker waits for room).
            StackError: PostgreSQL was away for too long. Whatever was under way is left to others.
        """
        database = Database(self._settings, self._patience_s)
        database.run(self._tidy)
        database.close()
        heart = threading.Thread(target=self._beat, name="transcode-heartbeat", daemon=True)
        heart.start()
        try:
            with ThreadPoolExecutor(self._lanes, thread_name_prefix="transcode") as pool:
                try:
                    for future in [pool.submit(self._lane) for _ in range(self._lanes)]:
                        future.result()
                except BaseException:
                    self.stop()  # before the pool waits for its lanes
                    raise
        finally:
            self._done.set()
            heart.join()

    def _tidy(self, connection: psycopg.Connection) -> None:
        """What an earlier process of this machine left when it died."""
        queue.bury_dead(connection)
        clear_left(self._settings.media, connection)

    def _lane(self) -> None:
        database = Database(self._settings, self._patience_s)
        try:
            while not self._stop.is_set():
                if not self._has_room():
                    self._stop.wait(_POLL_S)
                elif (task := self._claim(database)) is not None:
                    self._attempt(task, database)
                elif self._drain and self._idle(database):
                    return
                else:
                    self._stop.wait(_POLL_S)
        except BaseException:
            self.stop()  # one lane that cannot go on ends them all
            raise
        finally:
            database.close()

    def _has_room(self) -> bool:
        try:
            check_space(self._settings)
        except TransientError:
            if self._drain:
                raise
            return False
        return True

    def _claim(self, database: Database) -> Task | None:
        holder = queue.new_holder()
        return database.run(
            lambda connection: queue.claim(connection, holder, self._lease_s, package.tools(), self._titles)
        )

    def _idle(self, database: Database) -> bool:
        database.run(bury_worn_out)
        return not database.run(lambda connection: queue.active_jobs(connection, self._titles, package.tools()))

    def _attempt(self, task: Task, database: Database) -> None:
        running = _Running(task)
        with self._lock:
            self._running[task.holder] = running
            if self._stop.is_set():
                running.cancel.set()
        try:
            carry_out(task, Context(self._settings, database, running.cancel, running.heard))
        except LeaseLostError:
            pass  # somebody else has it
        except StackError:
            raise
        except Exception as error:  # noqa: BLE001 - written down with the task, which is tried again or given up
            self._failed(running, database, error)
        finally:
            with self._lock:
                del self._running[task.holder]

    def _failed(self, running: _Running, database: Database, error: Exception) -> None:
        task = running.task
        if running.lost:
            return
        if self._stop.is_set():
            database.run(lambda connection: queue.release(connection, task))
            return
        settle(
            database, task, error, disk_full=free_mb(self._settings) < max(_FULL_MB, self._settings.disk_watermark_mb)
        )

    def _beat(self) -> None:
        """Renew every lease often; a lease that is lost ends its work."""
        database = Database(self._settings, self._patience_s)
        try:
            while not self._done.wait(min(_RENEW_S, self._lease_s / 3)):
                with self._lock:
                    held = list(self._running.values())
                for running in held:
                    self._renew(database, running)
        except StackError:
            self.stop()  # the lanes, which ask the same server, say why
        finally:
            database.close()

    def _renew(self, database: Database, running: _Running) -> None:
        def renew(connection: psycopg.Connection) -> bool:
            return queue.renew(connection, running.task, self._lease_s, running.fraction)

        if not database.run(renew):
            running.lost = True
            running.cancel.set()


def free_mb(settings: Settings) -> int:
    """Megabytes that are left in the media store."""
    disk = os.statvfs(settings.media)
    return disk.f_bavail * disk.f_frsize // 1_000_000


def check_space(settings: Settings) -> None:
    """Raises:
    TransientError: the disk of the media store is nearly full.
    """
    if (free := free_mb(settings)) < settings.disk_watermark_mb:
        raise TransientError(
            f"only {free} MB free at {settings.media}, fewer than {settings.disk_watermark_mb} MB: make room or set "
            "MATINEE_DISK_WATERMARK_MB"
        )
