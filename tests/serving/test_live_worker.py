"""Events into live state: within a second, once whatever comes twice, and never of somebody who is erased."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
import redis.asyncio

from features.keys import DONE, HISTORY, MATCH, PLAYS, POSITION, VERSION
from features.live import KEEP
from features.online import Known, Online
from ingest import collector, log
from ingest.catalog import ingest_feed
from ingest.erase import purge_landed
from ingest.intake import accept
from matinee import pseudonyms
from matinee.db.connect import connect
from matinee.settings import Settings
from serving.recommendations import worker

ADA = "account-ada"


@pytest.fixture
def here(settings: Settings, tmp_path) -> Iterator["Here"]:
    titles = [
        {"id": "film", "kind": "film", "titles": {"en": "Film"}, "genres": ["drama", "crime"], "runtime_s": 6_000},
        {"id": "short", "kind": "film", "titles": {"en": "Short"}, "genres": ["nature"], "runtime_s": 60},
        {"id": "series", "kind": "series", "titles": {"en": "Series"}, "genres": ["drama"]},
        {"id": "episode", "kind": "episode", "parent": "series", "titles": {"en": "One"}, "runtime_s": 1_800},
        {"id": "trailer", "kind": "extra", "titles": {"en": "Trailer"}, "runtime_s": 60},
    ]
    offers = {"maturity": 6, "offers": [{"kind": "free"}], "synopsis": {"en": "."}, "year": 2020}
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(json.dumps({**offers, **title}) for title in titles))
    client = redis.Redis.from_url(settings.redis())
    with connect(settings, autocommit=True) as connection:
        assert not ingest_feed(connection, feed).rejected
        yield Here(settings, connection, client)
    client.close()


class Here:
    """A home with a small catalogue and no features applied: histories live without them."""

    def __init__(self, settings: Settings, connection: psycopg.Connection, client: redis.Redis) -> None:
        self.settings, self.connection, self.client = settings, connection, client
        self.now = datetime.now(UTC)

    def send(self, *events: dict[str, Any], account: str | None = ADA, bot: str | None = None) -> None:
        sent = accept(events, received_at=self.now, origin="live", account_id=account, bot=bot)
        assert not sent.rejections, [entry.reason for entry in sent.entries]
        log.append(log.connect(self.settings.events()), sent.entries)

    def event(self, kind: str, ago: float = 0, **more: Any) -> dict[str, Any]:
        at = (self.now - timedelta(seconds=ago)).isoformat()
        return {
            "event_id": str(uuid.uuid4()), "schema": "viewer-event/1.0", "session_id": "v", "profile_id": "ada",
            "ts_client": at, "ts_sent": self.now.isoformat(), "type": kind, **more,
        }  # fmt: skip

    def key(self, profile: str = "ada", account: str = ADA) -> str:
        with self.connection.transaction():
            return pseudonyms.salts(self.connection, [account])[account].key(profile)

    async def known(self, profile: str = "ada") -> Known:
        async with redis.asyncio.Redis.from_url(self.settings.redis()) as client:
            return await Online(client).viewer(self.key(profile))

    def state(self) -> dict[bytes, Any]:
        """All that is live but the place in the log."""
        read: dict[bytes, Callable[[bytes], Any]] = {
            b"history": lambda name: self.client.zrange(name, 0, -1, withscores=True),
            b"done": self.client.smembers,
            b"plays": self.client.hgetall,
            b"version": self.client.get,
        }
        return {name: read[name.split(b":")[1]](name) for name in sorted(self.client.scan_iter(MATCH))}


async def test_what_was_watched_rated_and_liked_is_known(here: Here) -> None:
    here.send(
        here.event("play", 400, playback_id="p1", title_id="film", played_ms=0),
        here.event("heartbeat", 60, playback_id="p1", title_id="film", played_ms=600_000, position_ms=600_000),
        here.event("heartbeat", 50, playback_id="p2", title_id="episode", played_ms=299_999 // 2),
        here.event("stop", 40, playback_id="p3", title_id="short", played_ms=55_000, position_ms=55_000),
        here.event("rate", 30, title_id="series", data={"value": 2}),
        here.event("favourite", 20, title_id="unheard-of", data={"on": True}),
        here.event("heartbeat", 10, playback_id="p4", title_id="trailer", played_ms=60_000),
        here.event("favourite", 10, title_id="film", profile_id="kid", data={"on": True}),
    )
    here.send(here.event("favourite", 5, title_id="short", data={"on": True}), account=None)
    made = worker.drain(here.settings)
    assert (made.events, made.profiles) == (8, 2)
    known = await here.known()
    assert known.titles == ("film", "short")
    assert known.times == pytest.approx([(here.now.timestamp() - ago) for ago in (400, 40)])
    assert known.done == {"short", "series"}
    assert set(known.features.values()) == {None}, "no registry yet"
    assert (await here.known("kid")).titles == ("film",)
    assert here.client.get(VERSION + here.key()) == b"1", "one rise for all that came together"


async def test_an_older_event_that_comes_later_moves_the_first_moment_back(here: Here) -> None:
    here.send(here.event("favourite", 10, title_id="film", data={"on": True}))
    worker.drain(here.settings)
    here.send(here.event("rate", 5_000, title_id="film", data={"value": 5}))
    worker.drain(here.settings)
    assert (await here.known()).times == pytest.approx([here.now.timestamp() - 5_000])


def test_what_comes_twice_or_is_read_again_changes_nothing(here: Here) -> None:
    events = [
        here.event("heartbeat", 60, playback_id="p1", title_id="film", played_ms=400_000, position_ms=1),
        here.event("rate", 30, title_id="short", data={"value": 4}),
    ]
    here.send(*events)
    worker.drain(here.settings)
    before = here.state()
    here.send(*events)
    assert worker.drain(here.settings).profiles == 0
    here.client.set(POSITION, "0-0")  # as a crash before the first save would leave it
    assert worker.drain(here.settings).events == 4
    assert here.state() == before


def test_a_crash_before_the_state_is_written_is_made_good(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.send(here.event("favourite", 1, title_id="film", data={"on": True}))
    with monkeypatch.context() as broken:
        broken.setattr(worker, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worker.drain(here.settings)
    assert here.state() == {}
    assert worker.drain(here.settings).profiles == 1
    assert here.client.zrange(HISTORY + here.key(), 0, -1) == [b"film"]


async def test_a_client_that_turns_out_to_be_a_bot_counts_for_nothing_from_then_on(here: Here) -> None:
    here.send(here.event("rate", 3, title_id="film", data={"value": 5}), bot="rate")
    here.send(here.event("heartbeat", 3, playback_id="p", title_id="short", played_ms=1_000))
    here.send(here.event("heartbeat", 2, playback_id="p", title_id="short", played_ms=60_000), bot="rate")
    worker.drain(here.settings)
    known = await here.known()
    assert (known.titles, known.done) == ((), frozenset())


async def test_what_the_collector_has_landed_and_trimmed_is_read_from_its_files(here: Here) -> None:
    here.send(here.event("favourite", 9, title_id="short", data={"on": True}))
    worker.drain(here.settings)
    here.send(
        here.event("favourite", 8, title_id="film", data={"on": True}),
        here.event("rate", 7, title_id="series", data={"value": 1}),
    )
    collector.drain(here.settings)
    here.send(here.event("rate", 6, title_id="film", data={"value": 1}))
    worker.drain(here.settings)
    known = await here.known()
    assert (set(known.titles), known.done) == ({"short", "film"}, {"series", "film"})


def test_nothing_of_the_erased_comes_back(here: Here) -> None:
    here.send(here.event("favourite", 9, title_id="film", data={"on": True}))
    collector.drain(here.settings)  # one event of theirs is in a file, one waits
    here.client.set(POSITION, "0-0")
    here.send(here.event("rate", 8, title_id="film", data={"value": 5}))
    key = here.key()
    with here.connection.transaction():
        pseudonyms.destroy(here.connection, [ADA], {"profile_key": [key]})
    worker.drain(here.settings)
    assert here.state() == {}


def test_whom_a_purge_forgot_while_their_file_was_read_does_not_come_back(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, key = worker.turn, here.key()
    gone = {"account_key": frozenset([here.key(ADA)]), "profile_key": frozenset([key])}
    worker.drain(here.settings)
    for account in (ADA, "bea"):
        here.send(here.event("favourite", 9, title_id="film", data={"on": True}), account=account)
    collector.drain(here.settings)

    @contextmanager
    def after_a_purge(connection: psycopg.Connection) -> Iterator[None]:
        if purge_landed(here.connection, here.settings, gone, lambda *_: None)[1]:
            with here.connection.transaction():
                pseudonyms.destroy(here.connection, [ADA], gone)
            assert pseudonyms.forget_keys(here.connection, gone) == 2
        with turn(connection):
            yield

    monkeypatch.setattr(worker, "turn", after_a_purge)
    worker.drain(here.settings)
    assert here.client.zrange(HISTORY + here.key("ada", "bea"), 0, -1) == [b"film"]
    assert not here.client.exists(HISTORY + key, PLAYS + key, VERSION + key)


async def test_what_was_landed_and_trimmed_while_the_worker_waited_needs_no_other_event(here: Here) -> None:
    worker.drain(here.settings)
    here.send(here.event("favourite", 8, title_id="film", data={"on": True}))
    collector.drain(here.settings)
    with worker._parties(here.settings) as running:
        running.start()
        assert running.step(block_ms=1)
        assert not running.step(block_ms=1)
    assert (await here.known()).titles == ("film",)


def test_of_a_viewer_with_very_many_playbacks_the_newest_are_kept(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []
    monkeypatch.setattr(worker.Worker, "_push", lambda _, made: pushed.append(made))
    for start in range(0, KEEP + 500, 500):
        here.send(*(
            here.event("heartbeat", 7_000 - number, playback_id=f"p{number}", title_id="film", played_ms=5_900_000)
            for number in range(start, start + 500)
        ))  # fmt: skip
    worker.drain(here.settings)
    kept = here.client.hkeys(PLAYS + here.key())
    assert (len(kept), b"pp499" in kept, b"pp500" in kept) == (KEEP, False, True)
    assert pushed[-1][here.key()]["profile_activity"]["plays_30d"] == KEEP, "what is pushed is made of what is kept"
    assert here.client.zcard(HISTORY + here.key()) == here.client.scard(DONE + here.key()) == 1


def test_a_running_worker_tells_within_a_second_and_goes_on_after_redis_was_emptied(here: Here) -> None:
    stop = threading.Event()

    def follow() -> None:
        with worker._parties(here.settings) as running:
            assert worker._lock(running.connection)
            worker._follow_until(stop, running)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not worker.is_caught_up(here.settings) and time.monotonic() < deadline:
            time.sleep(0.02)
        for title in ("film", "short"):
            here.send(here.event("favourite", 1, title_id=title, data={"on": True}))
            deadline = time.monotonic() + 5  # on a quiet machine it is some 30 ms; `matinee bench features` measures it
            while title not in asyncio.run(here.known()).titles and time.monotonic() < deadline:
                time.sleep(0.01)
            assert title in asyncio.run(here.known()).titles
            here.client.flushall()
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
