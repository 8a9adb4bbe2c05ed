"""How far the queue is, for the terminal and for who asks: read from PostgreSQL, whoever does the work."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row
from rich.progress import Progress, TaskID

from matinee.errors import StackError
from matinee.settings import Settings
from transcoding.queue import SQL, Database

_LOOK_S = 0.5


@dataclass(frozen=True)
class TitleProgress:
    """How far a title is, 0 to 1, and about how many seconds are left for it (None: nobody knows yet)."""

    title_id: str
    fraction: float
    seconds_left: float | None = None


OnProgress = Callable[[TitleProgress], None]


class Estimate:
    """Seconds that work takes, from how much was done in the last minute, by all workers."""

    def __init__(self, window_s: float = 60.0) -> None:
        self._window_s = window_s
        self._seen: list[tuple[float, float]] = []

    def see(self, at: float, done: float) -> None:
        """At the moment `at` (s) so much was done, in units of work."""
        self._seen = [(when, work) for when, work in self._seen if at - when <= self._window_s] + [(at, done)]

    def seconds(self, left: float) -> float | None:
        """None as long as nothing was seen to be done."""
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return left * (now - since) / (done - before) if done > before else None


@dataclass(frozen=True)
class QueueRow:
    """A job of the queue as it is listed; `seconds_left` by the speed of all workers in the last minutes."""

    title_id: str
    state: str
    treatment: str
    tasks: int
    tasks_done: int
    fraction: float
    attempts: int
    error: str
    seconds_left: float | None

    def cells(self) -> tuple[str, ...]:
        left = "" if self.seconds_left is None else f"{self.seconds_left:.0f} s"
        done = f"{self.tasks_done}/{self.tasks}"
        return (
            self.title_id, self.state, self.treatment, done, f"{self.fraction:.0%}", left, str(self.attempts),
            self.error,
        )  # fmt: skip


def queue_rows(connection: psycopg.Connection, most: int = 50) -> list[QueueRow]:
    """What is under way or waits, most urgent first, then what ended in the last day."""
    (speed,) = connection.execute(SQL["recent_speed"]).fetchone() or (0.0,)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["queue"], {"most": most}).fetchall()
    made, ahead, known = [], 0.0, speed > 0
    for row in rows:
        left = row.pop("weight_left")
        ahead += left
        # How much work a title is, nobody knows before it is planned; nor then when those behind it are done.
        known = known and not (row["state"] == "active" and row["tasks"] <= 1)
        seconds = ahead / speed if known and row["state"] == "active" else None
        made.append(QueueRow(**row, seconds_left=seconds))
    return made


class _Watcher:
    """Bars of the jobs, and steps for a listener that only go forward."""

    def __init__(self, settings: Settings, jobs: Sequence[str], bars: Progress, listener: OnProgress | None) -> None:
        self._database, self._jobs, self._bars, self._listener = Database(settings, _LOOK_S), jobs, bars, listener
        self._whole = bars.add_task("transcoding", total=len(jobs))
        self._titles: dict[str, TaskID] = {}
        self._furthest: dict[str, float] = {}
        self._estimate = Estimate()

    def watch(self, over: threading.Event) -> None:
        try:
            while not over.wait(_LOOK_S):
                self._look()
            self._look()
        finally:
            self._database.close()

    def _look(self) -> None:
        """Nothing is shown while PostgreSQL is away: the lanes wait for it, and say so when it takes too long."""

        def read(connection: psycopg.Connection) -> list[dict]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(SQL["progress_of"], {"jobs": list(self._jobs)}).fetchall()

        try:
            rows = self._database.run(read)
        except StackError:
            return
        self._estimate.see(time.monotonic(), sum(row["weight_done"] for row in rows))
        self._bars.update(self._whole, completed=sum(row["state"] != "active" for row in rows))
        for row in rows:
            self._step(row)

    def _step(self, row: dict) -> None:
        title, ended = row["title_id"], row["state"] != "active"
        fraction = max(self._furthest.get(title, 0.0), row["fraction"])
        if fraction == self._furthest.get(title) or not (fraction or row["tasks_running"]):
            return
        self._furthest[title] = fraction
        left = 0.0 if ended else None
        if not ended and row["tasks"] > 1:  # before that it is not planned
            left = self._estimate.seconds(row["weight"] - row["weight_done"])
        self._show(title, fraction, left, ended=ended)
        if self._listener is not None:
            self._listener(TitleProgress(title, fraction, left))

    def _show(self, title: str, fraction: float, left: float | None, *, ended: bool) -> None:
        if ended and title in self._titles:
            self._bars.remove_task(self._titles.pop(title))
        elif not ended:
            if title not in self._titles:
                self._titles[title] = self._bars.add_task(title, total=100)
            told = title if left is None else f"{title}, {left:.0f} s left"
            self._bars.update(self._titles[title], completed=round(100 * fraction), description=told)


@contextmanager
def shown(settings: Settings, jobs: Sequence[str], listener: OnProgress | None = None) -> Iterator[None]:
    """A bar for all the jobs and one for each title under way, kept by a thread of its own."""
    from matinee.console import progress

    over = threading.Event()
    with progress() as bars:
        watcher = _Watcher(settings, jobs, bars, listener)
        thread = threading.Thread(target=watcher.watch, args=(over,), name="transcode-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
