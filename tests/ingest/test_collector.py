import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingest import collector, log
from ingest.errors import IngestError, LogUnavailableError
from ingest.intake import accept
from matinee.contracts.landing import LANDED_EVENT
from matinee.pseudonyms import salts
from matinee.settings import Settings
from matinee.stack.redis import binary


def test_events_land_by_received_date_with_keys_instead_of_ids(settings, connection, client, event, now, landed):
    for day in range(2):
        at = now + timedelta(days=day)
        sent = [event(seq=n, ts_client=at.isoformat(), ts_sent=at.isoformat()) for n in range(3)]
        log.append(client, accept(sent, received_at=at, origin="live", account_id="me").entries)
    summary = collector.drain(settings)
    assert (summary.events, summary.dead, summary.files) == (6, 0, 2)
    table = landed("events")
    assert table.schema.equals(LANDED_EVENT)
    salt = salts(connection, ["me"])["me"]
    assert set(table["account_key"].to_pylist()) == {salt.key("me")}
    assert set(table["profile_key"].to_pylist()) == {salt.key("profile-1")}
    assert table["experiments"][0].as_py() == '{"home_order":"treatment"}'
    days = connection.execute("SELECT landed_on::text, rows FROM landed_file ORDER BY 1").fetchall()
    assert days == [("2026-03-14", 3), ("2026-03-15", 3)]
    assert client.xlen(log.STREAM) == 0


def test_event_time_is_the_receivers_clock_minus_the_delay(settings, client, event, now, landed):
    hour = timedelta(hours=1)
    sent = event(ts_client=(now + hour - timedelta(seconds=30)).isoformat(), ts_sent=(now + hour).isoformat())
    log.append(client, accept([sent], received_at=now, origin="live").entries)
    collector.drain(settings)
    assert landed("events")["event_ts"].to_pylist() == [now - timedelta(seconds=30)]


@pytest.mark.parametrize(
    ("kind", "data", "columns"),
    [
        ("rate", {"value": 4.5}, {"rate_value": 4.5}),
        ("favourite", {"on": False}, {"favourite_on": False}),
        ("search", {"query": "кот", "results": 2, "clicked": "film-1"}, {"search_query": "кот", "search_results": 2,
                                                                        "search_clicked": "film-1"}),
        ("error", {"code": "decode", "fatal": True}, {"error_code": "decode", "error_fatal": True}),
        ("exposure", {"experiment": "e", "variant": "v", "salt": "s"}, {"exposure_experiment": "e",
                                                                      "exposure_variant": "v", "exposure_salt": "s"}),
    ],
)  # fmt: skip
def test_what_an_event_carries_lands_in_the_columns_of_its_type(
    settings, client, event, now, landed, kind, data, columns
):
    surface = {"row": "for-you", "position": 4, "propensity": 0.25, "request_id": "r"}
    entries = accept([event(type=kind, data=data, surface=surface)], received_at=now, origin="live").entries
    log.append(client, entries)
    collector.drain(settings)
    (row,) = landed("events").to_pylist()
    filled = {
        name
        for name, value in row.items()
        if value is not None and name.startswith(("rate", "fav", "sea", "err", "exposure"))
    }
    assert filled == set(columns)
    assert {name: row[name] for name in columns} == columns
    assert (row["surface_row"], row["surface_position"], row["surface_propensity"]) == ("for-you", 4, 0.25)


def test_draining_twice_lands_nothing_new(settings, client, event, now):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    first = collector.drain(settings)
    second = collector.drain(settings)
    assert (first.events, second.events, second.files) == (1, 0, 0)
    assert first.last_id == second.last_id


def test_entries_that_are_not_ours_become_dead_letters_and_stop_nothing(settings, client, event, now, landed):
    client.xadd(log.STREAM, {"something": "else"})
    client.xadd(log.STREAM, {"event": b"\xff\x00"})
    client.xadd(log.STREAM, {"event": "{}", "code": "x\0", "received_at": "yesterday", "account_id": "a\0"})
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    summary = collector.drain(settings)
    assert (summary.events, summary.dead) == (1, 3)
    assert set(landed("dead")["code"].to_pylist()) == {"invalid_event"}


def test_files_without_a_row_are_removed_and_their_entries_land_once(settings, client, event, now, landed):
    ids = log.append(client, accept([event(), event()], received_at=now, origin="live").entries)
    folder = settings.lake.landing_events / f"date={now.date()}"
    folder.mkdir(parents=True)
    crashed = folder / f"part-{ids[0]}-{ids[0]}.parquet"
    crashed.write_bytes(b"half a file")
    draft = folder / f".part-{ids[0]}-{ids[1]}.parquet.4711"
    draft.write_bytes(b"")
    nowhere_else = folder / "part-1-0-2-0.parquet"
    nowhere_else.write_bytes(b"from a lake that is newer than this database")
    collector.drain(settings)
    assert not crashed.exists()
    assert not draft.exists()
    assert nowhere_else.exists()
    assert landed("events").num_rows == 2


