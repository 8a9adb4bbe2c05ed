"""The queue of work in PostgreSQL: tasks are claimed with a lease, and only who still holds one may finish it."""

import hashlib
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from matinee.db import queries
from matinee.db.connect import connect
from matinee.errors import StackError
from matinee.ids import uuid7
from matinee.settings import Settings
from transcoding.plan import Plan
from transcoding.source import Source

SQL = queries.load(Path(__file__).parent)
MOST_FAILURES = 5  # of one task before its job is given up
MOST_ATTEMPTS = 25  # begun so often, mostly by workers that died: something kills them
_BACK_OFF_S, _LONGEST_BACK_OFF_S = 1.0, 60.0
_RECONNECT_S = 0.5
_STANDING = frozenset({"active", "published"})

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A step of a job that this claim holds (`holder` is its token), with what the job knows so far."""

    task_id: str
    job_id: str
    kind: str
    part: int
    number: int
    attempts: int
    failures: int
    holder: str
    title_id: str
    master_id: str
    stored_path: str
    treatment: str
    protection: str
    sidecars: list[str]
    watermark: bool
    source: dict[str, Any] | None = field(repr=False)
    plan: dict[str, Any] | None = field(repr=False)

    @property
    def planned(self) -> tuple[Source, Plan]:
        """What the plan task found; every other task has it."""
        assert self.source is not None
        assert self.plan is not None
        return Source.from_json(self.source), Plan.from_json(self.plan)


@dataclass(frozen=True)
class NewTask:
    """`weight`: megapixels to encode, or what costs as much."""

    kind: str
    part: int
    number: int
    state: str
    weight: float


def back_off(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after the nth failure: doubling, up to a minute, half to one and a half of it by chance."""
    return min(_LONGEST_BACK_OFF_S, _BACK_OFF_S * 2 ** max(0, failures - 1)) * (0.5 + draw())


class Database:
    """A connection that outlives a restart of PostgreSQL; one for each thread.

    `patience_s`: how long an action is tried again while PostgreSQL does not answer.
    """

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self._settings, self._patience_s = settings, patience_s
        self._connection: psycopg.Connection | None = None

    def run(self, action: Callable[[psycopg.Connection], T]) -> T:
        """The action in one transaction; it must bear being done twice, for a commit may be lost on its way back.

        Raises:
            StackError: PostgreSQL did not answer for too long.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(self._settings, autocommit=True)
                with self._connection.transaction():
                    return action(self._connection)
            except (psycopg.OperationalError, StackError) as error:
                self.close()
                if time.monotonic() > deadline:
                    reason = str(error).strip().splitlines()[0]
                    raise StackError(f"PostgreSQL did not answer for {self._patience_s:.0f} s: {reason}") from None
                time.sleep(_RECONNECT_S)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@cache
def _machine() -> str:
    """A word for where process numbers mean the same: this boot of this machine, this container of it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    space = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{socket.gethostname()} {boot} {space}".encode()).hexdigest()[:12]


def new_holder() -> str:
    """A token for one claim; it names the worker's process, and its tail makes it the only one. Fit for a file name."""
    return f"{_machine()}-{os.getpid()}-{uuid7()[-17:].replace('-', '')}"


def bury_dead(connection: psycopg.Connection) -> int:
    """End the leases of processes of this machine that are no more, without waiting for them to run out."""
    ended = 0
    for (holder,) in connection.execute(SQL["holders"]).fetchall():
        machine, pid, *_ = holder.split("-")
        if machine == _machine() and not Path(f"/proc/{pid}").exists():
            ended += connection.execute(SQL["end_lease"], {"holder": holder}).rowcount
    return ended


def enqueue(
    connection: psycopg.Connection,
    tools: str,
    *,
    default: str,
    titles: Sequence[str] | None = None,
    watermark: bool = False,
    priority: int = 0,
    back_off: bool = False,
) -> int:
    """A job for every title whose newest accepted master has no package that is up to date; returns how many.

    Up to date: made of this master with the title's treatment (what was decided for it, else that of the package which
    plays, else that of the job under way, else `default`), protection, subtitles and `tools` (plan version and
    encoder), and marked where `watermark` asks for it. What failed with all these is not tried again, unless the fault
    was not its own; then, with `back_off`, after a minute, two, four, and so on up to six hours. A job under way whose
    facts are not those wanted is dropped.

    Workers of two versions do not undo each other's work: that of tools which came later stands, and while it is under
    way for as long as workers with those tools are about.
    """
    connection.execute(SQL["lock_enqueue"])
    facts = {"tools": tools, "watermark": watermark}
    asked = facts | {"default": default, "titles": _list(titles), "back_off": back_off}
    rows = connection.execute(SQL["wanted"], asked).fetchall()
    for title_id, master_id, wanted, protection, sidecars in rows:
        connection.execute(SQL["drop_job"], {"title_id": title_id})
        job = {"job_id": uuid7(), "title_id": title_id, "master_id": master_id, "treatment": wanted}
        more = {"protection": protection, "sidecars": sidecars, "priority": priority}
        connection.execute(SQL["add_job"], facts | job | more)
        add_tasks(connection, job["job_id"], [NewTask("plan", 0, 0, "ready", 0.0)])
    return len(rows)


