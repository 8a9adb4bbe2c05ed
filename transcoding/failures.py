"""What becomes of a task that failed: another try, or the end of its job, written down with its reason."""

import psycopg
from psycopg.types.json import Jsonb

from matinee.errors import MatineeError
from transcoding import package, queue
from transcoding.errors import MissingMasterError, TranscodingError, TransientError
from transcoding.queue import MOST_ATTEMPTS, MOST_FAILURES, SQL, Database, Task

# Here the same master gives the same answer, so the first one counts.
_VERDICTS = frozenset({"plan", "check", "package"})


def settle(database: Database, task: Task, error: Exception, *, disk_full: bool = False) -> None:
    """Put a task that failed back to be tried again after a while, or give it and its job up.

    A full disk, a killed encoder or a missing file is not the master's fault: what fails for that reason too often is
    taken up again by the next run. Otherwise it is tried again when the plan or the tools change.
    """
    reason = str(error) if isinstance(error, MatineeError) else f"{type(error).__name__}: {error}"
    # With no room left anything may fail, under any name.
    excused = disk_full or isinstance(error, TransientError | OSError)
    verdict = task.kind in _VERDICTS and isinstance(error, TranscodingError) and not excused
    if verdict or isinstance(error, MissingMasterError) or task.failures + 1 >= MOST_FAILURES:
        database.run(lambda connection: _give_up(connection, task, reason, excused))
    else:
        delay_s = queue.back_off(task.failures + 1)
        database.run(lambda connection: queue.put_back(connection, task, reason, delay_s))


def _give_up(connection: psycopg.Connection, task: Task, reason: str, excused: bool) -> None:
    if queue.poison(connection, task, reason):
        _fail(
            connection, task.job_id, (task.title_id, task.master_id, task.treatment, task.protection), reason, excused
        )


def bury_worn_out(connection: psycopg.Connection) -> None:
    """Give up what was begun very often and never ended: whatever it is, it kills workers."""
    worn_out = connection.execute(SQL["worn_out"], {"most_attempts": MOST_ATTEMPTS}).fetchall()
    for job_id, *facts, kind, reason in worn_out:
        _fail(connection, job_id, tuple(facts), f"{kind}: {reason}", excused=True)


def _fail(
    connection: psycopg.Connection, job_id: str, facts: tuple[str, str, str, str], reason: str, excused: bool
) -> None:
    title_id, master_id, treatment, protection = facts
    name = package.package_id(title_id, master_id, None, protection=protection)
    connection.execute(
        SQL["record"],
        {
            "package_id": name, "title_id": title_id, "master_id": master_id, "state": "failed", "reason": reason,
            "duration_ms": None, "rungs": Jsonb([]), "tools": None if excused else package.tools(),
            "protection": protection, "treatment": treatment,
        },
    )  # fmt: skip
    connection.execute(SQL["made_package"], {"job_id": job_id, "package_id": name})
    queue.end_job(connection, job_id, "failed", reason, retry=excused)
