"""A build's knowledge of viewers and what came live since, in whatever order they meet."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
import redis

from features import live
from features.checks import skew
from features.keys import DONE, HISTORY, PLAYS, SEEDED, VERSION, online_key
from features.live import Play, Said
from features.online import FIELDS
from features.seed import seed
from features.store import apply_and_materialise, online_features
from features.turns import LOCK, turn
from matinee import pseudonyms
from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.settings import Settings


def marts(folder: Path, at: datetime) -> None:
    """Profile `a` watched film `f` to its end and rated `g` low; `gone` was erased; `b` liked `h` long ago."""
    with duckdb.connect(str(folder.parent / "marts.duckdb")) as made:
        made.execute("SET TimeZone = 'UTC'")
        titles = "('f', 'f', 'film'), ('g', 'g', 'film'), ('h', 'h', 'film'), ('x', 'x', 'extra')"
        made.execute(f"CREATE TABLE dim_title AS FROM (VALUES {titles}) t (title_id, item_id, kind)")
        made.execute(
            "CREATE TABLE fct_playback_session AS SELECT * REPLACE (CAST(started_at AS timestamptz) AS started_at) FROM"
            " (VALUES ('p1', 'a', 'f', 'f', $at, 600000, 5400000, false), ('p9', 'gone', 'f', 'f', $at, 1, 1, false))"
            " t (playback_id, profile_key, title_id, item_id, started_at, played_ms, max_position_ms, is_bot)",
            {"at": at.isoformat()},
        )
        made.execute("ALTER TABLE fct_playback_session ADD COLUMN event_date date")
        made.execute("UPDATE fct_playback_session SET event_date = CAST(started_at AS date)")
        made.execute(
            "CREATE TABLE fct_interaction AS SELECT *, CAST(happened_at AS date) AS event_date FROM (SELECT * REPLACE"
            " (CAST(happened_at AS timestamptz) AS happened_at) FROM (VALUES"
            " ('p1', 'a', 'f', 'f', 'view', $at, 0.95, true), ('r1', 'a', 'g', 'g', 'rate', $at, 1.0, false),"
            " ('p9', 'gone', 'f', 'f', 'view', $at, 0.95, true), ('r2', 'b', 'h', 'h', 'rate', $old, 5.0, true),"
            " ('p7', 'a', 'x', 'x', 'view', $at, 0.95, true))"
            " t (interaction_id, profile_key, title_id, item_id, kind, happened_at, value, is_positive))",
            {"at": at.isoformat(), "old": (at - timedelta(days=900)).isoformat()},
        )


@pytest.fixture
def day(lay) -> datetime:
    return lay.day + timedelta(days=50, hours=-10)


def test_builds_and_events_meet_in_any_order(settings: Settings, lay, day: datetime) -> None:
    frames = lay.sample()
    frames["profile_taste"] = frames["profile_taste"].filter(pl.col("profile_key") != "a")
    quiet = pl.DataFrame({"profile_key": ["quiet"], "event_timestamp": [lay.day]})  # played something long ago
    frames["profile_activity"] = pl.concat([frames["profile_activity"], quiet], how="diagonal_relaxed")
    published = lay.publish(settings, frames)
    marts(published, day)
    client = redis.Redis.from_url(settings.redis())
    later = round((day + timedelta(hours=1)).timestamp() * 1e6)
    client.hset(PLAYS + "a", mapping={  # what came live: more of p1, a like of h, and a stranger's state
        "pp1": live.packed(Play(later, "f", (later, 1, "e"), 700_000, 5_400_000)),
        "ss1": live.packed(Said(later, "h", positive=True, rated=False)),
    })  # fmt: skip
    client.zadd(HISTORY + "nobody", {"f": 1})
    client.hset(online_key("stranger"), "x", "1")  # as Feast had it of somebody whom nobody knows any more
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO title (title_id, kind, genres, feed_hash, state, maturity) VALUES"
            " ('f', 'film', '{drama}', 'x', 'published', 0), ('h', 'film', '{crime}', 'x', 'published', 0)"
        )
        pseudonyms.destroy(connection, ["someone"], {"profile_key": ["gone"]})
        connection.commit()
    apply_and_materialise(settings)
    made = seed(settings)
    assert (made.viewers, made.changed, made.ahead, made.removed) == (2, 2, 1, 2)
    assert [client.exists(online_key(name)) for name in ("a", "quiet", "stranger")] == [1, 1, 0]
    moments = dict(client.zrange(HISTORY + "a", 0, -1, withscores=True))
    assert moments == {b"f": day.timestamp(), b"h": later / 1e6}, (
        "the build knew an earlier moment of f; extras are none"
    )
    assert client.smembers(DONE + "a") == {b"f", b"g"}
    assert client.zrange(HISTORY + "b", 0, -1) == [b"h"]
    assert not client.exists(PLAYS + "b"), "no window reaches back so far"
    assert not list(client.scan_iter("live:*gone")) + list(client.scan_iter("live:*nobody"))
    (row,) = online_features(settings, [{"profile_key": "a", "title_id": "t"}])
    assert row["profile_activity__hours_30d"] == 700_000 / 3.6e6, "what came live is more than what the mart says"
    assert row["profile_taste__top_genre"] == "crime"

    assert seed(settings).viewers == 0, "nothing to do for the same content"
    client.delete(SEEDED)
    assert (seed(settings).changed, client.get(VERSION + "a")) == (0, b"1")
    clock = ManualClock(day)
    assert skew(settings, clock=clock).wrong == ()
    client.hset(online_key("a"), FIELDS[1], b"\x20\x63")  # Feast's Value of int64 99, by hand
    (wrong,) = skew(settings, clock=clock).wrong
    assert wrong == ("a", "profile_activity__plays_7d", 99, 1)
    with ThreadPoolExecutor(1) as other:
        begun = threading.Event()
        writing = other.submit(_write_within_a_turn, settings, begun)
        assert begun.wait(10)
        assert skew(settings, clock=clock).wrong == ()
        writing.result()
    client.close()


def _write_within_a_turn(settings: Settings, begun: threading.Event) -> None:
    """Right what is wrong when somebody waits for the turn."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    with connect(settings) as connection, turn(connection):
        begun.set()
        deadline = time.monotonic() + 10
        while connection.execute(waiting, (LOCK,)).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        client = redis.Redis.from_url(settings.redis())
        client.hset(online_key("a"), FIELDS[1], b"\x20\x01")
        client.close()
