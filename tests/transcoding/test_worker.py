"""Workers that are killed, that collide, that run out of disk or lose PostgreSQL: titles end whole and the same."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack import postgres
from matinee.stack.session import prepare_database
from transcoding import queue, steps
from transcoding.build import enqueue, outcomes, transcode_pending
from transcoding.chunks import WORK
from transcoding.package import DRAFTS
from transcoding.queue import Database
from transcoding.serve import serve
from transcoding.worker import Worker

HERE = Path(__file__).parent
Films = dict[str, Path]


@pytest.fixture(scope="module")
def films(film: Callable[..., Path]) -> Films:
    """Two films of three chunks each, a chunk being one segment."""
    picture = "testsrc2=size=320x180:rate=24:duration=15,noise=alls=12:allf=t"
    return {
        "one": film("chaos one.mp4", picture, {"eng": 440}, ["-pix_fmt", "yuv420p"]),
        "two": film("chaos two.mkv", picture.replace("testsrc2", "testsrc"), {"eng": 220}, ["-pix_fmt", "yuv420p"]),
    }


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans in this process have the chunks that the worker processes plan."""
    sys.path.insert(0, str(HERE))
    import chaos_worker

    monkeypatch.setattr(steps, "plan_ladder", chaos_worker.in_small_chunks)


def start_worker(settings: Settings, lease_s: float = 2.0) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, HERE / "chaos_worker.py", str(lease_s)],
        env=os.environ | settings.environment() | {"PYTHONPATH": str(HERE.parents[1])},
        start_new_session=True,
    )


def ask(settings: Settings, sql: str) -> list[tuple]:
    with psycopg.connect(settings.database()) as connection:
        return connection.execute(sql).fetchall()  # pyright: ignore[reportArgumentType, reportCallIssue] - the tests' own text


