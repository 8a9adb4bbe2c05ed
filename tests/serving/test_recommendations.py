"""The home page: planning as pure functions, and the endpoint on a real system."""

import asyncio
import os
import shutil
import socket
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from statistics import median

import hypothesis
import orjson
import psycopg
import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from matinee.clock import ManualClock, SystemClock
from matinee.settings import Settings
from models.experiments.assignment import assign
from models.experiments.registry import ACTIVE, HOME_ORDER
from serving import context
from serving.recommendations import live, systems
from serving.recommendations.live import PAUSE_S
from serving.recommendations.rows import MAX_ITEMS, MAX_ROW, List, Pick, deal, with_arm
from serving.recommendations.types import Home

BEAT_S = 0.01
picks = st.lists(st.integers(0, 90).map(lambda n: Pick(f"t{n}", "s", "c")), max_size=50)
ids = st.sampled_from(["for_you", "trending", "new", "gems", "genre:a", "genre:b", "genre:c", "genre:d", "because:x"])
GENRES = {
    "otters": ["nature", "family"], "harbour": ["drama"], "midnight": ["drama"], "abroad": ["drama"],
    "later": ["drama"], "unsold": ["nature"], "unfilmed": ["nature"], "beacon": ["drama", "family"], "gone": ["drama"],
}  # fmt: skip
HISTORIES = [
    ["otters", "beacon", "harbour"],
    ["otters", "beacon"],
    ["midnight", "harbour", "gone"],
    ["abroad", "otters"],
]


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(st.dictionaries(ids, picks, max_size=6), st.sets(st.integers(0, 90).map(lambda n: f"t{n}")), st.sets(ids))
def test_titles_are_dealt_to_one_row_each_and_nothing_taken_comes_back(lists, taken, exploring):
    rows = deal(
        [List(row, {}, found, ahead=3 * (row == "new")) for row, found in lists.items()], taken, exploring=exploring
    )
    shown = [pick.title_id for row in rows for pick in (*row.picks, *row.reserve)]
    assert max(Counter(shown).values(), default=1) == 1
    assert not set(shown) & taken
    assert all(0 < len(row.picks) <= MAX_ROW for row in rows)
    assert sum(len(row.picks) for row in rows) <= max(MAX_ITEMS, 3 * len(lists))
    assert all(row.kind in exploring for row in rows if row.reserve)
    newest = [pick.title_id for pick in lists.get("new", ()) if pick.title_id not in taken]
    new = [pick.title_id for row in rows if row.id == "new" for pick in row.picks]
    assert new[:3] == list(dict.fromkeys(newest))[:3], "the newest stand in their own row"


@given(st.permutations(["trending", "gems", "for_you", "new"]), st.booleans())
def test_the_variant_decides_which_row_stands_first(order, treated):
    dealt = with_arm(order, for_you_first=treated)
    assert [row for row in dealt if row in ("for_you", "trending")] == sorted(
        ["for_you", "trending"], reverse=not treated
    )
    assert [dealt.index(row) for row in ("gems", "new")] == [order.index(row) for row in ("gems", "new")]


async def home(client, **params):
    answer = await client.get("/api/recommendations", params=params)
    assert answer.status_code == 200, answer.text
    return Home.model_validate(answer.json())


def shown(page, row_id=None):
    return [item.title_id for row in page.rows if row_id in (None, row.id) for item in row.items]


@pytest.fixture
async def ada(app, browser):
    """A signed-in adult without a region, who is dealt the row of their own before what everybody watches."""
    for number in range(40):
        async with browser(app) as client:
            await client.sign_up(f"ada{number}@example.org")
            if assign(HOME_ORDER, client.session["account_id"]) == "treatment":
                yield client
                return
    raise AssertionError("nobody was dealt the treatment")


@pytest.fixture
async def ready(app):
    """Let the app take what was exported by now."""
    return app.state.context.systems.look