def test_a_crash_between_commit_and_trim_lands_nothing_twice(settings, client, event, now, landed):
    entries = accept([event() for _ in range(5)], received_at=now, origin="live").entries
    ids = log.append(client, entries)
    collector.drain(settings)
    for log_id, entry in zip(ids, entries, strict=True):  # as if they had never been trimmed
        client.delete(log.STREAM) if log_id == ids[0] else None
        client.xadd(log.STREAM, log.fields(entry), id=log_id)
    assert collector.drain(settings).events == 0
    assert landed("events").num_rows == 5
    assert client.xlen(log.STREAM) == 0


def test_a_log_whose_ids_went_backwards_is_landed_from_its_beginning(
    settings, connection, client, event, now, landed, caplog
):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    collector.drain(settings)
    client.delete(log.STREAM)
    (entry,) = accept([event()], received_at=now, origin="live").entries
    client.xadd(log.STREAM, log.fields(entry), id="1000-0")
    assert collector.drain(settings).last_id == "1000-0"
    assert landed("events").num_rows == 2
    assert "the event log ends at 1000-0" in caplog.text
    assert connection.execute("SELECT last_id FROM log_offset").fetchone() == ("1000-0",)


def test_a_log_that_is_empty_again_is_no_reason_to_go_back(settings, client, event, now):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    first = collector.drain(settings)
    client.delete(log.STREAM)
    assert collector.drain(settings).last_id == first.last_id


def test_a_drain_waits_for_the_collector_that_holds_the_lock(settings, connection, client, event, now):
    connection.execute("SELECT pg_advisory_lock(%s)", (collector.LOCK,))
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    done: list[collector.DrainSummary] = []
    thread = threading.Thread(target=lambda: done.append(collector.drain(settings)))
    thread.start()
    thread.join(0.5)
    assert not done
    connection.execute("SELECT pg_advisory_unlock(%s)", (collector.LOCK,))
    thread.join(10)
    assert [summary.events for summary in done] == [1]


def test_a_drain_without_redis_says_how_to_get_it(settings):
    gone = Settings.model_validate(
        {**settings.model_dump(), "MATINEE_HOME": settings.home_path, "redis_url": "redis://127.0.0.1:1/0"}
    )
    with pytest.raises(IngestError, match=r"event log does not answer.*matinee up"):
        collector.drain(gone)


def test_a_full_disk_loses_nothing(settings, client, event, now, landed):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    blocked = settings.lake.landing_events / f"date={now.date()}"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    with pytest.raises(IngestError, match="cannot write"):
        collector.drain(settings)
    assert client.xlen(log.STREAM) == 1
    blocked.unlink()
    collector.drain(settings)
    assert landed("events").num_rows == 1


def test_a_disk_that_fills_up_while_landing_leaves_nothing_half(settings, client, event, now, landed):
    full = settings.lake.landing_events
    full.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", full], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        log.append(client, accept([event() for _ in range(2000)], received_at=now, origin="live").entries)
        with pytest.raises(IngestError, match=r"cannot write .*No space left"):
            collector.drain(settings)
        assert [path for path in full.rglob("*") if path.is_file()] == []
        assert client.xlen(log.STREAM) == 2000
        subprocess.run(["mount", "-o", "remount,size=8m", full], check=True)
        assert collector.drain(settings).events == 2000
        assert len(set(landed("events")["event_id"].to_pylist())) == 2000
    finally:
        subprocess.run(["umount", "--lazy", full], check=True)


# Forks for every point, so that imports are paid once. What dies is the real program: the wrappers only count its
# steps, across files, PostgreSQL and Redis, and send the signal before one of them.
CRASH = """
import os, signal, sys
import duckdb, psycopg, redis
from ingest import collector, log, parts
from ingest.bodies import decode
from matinee.settings import Settings

left = 0

def step(function):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*args, **kwargs)
    return counted

for owner, name in (
    (parts, "write"), (os, "replace"), (parts, "record"), (collector, "_record_letters"),
    (collector.Collector, "_move"), (log, "trim"),
):
    setattr(owner, name, step(getattr(owner, name)))

for line in sys.stdin:
    child = os.fork()
    if not child:
        left = int(line)
        collector.drain(Settings.load())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
"""