def add_tasks(connection: psycopg.Connection, job_id: str, tasks: Sequence[NewTask]) -> None:
    for task in tasks:
        connection.execute(SQL["add_task"], {"task_id": uuid7(), "job_id": job_id, **task.__dict__})


def claim(
    connection: psycopg.Connection, holder: str, lease_s: float, tools: str, titles: Sequence[str] | None = None
) -> Task | None:
    """Lease the most urgent task that can be done now with these tools; None where there is none (at the moment)."""
    with connection.cursor(row_factory=class_row(Task)) as cursor:
        wanted = {"tools": tools, "titles": _list(titles), "most_attempts": MOST_ATTEMPTS}
        return cursor.execute(SQL["claim"], wanted | {"holder": holder, "lease_s": lease_s}).fetchone()


def renew(connection: psycopg.Connection, task: Task, lease_s: float, progress: float) -> bool:
    """Keep a lease and tell how far the work is (0 to 1); False: it is lost, or nobody wants the job any more."""
    told = _of(task) | {"lease_s": lease_s, "progress": progress}
    return connection.execute(SQL["renew"], told).rowcount == 1


def release(connection: psycopg.Connection, task: Task) -> None:
    """Give a task back as if it had never been claimed: the worker goes home."""
    connection.execute(SQL["release"], _of(task))


def put_back(connection: psycopg.Connection, task: Task, error: str, delay_s: float) -> None:
    """It failed; somebody may try again in a while."""
    connection.execute(SQL["put_back"], _of(task) | {"error": error, "delay_s": delay_s})


def finish(
    connection: psycopg.Connection, task: Task, result: dict[str, Any] | None = None, cpu_s: float | None = None
) -> bool:
    """Write a task's end; False where the lease was lost or nobody wants the job any more: then nothing is written.

    Packages whose last task this was become ready. The job's row is locked, so that of two last tasks one sees the
    other, and that nothing is published of a job that is dropped meanwhile.
    """
    state = _lock_job(connection, task)
    told = _of(task) | {"result": None if result is None else Jsonb(result), "cpu_s": cpu_s}
    if state == "active" and connection.execute(SQL["finish_task"], told).rowcount == 1:
        connection.execute(SQL["ready_packages"], {"job_id": task.job_id})
        return True
    # The answer to a transaction that was committed may have been lost on its way.
    return state in _STANDING and connection.execute(SQL["was_finished"], _of(task)).fetchone() is not None


def finish_plan(
    connection: psycopg.Connection, task: Task, source: Source, plan: Plan, tasks: Sequence[NewTask], cpu_s: float
) -> bool:
    """As `finish`, for the plan: the job learns it, and its other tasks come into being."""
    told = {"job_id": task.job_id, "source": Jsonb(source.as_json()), "plan": Jsonb(plan.as_json())}
    _lock_job(connection, task)
    connection.execute(SQL["planned"], told)
    add_tasks(connection, task.job_id, tasks)
    if finish(connection, task, cpu_s=cpu_s):
        return True
    raise LeaseLostError(f"{task.title_id}: the lease of its plan was lost")


class LeaseLostError(Exception):
    """Somebody else has the task now; a transaction that hears of it must not be committed."""


def poison(connection: psycopg.Connection, task: Task, error: str) -> bool:
    """Give a task up, for good; False where the lease was lost or nobody wants the job any more."""
    if _lock_job(connection, task) != "active":
        return False
    return connection.execute(SQL["poison"], _of(task) | {"error": error}).rowcount == 1


def end_job(
    connection: psycopg.Connection, job_id: str, state: str, reason: str | None = None, *, retry: bool = False
) -> None:
    connection.execute(SQL["end_job"], {"job_id": job_id, "state": state, "reason": reason, "retry": retry})


def remake(connection: psycopg.Connection, task: Task, missing: Sequence[tuple[str, int, int]]) -> None:
    """What a package needs was done but is not there (kind, part, number): it is made again, the package waits.

    Nothing happens where the lease was lost: who has it now finds out by itself.
    """
    _lock_job(connection, task)
    if connection.execute(SQL["await_remade"], _of(task)).rowcount != 1:
        return
    for kind, part, number in missing:
        connection.execute(SQL["remake"], {"job_id": task.job_id, "kind": kind, "part": part, "number": number})


def active_jobs(
    connection: psycopg.Connection, titles: Sequence[str] | None = None, tools: str | None = None
) -> list[str]:
    """Jobs that have not ended: all, or those of some titles, or those for workers with some tools."""
    asked = {"titles": _list(titles), "tools": tools}
    return [row[0] for row in connection.execute(SQL["active_jobs"], asked).fetchall()]


def _lock_job(connection: psycopg.Connection, task: Task) -> str | None:
    """Keep the job's row until the transaction ends; returns its state, None where it is gone."""
    row = connection.execute(SQL["lock_job"], {"job_id": task.job_id}).fetchone()
    return row[0] if row else None


def _of(task: Task) -> dict[str, Any]:
    return {"task_id": task.task_id, "holder": task.holder}


def _list(titles: Sequence[str] | None) -> list[str] | None:
    return None if titles is None else list(titles)