async def test_rows_of_a_viewer_with_a_history(ada, export_system, known_as, ready):
    system = export_system(GENRES, HISTORIES)
    await ready()
    account = ada.session["account_id"]
    known_as(account, ada.profile_id, ["otters"])
    page = await home(ada, profile_id=ada.profile_id)
    assert not page.degraded
    assert (page.model.name, page.model.version, page.model.snapshot_id) == ("matinee-recommender", "7", "s1")
    assert sorted(shown(page)) == ["beacon", "harbour", "midnight", "otters"], "what is sold here and plays"
    item = next(i for row in page.rows for i in row.items if i.title_id == "beacon")
    assert item.reason.code == "because_you_watched"
    assert item.reason.params == {"title_id": "otters"}
    assert item.experiments == {e.name: assign(e, account) for e in ACTIVE}
    chances = {row.id: {item.propensity for item in row.items} for row in page.rows}
    assert chances["for_you"] == {0.5}, "the other half of the accounts are dealt what is popular first"
    assert set(page.titles) >= set(shown(page))
    assert page.rows[0].id == "for_you"
    assert system.about.version == page.model.version


async def test_limits_of_the_profile_hold_in_every_row_and_reason(ada, export_system, known_as, ready):
    export_system(GENRES, HISTORIES)
    await ready()
    kid = await ada.kid(6)
    known_as(ada.session["account_id"], kid, ["midnight", "harbour"])
    page = await home(ada, profile_id=kid)
    assert set(page.titles) == set(shown(page)) == {"otters", "beacon"}
    assert all(item.reason.params == {} for row in page.rows for item in row.items), "no name from an adult's history"


async def test_without_any_model_the_newest_titles_stand_in(ada):
    page = await home(ada)
    assert page.degraded
    assert page.model is None
    assert [row.id for row in page.rows] == ["new", "all"]
    assert set(shown(page)) == {"otters", "harbour", "midnight", "beacon"}


async def test_a_viewer_without_a_history_sees_what_is_popular(ada, export_system, ready):
    export_system(GENRES, HISTORIES)
    await ready()
    page = await home(ada)
    assert not page.degraded
    assert shown(page, "trending")[0] == "otters"
    assert "for_you" not in {row.id for row in page.rows}
    picked = await home(ada, surface="onboarding")
    assert [row.id for row in picked.rows] == ["onboarding"]
    assert set(shown(picked)) == {"otters", "harbour", "midnight", "beacon"}
    first = [set(GENRES[title]) for title in shown(picked)[:2]]
    assert not first[0] & first[1], "what is offered first has nothing in common"


async def test_without_redis_what_is_popular_comes_in_time(catalogue, running, browser, export_system):
    export_system(GENRES, HISTORIES)
    values = {"MATINEE_HOME": catalogue.home_path, "database_url": catalogue.database_url}
    # An address where nobody answers at all: a refused connection would be quicker than a stopped server.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = Settings.model_validate({**values, "redis_url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
        async with running(dead) as app, browser(app) as client:
            await client.sign_up()
            await app.state.context.systems.look()
            times = []
            for _ in range(4):
                async with beating() as beats:
                    page = await home(client)
                times.append(len(beats) * BEAT_S)
                await asyncio.sleep(PAUSE_S)  # so that the next one tries Redis again
    assert page.degraded
    assert page.model.name == "matinee-recommender"
    assert shown(page, "trending")[0] == "otters"
    assert median(times) < 0.3, times