def until(true: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def digests(media: Path) -> dict[str, str]:
    """Every segment of picture and sound of every package, by its path: the same bytes decode to the same frames."""
    found = sorted([*media.glob("*/*/video/*/*.m*"), *media.glob("*/*/audio/*/*.m*")])
    assert found
    return {str(path.relative_to(media)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def assert_nothing_is_left(settings: Settings) -> None:
    assert list((settings.media / DRAFTS).glob("*")) == []
    assert [path for job in (settings.media / WORK).glob("*") for path in job.rglob("*")] == []


@pytest.fixture
def undisturbed(settings: Settings, films: Films, add_master: Callable[..., str], small_chunks: None) -> dict[str, str]:
    """What an undisturbed run makes of the films."""
    for title, path in films.items():
        add_master(path, title)
    assert {outcome.state for outcome in transcode_pending(settings)} == {"published"}
    return digests(settings.media)


def start_over(settings: Settings) -> None:
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM transcode_job")
        connection.execute("DELETE FROM package")
    for title in ("one", "two"):
        subprocess.run(["rm", "-r", settings.media / title], check=True)


def test_killed_workers_cost_a_chunk_each_and_the_title_is_the_same(
    settings: Settings, undisturbed: dict[str, str]
) -> None:
    start_over(settings)
    enqueue(settings)
    workers = [start_worker(settings), start_worker(settings)]
    kills = 0
    for seed in range(3):
        until(lambda: bool(list((settings.media / WORK).glob("*/chunks/0/.*/video/*/*.m4s"))) or all_done(settings))
        time.sleep(random.Random(seed).uniform(0, 0.3))
        victim = workers.pop(0)
        kills += victim.poll() is None
        victim.kill()
        victim.wait()
        workers.append(start_worker(settings))
    for worker in workers:
        assert worker.wait(120) == 0
    assert kills >= 2
    assert ask(settings, "SELECT title_id, state FROM transcode_job ORDER BY 1") == [
        ("one", "published"), ("two", "published"),
    ]  # fmt: skip
    assert digests(settings.media) == undisturbed
    ((attempts, tasks),) = ask(settings, "SELECT sum(attempts), count(*) FROM transcode_task")
    assert attempts - tasks <= kills, "a worker with one lane loses one step at most"
    transcode_pending(settings)
    assert_nothing_is_left(settings)


def all_done(settings: Settings) -> bool:
    return ask(settings, "SELECT count(*) FROM transcode_job WHERE state = 'active'") == [(0,)]


def test_two_workers_on_one_chunk_leave_one(
    settings: Settings, films: Films, add_master: Callable[..., str], small_chunks: None
) -> None:
    """The first one is stopped like a machine that sleeps, its lease runs out, and it wakes up after all."""
    add_master(films["one"], "one")
    enqueue(settings)
    sleeper = start_worker(settings, lease_s=1.0)
    until(lambda: bool(list((settings.media / WORK).glob("*/chunks/0/.*/video/*/*.m4s"))))
    os.killpg(sleeper.pid, signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(start_worker(settings, lease_s=1.0))
            until(lambda: ask(settings, "SELECT max(attempts) FROM transcode_task")[0][0] > 1)
            os.killpg(sleeper.pid, signal.SIGCONT)
            assert other.wait(120) == 0
        assert sleeper.wait(120) == 0
    finally:
        sleeper.kill()
    ((state, package_id),) = ask(settings, "SELECT state, package_id FROM transcode_job")
    assert state == "published"
    assert [path.name for path in (settings.media / "one").iterdir()] == [package_id]
    ((begun, tasks),) = ask(settings, "SELECT sum(attempts), count(*) FROM transcode_task")
    assert begun > tasks, "the sleeper's chunk was begun again"


def test_a_lease_that_is_lost_ends_its_encoder(
    settings: Settings, films: Films, add_master: Callable[..., str], small_chunks: None
) -> None:
    add_master(films["one"], "one")
    enqueue(settings)
    worker = Worker(settings, drain=True, lanes=1, lease_s=0.6)
    thread = threading.Thread(target=worker.run)
    thread.start()
    until(lambda: bool(list((settings.media / WORK).glob("*/chunks/0/.*/video/*/*.m4s"))))
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE transcode_job SET state = 'dropped'")
    thread.join(20)
    assert not thread.is_alive()
    assert ask(settings, "SELECT count(*) FROM package") == [(0,)]
    assert list((settings.media / WORK).glob("*/chunks/0/.*")) == []


def test_a_disk_that_runs_full_is_nobodys_fault_and_leaves_nothing_half(
    settings: Settings, films: Films, add_master: Callable[..., str], small_chunks: None, tmp_path: Path
) -> None:
    add_master(films["one"], "one")
    small = tmp_path / "small"
    small.mkdir()
    options = f"size={films['one'].stat().st_size // 1000 + 300}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["cp", "-r", settings.media / "~masters", small], check=True)
        tight = settings.model_copy(update={"media_url": str(small), "disk_watermark_mb": 0})
        enqueue(tight)
        worker = Worker(tight, drain=True, lanes=1)
        thread = threading.Thread(target=worker.run)
        thread.start()
        until(lambda: ask(settings, "SELECT sum(failures) > 0 FROM transcode_task") == [(True,)], 150)
        worker.stop()
        thread.join(30)
        assert ask(settings, "SELECT count(*) FROM package") == [(0,)]
        assert [path.name for path in small.iterdir() if not path.name.startswith("~")] == []
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        with psycopg.connect(settings.database()) as connection:
            connection.execute("UPDATE transcode_task SET not_before = now()")
        assert [outcome.state for outcome in transcode_pending(tight)] == ["published"]
        assert ask(settings, "SELECT count(*) FROM transcode_task WHERE state = 'poisoned'") == [(0,)]
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


class Server:
    """A PostgreSQL of the test's own, to be killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.service = settings, postgres.service(settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """A killed server's children hold its memory for a moment; the new one refuses to start until they are gone."""
        if self.service.prepare:
            self.service.prepare()
        deadline = time.monotonic() + 60
        while not postgres.answers(self.settings):
            assert time.monotonic() < deadline
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    self.service.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                    start_new_session=True,
                    preexec_fn=self.service.in_child(),  # noqa: PLW1509 - system calls only
                )  # fmt: skip
            time.sleep(0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own = Settings.model_validate(
        {"MATINEE_HOME": tmp_path / "own", "transcode_treatment": "fast", "redis_url": "redis://127.0.0.1:1/0"}
    )
    own.home.create()
    made = Server(own)
    made.start()
    try:
        prepare_database(own)
        yield made
    finally:
        made.kill()


def bring(settings: Settings, films: Films) -> None:
    """The films as accepted masters of a home."""
    folder = settings.media / "~masters"
    folder.mkdir(parents=True)
    with psycopg.connect(settings.database()) as connection:
        for title, path in films.items():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            stored = f"~masters/{digest}{path.suffix}"
            subprocess.run(["cp", path, settings.media / stored], check=True)
            connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (title,))
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, %s, %s, %s, 'accepted')",
                (digest, title, path.name, stored, path.stat().st_size),
            )


def test_a_worker_outlives_a_killed_postgresql(server: Server, films: Films) -> None:
    bring(server.settings, {"one": films["one"]})
    enqueue(server.settings)
    worker = start_worker(server.settings)
    work = server.settings.media / WORK
    until(lambda: bool(list(work.glob("*/chunks/0/.*/video/*/*.m4s"))))
    server.kill()
    time.sleep(1.0)
    server.start()
    assert worker.wait(120) == 0
    assert ask(server.settings, "SELECT state FROM transcode_job") == [("published",)]


def test_a_worker_whose_postgresql_stays_away_ends_with_a_clear_error(server: Server) -> None:
    database = Database(server.settings, patience_s=0.5)
    assert database.run(lambda connection: queue.active_jobs(connection)) == []
    server.kill()
    with pytest.raises(StackError, match="PostgreSQL did not answer for 0 s"):
        database.run(lambda connection: queue.active_jobs(connection))
    server.start()
    assert database.run(lambda connection: queue.active_jobs(connection)) == []
    database.close()


def test_serving_outlives_lost_connections(settings: Settings) -> None:
    """PostgreSQL ends every connection for a while, as it does when it is restarted."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(settings.database(), autocommit=True) as connection:
        serving = pool.submit(serve, settings, lambda _: None, stop=stop)
        try:
            ended, deadline = 0, time.monotonic() + 30
            while (ended < 40 or time.monotonic() < deadline - 25) and time.monotonic() < deadline:
                ended += connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).rowcount
            assert not serving.done()
        finally:
            stop.set()
        serving.result(30)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_of_workers_and_postgresql_change_nothing(
    server: Server, films: Films, undisturbed: dict[str, str]
) -> None:
    chance, settings = random.Random(20), server.settings
    bring(settings, films)
    kills = {"worker": 0, "postgresql": 0}
    enqueue(settings)
    workers = [start_worker(settings), start_worker(settings)]
    ids: list[str] = []
    while sum(kills.values()) < 20:
        time.sleep(chance.uniform(0.2, 2.5))
        if chance.random() < 0.35:
            server.kill()
            time.sleep(chance.uniform(0, 1.5))
            server.start()
            kills["postgresql"] += 1
        else:
            victim = workers.pop(chance.randrange(2))
            kills["worker"] += victim.poll() is None
            victim.kill()
            victim.wait()
            workers.append(start_worker(settings))
        if all_done(settings):
            ids += [row[0] for row in ask(settings, "SELECT job_id FROM transcode_job WHERE state = 'published'")]
            assert {outcome.state for outcome in outcomes(settings, ids)} == {"published"}
            assert digests(settings.media) == undisturbed
            start_over(settings)
            enqueue(settings)
            workers = [worker for worker in workers if worker.poll() is None]
            workers += [start_worker(settings) for _ in range(2 - len(workers))]
    for worker in workers:
        assert worker.wait(300) == 0
    assert ask(settings, "SELECT title_id, state FROM transcode_job ORDER BY 1") == [
        ("one", "published"), ("two", "published"),
    ]  # fmt: skip
    assert digests(settings.media) == undisturbed
    transcode_pending(settings)
    assert_nothing_is_left(settings)
    assert min(kills.values()) > 2