def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(
    settings, connection, client, event, now, landed, tmp_path
):
    """Events and a dead letter of one batch: killed before each file, rename, change of the ledger and trim."""
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    sent, steps, died = 0, -1, -signal.SIGKILL
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        while died:
            steps += 1
            log.append(client, accept([event(), event(), {}], received_at=now, origin="live").entries)
            sent += 2
            child.stdin.write(f"{steps}\n")
            child.stdin.flush()
            died = int(child.stdout.readline())
            assert died in (0, -signal.SIGKILL)
            collector.drain(settings)
            ids = landed("events")["event_id"].to_pylist()
            assert len(ids) == len(set(ids)) == sent, steps
            assert landed("dead").num_rows == sent / 2
            assert connection.execute("SELECT count(*) FROM dead_letter").fetchone() == (sent / 2,)
            known = {path for (path,) in connection.execute("SELECT path FROM landed_file")}
            lake = settings.lake.root
            assert {path.relative_to(lake).as_posix() for path in lake.rglob("*") if path.is_file()} == known, steps
            assert client.xlen(log.STREAM) == 0
        child.stdin.close()
    assert steps == 9  # trim at the start; two files, each written and renamed; ledger, letters, offset; trim


def _spawn(settings: Settings) -> subprocess.Popen[bytes]:
    code = (
        "from ingest import collector; from matinee.settings import Settings\n"
        "collector.BATCH_SECONDS = 0.05; collector.run(Settings.load())"
    )
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


def test_the_collector_killed_at_random_moments_loses_and_doubles_nothing(settings, client, event, landed):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sent: list[str] = []
    for _ in range(4):
        worker = _spawn(settings)
        try:
            deadline = time.monotonic() + 1.0 + chance.random() * 1.2
            while time.monotonic() < deadline:
                now = datetime.now(UTC)
                stamps = {"ts_client": now.isoformat(), "ts_sent": now.isoformat()}
                batch = accept([event(**stamps) for _ in range(100)], received_at=now, origin="live", account_id="me")
                log.append(client, batch.entries)
                sent += [event["event_id"] for event in _bodies(batch)]
                time.sleep(0.005)
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    collector.drain(settings)
    got = landed("events")["event_id"].to_pylist()
    assert len(got) == len(sent), f"seed {seed}"
    assert set(got) == set(sent), f"seed {seed}"


def test_the_worker_ends_by_sigterm_and_leaves_nothing_half_done(settings, client, event, now):
    log.append(client, accept([event()], received_at=now, origin="live").entries)
    worker = _spawn(settings)
    try:
        for _ in range(200):
            if client.xlen(log.STREAM) == 0:
                break
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.wait()
    files = [path for path in settings.lake.root.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".parquet"]
    assert pq.read_metadata(files[0]).num_rows == 1


def test_the_worker_ends_with_an_error_when_postgresql_drops_it(settings, connection, client):
    worker = _spawn(settings)
    try:
        for _ in range(200):
            found = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
                (collector.LOCK,),
            ).fetchall()
            if found:
                break
            time.sleep(0.05)
        # It sees the loss with its next batch.
        now = datetime.now(UTC)
        client.xadd(log.STREAM, {"event": "{}"}, id=f"{int(now.timestamp() * 1000)}-0")
        assert worker.wait(15) == 1
    finally:
        worker.kill()
        worker.wait()


def _bodies(batch):
    import orjson

    return [orjson.loads(entry.body) for entry in batch.entries]


def test_the_worker_outlives_a_redis_that_is_killed_and_comes_back(settings, connection, event, landed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = Settings.model_validate(
        {**settings.model_dump(), "MATINEE_HOME": settings.home_path, "redis_url": f"redis://127.0.0.1:{port}/0"}
    )
    argv = [
        binary(),
        "--port",
        str(port),
        "--dir",
        tmp_path,
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]
    sent: list[str] = []
    worker = _spawn(own)  # before there is any log
    try:
        for _ in range(3):
            server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
            try:
                sent += _send_when_up(own, event, count=300)
            finally:
                server.kill()
                server.wait()
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if connection.execute("SELECT sum(rows) FROM landed_file").fetchone() == (len(sent),):
                    break
                time.sleep(0.1)
        finally:
            server.kill()
            server.wait()
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()
    assert sorted(landed("events")["event_id"].to_pylist()) == sorted(sent)


def _send_when_up(settings: Settings, event, count: int) -> list[str]:
    client = log.connect(settings.events())
    now = datetime.now(UTC)
    stamps = {"ts_client": now.isoformat(), "ts_sent": now.isoformat()}
    batch = accept([event(**stamps) for _ in range(count)], received_at=now, origin="live", account_id="me")
    for _ in range(100):
        try:
            log.append(client, batch.entries)
            break
        except LogUnavailableError:
            time.sleep(0.05)
    client.close()
    return [body["event_id"] for body in _bodies(batch)]