async def test_what_was_begun_stands_first_and_what_was_finished_goes(ada, export_system, known_as, ready):
    async def see(title_id, position_ms):
        playback = (await ada.post(f"/api/watch/{title_id}")).json()["playback_id"]
        answer = await ada.post(f"/api/watch/{playback}/heartbeat", json={"position_ms": position_ms})
        assert answer.status_code == 200

    export_system(GENRES, HISTORIES)
    await ready()
    assert shown(await home(ada), "continue") == []
    await see("otters", 5_000)
    await see("harbour", 20_000)
    await see("beacon-e1", 20_000)
    page = await home(ada)
    assert page.rows[0].id == "continue"
    assert shown(page, "continue") == ["beacon", "otters"]
    assert page.rows[0].items[0].reason.params == {"title_id": "beacon-e2"}
    assert page.rows[0].items[0].propensity == 1.0
    assert "beacon-e2" in page.titles
    assert "harbour" not in page.titles
    await see("beacon-e2", 20_000)
    assert shown(await home(ada), "continue") == ["otters"], "the last episode was seen"
    known_as(ada.session["account_id"], ada.profile_id, ["midnight", "otters"], done=["midnight"])
    page = await home(ada)
    assert shown(page) == ["otters"], "everything else was seen to the end"


async def test_what_was_finished_stays_away_after_200_newer_ones_and_without_redis(
    ada, app, export_system, known_as, ready, settings, running, browser
):
    export_system(GENRES, HISTORIES)
    await ready()
    profile = ada.profile_id
    known_as(ada.session["account_id"], profile, ["midnight"], done=["midnight"])
    with psycopg.connect(settings.database()) as connection:
        insert = "INSERT INTO playback_position SELECT %s, unnest(%s::text[]), 1000, 1000, now() - interval '1 day'"
        connection.execute(insert, (profile, ["harbour", "beacon-e2"]))
        connection.execute(
            "INSERT INTO title (title_id, kind, maturity, state, feed_hash) "
            "SELECT 'other-' || n, 'film', 0, 'draft', '' FROM generate_series(1, 250) n"
        )
        connection.execute(
            "INSERT INTO playback_position SELECT %s, title_id, 500, 1000, now() FROM title WHERE title_id ~ '^other'",
            (profile,),
        )
    assert shown(await home(ada)) == ["otters"]

    pool = app.state.context.quick.connection_pool
    while pool._in_use_connections:  # noqa: ASYNC110 - the pool has no event for it
        await asyncio.sleep(0.01)
    pool.connection_kwargs["port"] = 9
    for connection in pool._available_connections:
        await connection.disconnect()
        connection.port = 9
    await app.state.context.tracking.stop()
    for surface in ("home", "onboarding"):
        page = await home(ada, surface=surface)
        assert page.degraded
        assert shown(page) == ["otters"], "what Redis said is remembered, on every surface"
    values = {"MATINEE_HOME": settings.home_path, "database_url": settings.database_url}
    dead = Settings.model_validate({**values, "redis_url": "redis://127.0.0.1:9/0"})
    async with running(dead) as cold, browser(cold) as client:
        client.cookies, client.headers = ada.cookies, ada.headers
        page = await home(client)
    assert sorted(shown(page)) == ["midnight", "otters"], "what PostgreSQL knows as finished"


async def test_requests_that_wait_for_one_page_share_it_and_show_what_may_be_shown_at_the_end(
    catalogue, running, browser
):
    clock = ManualClock(SystemClock().now())
    with psycopg.connect(catalogue.database()) as connection:
        end = clock.now() + timedelta(seconds=2)
        connection.execute("UPDATE offer SET open = tstzrange(NULL, %s) WHERE title_id = 'harbour'", (end,))
    async with running(catalogue, clock) as app, browser(app) as client:
        await client.sign_up()
        async with app.state.context.home._composing:
            asked = [asyncio.create_task(home(client)) for _ in range(20)]
            await asyncio.sleep(0.3)
            clock.advance(timedelta(seconds=2))
        pages = await asyncio.gather(*asked)
        assert all("harbour" not in page.titles and "otters" in page.titles for page in pages)
        count = app.state.context.metrics.registry.get_sample_value("matinee_recommendations_composing_seconds_count")
        assert count == 1


@pytest.fixture
def patient(monkeypatch):
    """How long Redis may take is held elsewhere."""
    for module in (live, context):
        monkeypatch.setattr(module, "PATIENCE_S", 5.0)


