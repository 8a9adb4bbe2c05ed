"""The parts of recommendations on their own: probabilities, orders, exposures, and what holds while a store is gone."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import orjson
import psycopg_pool
import pytest
import redis
import redis.asyncio

from features.online import Known, Online
from matinee.clock import SystemClock
from models.experiments.assignment import Experiment
from models.recommenders.segments import SegmentPopularityFitted
from serving.events.core import Log
from serving.profiles.core import Viewer
from serving.recommendations import exposures, live
from serving.recommendations.catalogue import Catalogues, Shelf, Title
from serving.recommendations.exposures import Exposures
from serving.recommendations.live import GoneError, Live
from serving.recommendations.page import Progress, Visit, home_page
from serving.recommendations.pages import Done, Kept
from serving.recommendations.rows import take
from serving.recommendations.served import Served
from serving.recommendations.tracking import Tracking
from serving.rights.core import Terms

NOW = datetime(2026, 11, 23, tzinfo=UTC)
EXPERIMENT = Experiment("e", "salt", (("a", 1.0),))
GENRES = ("drama", "comedy", "nature", "crime")
TITLES = {f"t{number:03}": [GENRES[number % 4]] for number in range(400)}


@pytest.fixture
def served(export_system):
    random = np.random.default_rng(3)
    histories = [random.choice(sorted(TITLES), 12, replace=False).tolist() for _ in range(60)]
    return Served(export_system(TITLES, histories))


def shelf_of(titles):
    bare = Terms(True, True, True, 0, ())
    seen = {
        t: Title(t, "film", t, {"en": t}, tuple(TITLES[t]), 0.0, bare, (0, 0.0, t), b'"%b":{}' % t.encode())
        for t in titles
    }
    return Shelf(seen, tuple(titles), {})


def test_propensities_are_what_many_accounts_see(served):
    shelf, pages = shelf_of(sorted(TITLES)[:110]), 400
    known = Known(("t001", "t005", "t010"), (1.0, 2.0, 3.0), frozenset(), {})
    seen, told = Counter(), {}
    for number in range(pages):
        visit = Visit(f"p{number}", None, False, NOW, known, frozenset(), Progress(), {}, 0.5, bool(number % 2))
        page = home_page(visit, shelf, served)
        assert page.differs
        for height, row in enumerate(orjson.loads(b"{" + page.body)["rows"]):
            for place, item in enumerate(row["items"]):
                key = (height, row["id"], place, item["title_id"])
                seen[key] += 1
                assert told.setdefault(key, item["propensity"]) == pytest.approx(item["propensity"])
    for key, chance in told.items():
        assert abs(seen[key] / pages - chance) <= 4 * np.sqrt(chance * (1 - chance) / pages) + 1e-9, key
    assert {0.5, 1.0} < {round(chance, 6) for chance in told.values()}, "and some of the exploration slot"


def test_without_a_history_no_account_sees_another_order(served):
    nobody = Known((), (), frozenset(), {})
    page = home_page(
        Visit("p", None, False, NOW, nobody, frozenset(), Progress(), {}, 0.5, True), shelf_of(sorted(TITLES)), served
    )
    assert not page.differs
    trending = next(row for row in orjson.loads(b"{" + page.body)["rows"] if row["id"] == "trending")
    assert {item["propensity"] for item in trending["items"]} == {1.0}


def test_an_order_that_viewers_share_is_kept_in_part_and_the_same_in_whole(served):
    shares = np.random.default_rng(4).random((3, len(TITLES)), dtype=np.float32)
    system = served.system.__class__(
        **{name: getattr(served.system, name) for name in ("about", "items", "titles", "created", "model", "recent")},
        neighbours=served.system.neighbours, segments=SegmentPopularityFitted(("", "/", "FR/"), shares),
    )  # fmt: skip
    served, shelf = Served(system), shelf_of(sorted(TITLES)[20:])
    everywhere = [pick.title_id for pick in served.popular(shelf, None, False, (), 100)]
    abroad = [pick.title_id for pick in served.popular(shelf, "XX", False, (), 100)]
    assert [pick.title_id for pick in served.popular(shelf, "YY", False, (), 100)] == abroad
    assert [pick.title_id for pick in served.popular(shelf, "FR", False, (), 100)] != everywhere
    assert [len(heads) for heads in served._popular.values()] == [3], "an unknown region has no order of its own"
    assert max(len(head) for heads in served._popular.values() for head in heads.values()) == 300
    whole = served.popular(shelf, "FR", False, (), len(TITLES))
    assert sorted(pick.title_id for pick in whole) == sorted(shelf.offered)
    for hidden in (set(), {pick.title_id for pick in whole[3:280]}, {pick.title_id for pick in whole[:350]}):
        assert served.popular(shelf, "FR", False, hidden, 60) == take(whole, hidden, 60)
        newest = [pick.title_id for pick in served.newest(shelf, hidden, 400)]
        assert sorted(newest) == sorted(set(shelf.offered) - hidden)


async def test_while_redis_is_gone_one_at_a_time_finds_out(monkeypatch):
    monkeypatch.setattr(live, "PAUSE_S", 0.25)
    tries = []

    async def never_answer(reader, writer):
        tries.append(time.monotonic())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    client = redis.asyncio.Redis(port=server.sockets[0].getsockname()[1], retry=None)
    state = Live(Online(client), Tracking(client))
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        asked = [asyncio.create_task(state.version(f"p{number}")) for number in range(3)]
        await asyncio.sleep(0.02)
        if len(tries) > 1:
            answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 0.5)
            assert all(isinstance(answer, GoneError) for answer in answers)
    await asyncio.gather(*asked, return_exceptions=True)
    await client.aclose()
    server.close()
    assert len(tries) >= 2
    apart = np.diff(tries[1:])
    assert len(apart) == 0 or apart.min() > 0.15, tries


async def test_postgresql_that_is_gone_is_waited_for_once():
    pool = psycopg_pool.AsyncConnectionPool(
        "host=127.0.0.1 port=9 user=x dbname=x", min_size=0, max_size=2, open=False, timeout=0.4, reconnect_timeout=0.1
    )
    await pool.open(wait=False)
    catalogues, viewer = Catalogues(pool.connection), Viewer("a", "p", None, 18, None)
    begun = time.monotonic()
    try:
        found = await asyncio.gather(*(catalogues.shelf(viewer, NOW) for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in found} == {psycopg_pool.PoolTimeout}
        assert time.monotonic() - begun < 1.2, "not one after the other"
    finally:
        await pool.close()


async def lead(client, port):
    """Let a client look for Redis at another port."""
    await client.connection_pool.disconnect()
    client.connection_pool.connection_kwargs["port"] = port
    client.connection_pool.reset()


async def test_exposures_wait_for_redis_and_nobody_waits_for_them(settings, monkeypatch):
    monkeypatch.setattr(exposures, "PAUSE_S", 0.05)
    store = redis.asyncio.Redis.from_url(settings.redis())
    events = redis.asyncio.Redis.from_url(settings.redis())
    port = events.connection_pool.connection_kwargs["port"]
    await lead(events, 9)
    log, clock = Log(events), SystemClock()
    first, second = Exposures(store, log, clock), Exposures(store, Log(store), clock)
    for _ in range(2):
        first.tell("ada", "s", {EXPERIMENT: "a"}, lambda: None)
    await asyncio.sleep(0.2)
    assert await store.xlen("events") == 0
    assert not first._writing.done(), "it goes on trying"
    second.tell("ada", "s", {EXPERIMENT: "a"}, lambda: None)  # another process, on the same day
    second.tell("bob", "s", {EXPERIMENT: "a"}, lambda: None)
    await second.close()
    await lead(events, port)
    first.tell("eve", "s", {EXPERIMENT: "a"}, lambda: "rate")
    await first.close()
    told = [orjson.loads(fields[b"event"]) for _, fields in await store.xrange("events")]
    assert [(event["account_id"], event.get("bot")) for event in told] == [
        ("bob", None),
        ("ada", None),
        ("eve", "rate"),
    ]

    await lead(events, 9)
    third = Exposures(store, log, clock)
    third.tell("zoe", "s", {EXPERIMENT: "a"}, lambda: None)
    await third.close()
    assert not await store.keys("exposure:*:zoe"), "another process may tell it"
    monkeypatch.setattr(exposures, "MOST_WAITING", 1)
    third.tell("kim", "s", {EXPERIMENT: "a"}, lambda: None)
    assert [waiting.mark.rsplit(":")[-1] for waiting in third._waiting] == ["zoe"], "memory has a limit"
    for client in (store, events):
        await client.aclose()


def test_a_page_is_of_the_region_and_what_was_done_has_a_limit():
    made_of = (b"1", shelf_of(["t001"]), None, 5, [], "FR")
    kept = Kept(made_of, b"", False)
    assert kept.is_of(made_of)
    assert not kept.is_of((*made_of[:5], "US"))
    done = Done(most=5)
    for profile in ("a", "b", "a", "c"):
        done.put(profile, frozenset({f"{profile}1", f"{profile}2"}))
    assert [len(done.get(profile)) for profile in ("a", "b", "c")] == [2, 0, 2]


async def test_versions_are_read_again_when_redis_tells_and_believed_while_it_answers(settings):
    client = redis.asyncio.Redis.from_url(settings.redis())
    port = client.connection_pool.connection_kwargs["port"]
    tracking = Tracking(client)
    state, told = Live(Online(client), tracking), []
    tracking.on_change = told.append

    async def settled(holds):
        for _ in range(300):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(told)

    assert tracking.get("a") is None
    tracking.start()
    await settled(lambda: tracking.works)
    assert await state.version("a") is None
    assert tracking.get("a") == (None,)
    await client.incr("live:version:a")
    await settled(lambda: told == ["a"])
    assert tracking.get("a") is None
    assert await state.version("a") == b"1"
    assert tracking.get("a") == (b"1",)
    # What is written between a question and its answer is not missed, nor is an older answer taken for a newer one.
    first, second = tracking.reading(["a"]), tracking.reading(["a"])
    tracking.read(first, ["a"], [b"0"])
    assert tracking.get("a") is None
    tracking._changed([b"live:version:a"])
    tracking.read(second, ["a"], [b"1"])
    assert tracking.get("a") is None
    await state.version("a")
    await client.set("features:seeded", "another build")
    await settled(lambda: tracking.get("a") is None)
    await state.version("a")
    client.connection_pool.connection_kwargs["port"] = 9  # Redis is gone
    for connection in await client.client_list():
        if connection["flags"] == "tB":
            await client.client_kill(connection["addr"])
    await settled(lambda: not tracking.works)
    assert tracking.get("a") is None
    client.connection_pool.connection_kwargs["port"] = port
    await settled(lambda: tracking.works)
    await tracking.stop()
    assert not tracking.works
    await client.aclose()
