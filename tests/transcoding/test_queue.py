"""The queue's rules on a real PostgreSQL: who gets what, who may finish, what becomes of failures."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.settings import Settings
from transcoding import queue
from transcoding.errors import MissingMasterError, TimeLimitError, TranscodingError, TransientError
from transcoding.failures import bury_worn_out, settle
from transcoding.plan import Plan, plan_ladder
from transcoding.queue import MOST_ATTEMPTS, MOST_FAILURES, Database, NewTask, Task, back_off
from transcoding.source import AudioTrack, Source
from transcoding.treatments import set_by_hand

LEASE_S = 60.0
SOURCE = Source(
    path=Path("/films/a.mp4"), container="mov,mp4,m4a,3gp,3g2,mj2", video_index=0, width=640, height=360,
    sample_aspect=Fraction(1), rotation=0, frame_rate=Fraction(24000, 1001), steady=True, frames=200,
    offset=Fraction(0), duration=Fraction(200 * 1001, 24000), interlaced=False, hdr=False,
    audio=(AudioTrack(1, "en", 2),),
)  # fmt: skip


@pytest.fixture
def database(settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def add_title(database: psycopg.Connection) -> Callable[..., None]:
    """A title with an accepted master of some bytes, and what it is offered for."""

    def add(title_id: str, size: int = 1, offers: tuple[str, ...] = (), parent: str | None = None) -> None:
        kind = "film" if parent is None else "episode"
        database.execute(
            "INSERT INTO title (title_id, kind, maturity, parent_id) VALUES (%s, %s, 0, %s)", (title_id, kind, parent)
        )
        database.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "VALUES (%s, %s, 'a.mp4', 'a.mp4', %s, 'accepted')",
            (f"master of {title_id}", title_id, size),
        )
        for position, kind in enumerate(offers):
            database.execute(
                "INSERT INTO offer (title_id, position, kind) VALUES (%s, %s, %s)", (title_id, position, kind)
            )

    return add


def enqueue(database: psycopg.Connection, **wishes: object) -> int:
    return queue.enqueue(database, **{"tools": "tools 1", "default": "fast", **wishes})  # pyright: ignore[reportArgumentType] - the tests' own wishes


def claim(database: psycopg.Connection, lease_s: float = LEASE_S, tools: str = "tools 1") -> Task | None:
    return queue.claim(database, queue.new_holder(), lease_s, tools)


def must_claim(database: psycopg.Connection, lease_s: float = LEASE_S) -> Task:
    task = claim(database, lease_s)
    assert task is not None
    return task


def jobs(database: psycopg.Connection, what: str = "title_id, state") -> list[tuple]:
    return database.execute(f"SELECT {what} FROM transcode_job ORDER BY created_at").fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue] - the tests' own text


def plan_it(database: psycopg.Connection, task: Task, tasks: list[NewTask]) -> None:
    assert queue.finish_plan(database, task, SOURCE, plan_ladder(SOURCE), tasks, 1.5)


STEPS = [NewTask("audio", 0, 0, "ready", 1.0), NewTask("chunk", 0, 0, "ready", 5.0),
         NewTask("chunk", 0, 1, "ready", 5.0), NewTask("package", 0, 0, "waiting", 1.0),
         NewTask("chunk", 1, 0, "ready", 5.0),
         NewTask("package", 1, 0, "waiting", 1.0)]  # fmt: skip


def names(task: Task | None) -> tuple[str, str, int, int] | None:
    return None if task is None else (task.title_id, task.kind, task.part, task.number)


def test_a_title_is_queued_once_and_again_when_what_decides_its_package_changes(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    assert enqueue(database) == 1
    assert enqueue(database) == 0
    assert enqueue(database, tools="tools 2") == 1
    assert jobs(database) == [("film", "dropped"), ("film", "active")]
    set_by_hand(database, ["film"], "premium", datetime.now(UTC))
    assert enqueue(database, tools="tools 2") == 1
    assert enqueue(database, tools="tools 2", watermark=True) == 1
    assert enqueue(database, tools="tools 2") == 0, "a watermark is more than none"
    database.execute("INSERT INTO offer (title_id, position, kind) VALUES ('film', 0, 'subscription')")
    assert enqueue(database, tools="tools 2", watermark=True) == 1
    assert jobs(database, "treatment, protection, watermark, state")[-1] == ("premium", "aes128", True, "active")
    database.execute(
        "INSERT INTO master_sidecar "
        "(master_id, language, forced, format, stored_path, sha256, file_name, path, cues, dropped) "
        "VALUES ('master of film', 'ru', false, 'srt', 's', 'hash', 's', 's', 1, 0)"
    )
    assert enqueue(database, tools="tools 2", watermark=True) == 1
    assert enqueue(database, tools="tools 2", watermark=True) == 0


def test_one_who_would_do_it_differently_by_default_lets_a_job_be(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    assert enqueue(database, default="fast") == 1
    assert enqueue(database, default="premium") == 0


def test_workers_of_two_versions_do_not_undo_each_others_work(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    assert enqueue(database, tools="old") == 1
    assert claim(database, tools="new") is None
    assert enqueue(database, tools="new") == 1
    assert enqueue(database, tools="old") == 0
    assert claim(database, tools="old") is None
    assert queue.active_jobs(database, tools="old") == []
    database.execute("UPDATE transcode_task SET updated_at = now() - interval '11 minutes'")
    assert enqueue(database, tools="old") == 1, "those with the new ones are gone"
    publish(database)
    assert enqueue(database, tools="new") == 1
    publish(database)
    assert enqueue(database, tools="new") == 0
    assert enqueue(database, tools="old") == 0
    assert enqueue(database, tools="old", watermark=True) == 1
    publish(database)
    assert enqueue(database, tools="new") == 0


def publish(database: psycopg.Connection) -> None:
    """End the only active job as if it had been carried out."""
    database.execute("UPDATE package SET superseded_at = now()")
    ((job_id, master_id),) = database.execute("SELECT job_id, master_id FROM transcode_job WHERE state = 'active'")
    database.execute(
        "INSERT INTO package (package_id, title_id, master_id, state, treatment) "
        "VALUES (%s, 'film', %s, 'published', 'fast')",
        (job_id, master_id),
    )
    database.execute("UPDATE transcode_job SET package_id = job_id, state = 'published' WHERE state = 'active'")


@pytest.mark.parametrize(("times", "minutes"), [(1, 1), (2, 2), (4, 8), (9, 256), (10, 360), (60, 360)])
def test_what_fails_by_no_fault_of_its_own_waits_longer_each_time(
    times: int, minutes: int, database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    for _ in range(times):
        assert enqueue(database) == 1
        database.execute("UPDATE transcode_job SET state = 'failed', retry = true WHERE state = 'active'")
    for waited, queued in ((minutes * 60 - 5, 0), (minutes * 60 + 5, 1)):
        database.execute("UPDATE transcode_job SET updated_at = now() - make_interval(secs => %s)", (waited,))
        assert enqueue(database, back_off=True) == queued


def test_the_newest_master_of_a_title_counts(database: psycopg.Connection, add_title: Callable[..., None]) -> None:
    add_title("film")
    enqueue(database)
    database.execute(
        "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state, created_at) "
        "VALUES ('better', 'film', 'b.mp4', 'b.mp4', 2, 'accepted', now() + interval '1 second')"
    )
    assert enqueue(database) == 1
    assert jobs(database, "master_id, state") == [("master of film", "dropped"), ("better", "active")]


def test_a_decision_for_a_title_wins_over_the_default(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("loved")
    database.execute(
        "INSERT INTO title_treatment (title_id, treatment, reason, decided_at, saved_gb, cpu_s) "
        "VALUES ('loved', 'premium', 'watched', now(), 1, 1)"
    )
    enqueue(database)
    assert jobs(database, "treatment") == [("premium",)]


@pytest.mark.parametrize(
    ("series", "episode", "expected"),
    [
        ((), (), "clear"),
        ((), ("free",), "clear"),
        ((), ("subscription", "free"), "clear"),
        ((), ("rent",), "aes128"),
        (("subscription",), (), "aes128"),
        (("subscription",), ("free",), "clear"),
        (("free",), ("subscription",), "aes128"),
    ],
)
def test_free_titles_are_clear_and_the_nearest_offers_count(
    series: tuple[str, ...],
    episode: tuple[str, ...],
    expected: str,
    database: psycopg.Connection,
    add_title: Callable[..., None],
) -> None:
    add_title("series", offers=series)
    add_title("episode", offers=episode, parent="series")
    enqueue(database, titles=["episode"])
    assert jobs(database, "title_id, protection") == [("episode", expected)]


def test_urgent_jobs_come_first_then_early_parts_then_older_jobs(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    for size, title in enumerate(("small", "large"), start=1):
        add_title(title, size)
        enqueue(database, titles=[title])
    planning = [must_claim(database), must_claim(database)]
    for task in planning:
        plan_it(database, task, STEPS)
    add_title("urgent")
    enqueue(database, titles=["urgent"], priority=1)
    order = []
    while (task := claim(database)) is not None:
        order.append(names(task))
    assert order == [
        ("urgent", "plan", 0, 0),
        ("small", "audio", 0, 0), ("small", "chunk", 0, 0), ("small", "chunk", 0, 1),
        ("large", "audio", 0, 0), ("large", "chunk", 0, 0), ("large", "chunk", 0, 1),
        ("small", "chunk", 1, 0), ("large", "chunk", 1, 0),
    ]  # fmt: skip


def test_a_package_is_ready_when_its_part_is_done_and_the_next_one_after_it(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    plan_it(database, must_claim(database), STEPS)
    done = []
    while (task := claim(database)) is not None:
        done.append((task.kind, task.part))
        assert queue.finish(database, task, {"what": "ever"})
    assert done == [("audio", 0), ("chunk", 0), ("chunk", 0), ("package", 0), ("chunk", 1), ("package", 1)]


def test_two_last_tasks_that_end_at_once_leave_a_ready_package(
    settings: Settings, database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    plan_it(database, must_claim(database), [NewTask("chunk", 0, n, "ready", 1.0) for n in range(8)] + [STEPS[3]])
    held = [must_claim(database) for _ in range(8)]

    def end(task: Task) -> bool:
        with psycopg.connect(settings.database()) as connection:
            return queue.finish(connection, task)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(end, held))
    assert must_claim(database).kind == "package"


def test_nobody_gets_a_task_that_another_one_holds(
    settings: Settings, database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    for number in range(10):
        add_title(f"film {number}".replace(" ", "-"))
    enqueue(database)

    def take(_: int) -> list[str]:
        with psycopg.connect(settings.database(), autocommit=True) as connection:
            got = []
            while (task := claim(connection)) is not None:
                got.append(task.title_id)
            return got

    with ThreadPoolExecutor(4) as pool:
        taken = [title for titles in pool.map(take, range(4)) for title in titles]
    assert sorted(taken) == sorted(f"film-{number}" for number in range(10))


def test_a_lease_that_ran_out_is_anybodys_and_its_first_holder_can_finish_no_more(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    first = must_claim(database, lease_s=0.0)
    second = must_claim(database)
    assert (second.task_id, second.attempts) == (first.task_id, 2)
    assert not queue.renew(database, first, LEASE_S, 0.9)
    assert not queue.finish(database, first)
    queue.put_back(database, first, "late", 0.0)
    queue.release(database, first)
    assert not queue.poison(database, first, "late")
    assert queue.renew(database, second, LEASE_S, 0.5)
    assert queue.finish(database, second)
    assert queue.finish(database, second), "told twice, because the first answer was lost on its way"


def test_a_late_holder_whom_nobody_replaced_may_finish(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    task = must_claim(database, lease_s=0.0)
    assert queue.renew(database, task, LEASE_S, 0.5)
    assert claim(database) is None
    assert queue.finish(database, task)


def test_what_is_given_back_was_never_begun_and_what_failed_waits(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    queue.release(database, must_claim(database))
    task = must_claim(database)
    assert (task.attempts, task.failures) == (1, 0)
    queue.put_back(database, task, "no luck", 30.0)
    assert claim(database) is None
    database.execute("UPDATE transcode_task SET not_before = now()")
    again = must_claim(database)
    assert (again.attempts, again.failures) == (2, 1)


def failed(database: psycopg.Connection) -> tuple | None:
    return database.execute("SELECT state, reason, tools IS NULL FROM package").fetchone()


@pytest.mark.parametrize(
    ("kind", "error", "tries", "excused"),
    [
        ("plan", TranscodingError("no film"), 1, False),
        ("plan", MissingMasterError("it is gone"), 1, True),
        ("plan", ValueError("odd"), MOST_FAILURES, False),
        ("check", TimeLimitError("not done after 9 s"), MOST_FAILURES, True),
        ("chunk", TranscodingError("ffmpeg broke"), MOST_FAILURES, False),
        ("chunk", TransientError("killed"), MOST_FAILURES, True),
        ("chunk", OSError(28, "No space left on device"), MOST_FAILURES, True),
    ],
)
def test_a_task_is_tried_as_often_as_its_failure_deserves_and_then_ends_its_job(
    kind: str,
    error: Exception,
    tries: int,
    excused: bool,
    settings: Settings,
    database: psycopg.Connection,
    add_title: Callable[..., None],
) -> None:
    add_title("film")
    enqueue(database)
    if kind != "plan":
        plan_it(database, must_claim(database), [NewTask(kind, 0, 0, "ready", 1.0), STEPS[3]])
    keeper = Database(settings, 5.0)
    for _ in range(tries):
        assert failed(database) is None
        settle(keeper, must_claim(database), error)
        database.execute("UPDATE transcode_task SET not_before = now()")
    keeper.close()
    found = failed(database)
    assert found is not None
    assert (found[0], found[2]) == ("failed", excused)
    assert str(error) in found[1]
    assert claim(database) is None
    assert jobs(database, "state, retry") == [("failed", excused)]
    tools = database.execute("SELECT tools FROM transcode_job").fetchone()
    assert tools is not None
    assert enqueue(database, back_off=True) == 0
    database.execute("UPDATE transcode_job SET updated_at = now() - interval '61 seconds'")
    assert enqueue(database, back_off=True) == int(excused), (
        "only what was not the master's fault is tried again with the same tools"
    )


@pytest.mark.parametrize("fails", [False, True])
def test_what_kills_every_worker_is_given_up(
    fails: bool, database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    for _ in range(MOST_ATTEMPTS - 1):
        must_claim(database, lease_s=0.0)
    last = must_claim(database)
    if fails:
        queue.put_back(database, last, "no luck", 0.0)
    else:
        assert queue.renew(database, last, 0.0, 0.0)
    assert claim(database) is None
    bury_worn_out(database)
    assert jobs(database, "state, retry") == [("failed", True)]
    assert ("no luck" if fails else "ended without a word") in (failed(database) or ("", ""))[1]


def test_leases_of_dead_processes_of_this_machine_end_at_once(
    settings: Settings, database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    for title in ("dead", "alive"):
        add_title(title)
        enqueue(database, titles=[title])
    script = (
        "import psycopg, sys\nfrom transcoding import queue\n"
        "with psycopg.connect(sys.argv[1], autocommit=True) as connection:\n"
        "    print(queue.claim(connection, queue.new_holder(), 60, 'tools 1').title_id)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, settings.database()], capture_output=True, text=True, check=True, env=os.environ
    )
    assert child.stdout.strip() == "dead"
    mine = must_claim(database)
    assert claim(database) is None
    assert queue.bury_dead(database) == 1
    assert holders(database) == [mine.holder]
    assert must_claim(database).title_id == "dead"
    assert queue.renew(database, mine, LEASE_S, 0.1)


def holders(database: psycopg.Connection) -> list[str]:
    return [row[0] for row in database.execute(queue.SQL["holders"]).fetchall()]


def test_a_holder_counts_for_a_while_after_its_lease_ended(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    """PostgreSQL was away, and what it works on is not to be cleared away meanwhile."""
    add_title("film")
    enqueue(database)
    task = must_claim(database, lease_s=-300.0)
    assert holders(database) == [task.holder]
    other = must_claim(database, lease_s=-900.0)
    assert other.task_id == task.task_id
    assert holders(database) == []


def test_what_a_package_misses_is_made_again_before_it(
    database: psycopg.Connection, add_title: Callable[..., None]
) -> None:
    add_title("film")
    enqueue(database)
    plan_it(database, must_claim(database), [*STEPS[:4]])
    while (task := must_claim(database)).kind != "package":
        queue.finish(database, task)
    queue.remake(database, task, [("chunk", 0, 1)])
    assert not queue.finish(database, task)
    again = must_claim(database)
    assert names(again) == ("film", "chunk", 0, 1)
    assert claim(database) is None
    queue.finish(database, again)
    last = must_claim(database)
    assert last.kind == "package"
    queue.remake(database, task, [("chunk", 0, 1)])
    assert claim(database) is None, "who lost the lease takes nothing from who has it"
    assert queue.finish(database, last)


def test_nothing_of_a_dropped_job_is_finished(database: psycopg.Connection, add_title: Callable[..., None]) -> None:
    add_title("film")
    enqueue(database)
    plan_it(database, must_claim(database), STEPS)
    task, done = must_claim(database), must_claim(database)
    assert queue.finish(database, done)
    database.execute("UPDATE transcode_job SET state = 'dropped'")
    assert not queue.finish(database, task)
    assert not queue.finish(database, done)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_back_off_doubles_up_to_a_minute_and_is_spread(failures: int, drawn: float) -> None:
    pause = back_off(failures, lambda: drawn)
    middle = min(60.0, 2.0 ** (failures - 1))
    assert middle / 2 <= pause <= 1.5 * middle


def test_a_plan_and_a_source_survive_the_queue(database: psycopg.Connection, add_title: Callable[..., None]) -> None:
    add_title("film")
    enqueue(database)
    plan_it(database, must_claim(database), STEPS)
    source, plan = must_claim(database).planned
    assert plan == plan_ladder(source)
    assert Plan.from_json(plan.as_json()) == plan