async def test_an_event_a_model_and_a_catalogue_change_the_page(
    patient, ada, export_system, known_as, ready, publish, settings
):
    export_system(GENRES, HISTORIES)
    await ready()
    first = await home(ada)
    assert first.rows == (await home(ada)).rows
    known_as(ada.session["account_id"], ada.profile_id, ["midnight"])
    await until(
        lambda: home(ada),
        lambda page: "because_you_watched" in {item.reason.code for row in page.rows for item in row.items},
    )
    export_system(GENRES, HISTORIES, version="8")
    await ready()
    assert (await home(ada)).model.version == "8"
    publish("unfilmed")
    await until(lambda: home(ada), lambda page: "unfilmed" in page.titles)
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE title SET state = 'draft' WHERE title_id = 'unfilmed'")
    await until(lambda: home(ada), lambda page: "unfilmed" not in page.titles)


async def until(ask, holds, seconds=1.0):
    """Within so many seconds of this process' own: those in which others had the processor do not count."""
    async with beating() as beats:
        while not holds(found := await ask()):
            assert len(beats) * BEAT_S < seconds, found
            await asyncio.sleep(BEAT_S)
    return found


@asynccontextmanager
async def beating():
    """A list that grows by one for each `BEAT_S` that the event loop had time for."""
    beats = []

    async def beat():
        while True:
            await asyncio.sleep(BEAT_S)
            beats.append(None)

    heart = asyncio.create_task(beat())
    try:
        yield beats
    finally:
        heart.cancel()


async def test_a_title_that_came_after_the_fit_is_recommended_by_its_content(
    ada, export_system, known_as, ready, publish, settings
):
    known = {title: genres for title, genres in GENRES.items() if title != "otters"}
    export_system(known, [["beacon", "harbour"], ["midnight", "harbour"]])
    await ready()
    await home(ada)  # the first page finds the catalogue
    await ready()
    assert shown(await home(ada), "new") == ["otters"]
    served = ada._transport.app.state.context.home.served  # what answers after the title was added
    assert "otters" in served.numbers
    assert served.is_new("otters")


async def test_a_licence_ends_at_its_moment(catalogue, running, browser, export_system):
    clock = ManualClock(SystemClock().now())
    with psycopg.connect(catalogue.database()) as connection:
        end = clock.now() + timedelta(minutes=2)
        connection.execute("UPDATE offer SET open = tstzrange(NULL, %s) WHERE title_id = 'harbour'", (end,))
    async with running(catalogue, clock) as app, browser(app) as client:
        await client.sign_up()
        assert "harbour" in (await home(client)).titles
        clock.advance(timedelta(minutes=2) - timedelta(microseconds=1))
        assert "harbour" in (await home(client)).titles
        clock.advance(timedelta(microseconds=1))
        page = await home(client)
        assert "harbour" not in page.titles
        assert "otters" in page.titles


async def test_exposures_are_told_once_a_day_to_whom_the_variant_makes_a_difference(
    ada, settings, export_system, known_as, ready
):
    async def told():
        with redis_client.Redis.from_url(settings.redis()) as store:
            return [orjson.loads(fields[b"event"]) for _, fields in store.xrange("events")]

    account = ada.session["account_id"]
    for surface in ("onboarding", "home", "home"):
        await home(ada, surface=surface)
    await until(told, lambda events: [e["data"]["experiment"] for e in events] == ["aa_check"])
    export_system(GENRES, HISTORIES)
    await ready()
    known_as(account, ada.profile_id, ["otters"])
    for _ in range(3):
        await home(ada)
    events = await until(told, lambda events: len(events) > 1)
    assert {e["bot"] for e in events} == {"user_agent"}, "httpx is no browser"
    assert [(e["type"], e["account_id"], e["origin"], e["data"]) for e in events] == [
        ("exposure", account, "live", {"experiment": e.name, "variant": assign(e, account), "salt": e.salt})
        for e in sorted(ACTIVE, key=lambda e: e.name)
    ]


async def test_who_may_ask(client, ada, problem):
    assert problem(await client.get("/api/recommendations")) == (401, "unauthenticated")
    answer = await ada.get("/api/recommendations", params={"surface": "fridge"})
    assert problem(answer) == (422, "unknown_surface")
    assert problem(await ada.get("/api/recommendations", params={"profile_id": "x"})) == (404, "unknown_profile")


async def test_a_model_that_is_damaged_or_answers_wrongly_does_not_serve(ada, app, export_system, ready, settings):
    async def serves(version, failures):
        await ready()
        assert (await home(ada)).model.version == version
        assert (await ada.get("/health/ready")).status_code == 200
        text = (await ada.get("/metrics")).text
        assert f"matinee_model_failures_total {failures}.0" in text
        assert f'version="{version}"' in text

    link = settings.home.models / "current"

    def switch(folder):
        link.unlink()
        link.symlink_to(folder.name)

    export_system(GENRES, HISTORIES, version="7")
    await serves("7", 0)
    broken = shutil.copytree(link.resolve(), settings.home.models / "8")
    (broken / "model.npz").write_bytes((broken / "model.npz").read_bytes()[:700])
    switch(broken)
    await serves("7", 1)
    await serves("7", 1)
    wrong = shutil.copytree(settings.home.models / "7", settings.home.models / "9")
    golden = orjson.loads((wrong / "golden.json").read_bytes())
    golden[0]["top"][0][1] += 1
    (wrong / "golden.json").write_bytes(orjson.dumps(golden))
    switch(wrong)
    await serves("7", 2)
    link.unlink()
    await serves("7", 2)
    export_system(GENRES, HISTORIES, version="10")
    await serves("10", 2)


async def test_a_damaged_model_at_the_start_leaves_the_kept_one_and_is_tried_again(
    catalogue, export_system, running, monkeypatch
):
    monkeypatch.setattr(systems, "RETRY_S", 0.01)
    export_system(GENRES, HISTORIES, version="7")
    export_system(GENRES, HISTORIES, version="8")
    file = catalogue.home.models / "8" / "model.npz"
    good, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)

    def write(content):  # nobody can tell from outside that the file is another one
        file.write_bytes(content)
        os.utime(file, ns=times)

    write(b"x" * len(good))
    async with running(catalogue) as app:
        found = app.state.context.systems
        await found.found()
        assert found.current.about.version == "7"
        write(good)
        await until(lambda: asyncio.sleep(0.05, found.current), lambda served: served.about.version == "8", 5)


async def test_an_event_makes_the_page_before_it_is_asked_for_and_what_was_finished_is_never_shown(
    patient, ada, app, export_system, known_as, ready
):
    def sample(name):
        return app.state.context.metrics.registry.get_sample_value(f"matinee_recommendations_{name}")

    export_system(GENRES, HISTORIES)
    await ready()
    account = ada.session["account_id"]
    known_as(account, ada.profile_id, ["otters"])
    first = await home(ada)
    await until(lambda: asyncio.sleep(0, app.state.context.tracking.works), bool)
    first = await home(ada)
    made = sample("composing_seconds_count")
    for number in range(3):  # several events make one page
        known_as(account, ada.profile_id, ["otters", "midnight"][: 1 + number])
    await asyncio.sleep(BEAT_S)  # so long Redis takes to tell
    assert (await home(ada)).rows == first.rows, "for a moment what was there"
    assert sample("stayed_total") == 1
    await until(lambda: asyncio.sleep(0, sample("composing_seconds_count")), lambda count: count == made + 1)
    assert "midnight" not in shown(await home(ada), "for_you")
    assert sample("composing_seconds_count") == made + 1, "nobody waited for it"
    known_as(account, ada.profile_id, ["otters", "midnight"], done=["beacon"])
    await asyncio.sleep(BEAT_S)
    assert "beacon" not in shown(await home(ada)), "what was finished is not shown for a moment"
    assert sample("stayed_total") == 1
