"""The rows of the home page: planning as a pure function, and the endpoint on real lists."""

from collections import Counter

import orjson
import psycopg
import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from matinee.pseudonyms import salts
from models.experiments.assignment import assign
from models.experiments.registry import ACTIVE, HOME_ORDER
from serving.recommendations.rows import MAX_ROW, Lists, Pick, plan_rows
from serving.recommendations.types import Home

picks = st.lists(st.integers(0, 60).map(lambda n: Pick(f"t{n}", "s", {"code": "c", "params": {}})), max_size=70)


@given(picks, picks, picks, picks, st.sets(st.integers(0, 60).map(lambda n: f"t{n}")), st.booleans())
def test_no_title_stands_twice_and_nothing_watched_comes_back(resume, own, popular, newest, watched, treated):
    genres = {f"t{n}": [f"g{n % 3}"] for n in range(61)}
    rows = plan_rows(Lists(resume, own, popular, newest, watched, genres), for_you_first=treated)
    shown = [pick.title_id for row in rows for pick in row.picks]
    assert max(Counter(shown).values(), default=1) == 1
    assert all(0 < len(row.picks) <= MAX_ROW for row in rows)
    resumed = {pick.title_id for row in rows if row.id == "continue" for pick in row.picks}
    assert not (set(shown) - resumed) & watched
    new = [row for row in rows if row.id == "new"]
    if len(newest) <= MAX_ROW:
        assert {p.title_id for p in newest} - watched <= set(shown), "every new title stands somewhere"
    assert not new or rows[-1].id == "new"


@given(picks, picks)
def test_the_variant_decides_which_row_stands_first(own, popular):
    order = {}
    for treated in (False, True):
        order[treated] = [row.id for row in plan_rows(Lists(for_you=own, popular=popular), for_you_first=treated)]
        kept = [name for name in order[treated] if name in ("for_you", "popular")]
        assert kept == [n for n in (("for_you", "popular") if treated else ("popular", "for_you")) if n in kept]
    if own and popular:
        assert (order[False][0], order[True][0]) == ("popular", "for_you")


@pytest.fixture
def lists(settings):
    """Store a list for a profile (of its account), or the popular one."""
    store = redis_client.Redis.from_url(settings.redis())

    def put(titles, account_id=None, profile_id=None, version="7"):
        key = "recs:popular"
        if account_id:
            with psycopg.connect(settings.database()) as connection:
                key = f"recs:profile:{salts(connection, [account_id])[account_id].key(profile_id)}"
        reason = (
            {"code": "because_you_watched", "params": {"title_id": "midnight"}}
            if account_id
            else {"code": "popular_now", "params": {}}
        )
        items = [{"title_id": t, "score": 1.0, "source": "ease", "reason": reason} for t in titles]
        model = {"name": "matinee-recommender" if account_id else "popularity", "version": version, "snapshot_id": "s1"}
        store.set(key, orjson.dumps({"model": model, "items": items}))

    yield put
    store.close()


async def home(client, **params):
    answer = await client.get("/api/recommendations", params=params)
    assert answer.status_code == 200, answer.text
    return Home.model_validate(answer.json())


def shown(page, row_id):
    return [item.title_id for row in page.rows if row.id == row_id for item in row.items]


async def test_rows_of_a_profile_with_its_list(ada, lists):
    lists(["harbour", "abroad", "later", "unsold", "gone", "otters"], ada.session["account_id"], ada.profile_id)
    lists(["otters", "beacon", "midnight"])
    page = await home(ada, profile_id=ada.profile_id)
    assert not page.degraded
    assert (page.model.name, page.model.version, page.model.snapshot_id) == ("matinee-recommender", "7", "s1")
    everything = [item.title_id for row in page.rows for item in row.items]
    assert sorted(everything) == ["beacon", "harbour", "midnight", "otters", "unsold"]
    variant = assign(HOME_ORDER, ada.session["account_id"])
    assert page.rows[0].id == {"control": "popular", "treatment": "for_you"}[variant]
    item = next(i for row in page.rows if row.id == "for_you" for i in row.items)
    assert item.reason.params["title_id"] == "midnight"
    assert (item.source, item.propensity) == ("ease", 0.5)
    assert item.experiments == {e.name: assign(e, ada.session["account_id"]) for e in ACTIVE}
    assert set(page.titles) >= set(everything)


async def test_limits_of_the_profile_hold_in_every_row(ada, lists):
    kid = await ada.kid(6)
    lists(["harbour", "midnight", "otters"], ada.session["account_id"], kid)
    lists(["midnight", "harbour", "beacon"])
    page = await home(ada, profile_id=kid)
    assert set(page.titles) == {"otters", "beacon", "unsold"}
    assert all(card.maturity <= 6 for card in page.titles.values())


async def test_without_any_list_the_newest_titles_stand_in(ada):
    page = await home(ada)
    assert page.degraded
    assert page.model is None
    assert [row.id for row in page.rows] == ["new"]
    assert set(shown(page, "new")) == {"otters", "harbour", "midnight", "beacon", "unsold"}


async def test_with_popular_titles_alone_the_page_says_that_it_is_degraded(ada, lists):
    lists(["otters", "harbour"])
    page = await home(ada)
    assert page.degraded
    assert page.model.name == "popularity"
    assert page.rows[0].id == "popular"


async def test_without_redis_the_page_comes_from_the_catalogue(catalogue, running, browser):
    from matinee.settings import Settings

    values = {"MATINEE_HOME": catalogue.home_path, "database_url": catalogue.database_url}
    dead = Settings.model_validate({**values, "redis_url": "redis://127.0.0.1:9/0"})
    async with running(dead) as app, browser(app) as client:
        page = await home(await client.sign_up())
    assert page.degraded
    assert len(shown(page, "new")) == 5


async def test_what_was_begun_stands_first_and_what_was_finished_goes(ada, lists):
    async def see(title_id, position_ms):
        playback = (await ada.post(f"/api/watch/{title_id}")).json()["playback_id"]
        answer = await ada.post(f"/api/watch/{playback}/heartbeat", json={"position_ms": position_ms})
        assert answer.status_code == 200

    lists(["otters", "harbour", "midnight"])
    assert shown(await home(ada), "continue") == []
    await see("otters", 5_000)
    await see("harbour", 20_000)
    await see("beacon-e1", 20_000)
    page = await home(ada)
    assert page.rows[0].id == "continue"
    assert shown(page, "continue") == ["beacon", "otters"]
    assert page.rows[0].items[0].reason.params == {"title_id": "beacon-e2"}
    assert page.rows[0].items[0].propensity == 1.0
    assert "harbour" not in page.titles
    await see("beacon-e2", 20_000)
    assert shown(await home(ada), "continue") == ["otters"], "the last episode was seen"


async def test_a_new_list_is_served_at_once(ada, lists):
    account, profile = ada.session["account_id"], ada.profile_id
    lists(["otters"], account, profile, version="7")
    first = await home(ada)
    assert first.model.version == "7"
    lists(["harbour"], account, profile, version="8")
    second = await home(ada)
    assert (second.model.version, shown(second, "for_you")) == ("8", ["harbour"])
    assert first.request_id != second.request_id


async def test_exposures_are_told_once_a_day(ada, settings, problem):
    for _ in range(3):
        await home(ada)
    store = redis_client.Redis.from_url(settings.redis())
    events = [orjson.loads(fields[b"event"]) for _, fields in store.xrange("events")]
    store.close()
    assert {e["bot"] for e in events} == {"user_agent"}, "httpx is no browser"
    account = ada.session["account_id"]
    told = [(e["type"], e["account_id"], e["origin"], e["data"]) for e in events]
    assert told == [
        ("exposure", account, "live", {"experiment": e.name, "variant": assign(e, account), "salt": e.salt})
        for e in ACTIVE
    ]


async def test_who_may_ask(client, ada, problem):
    assert problem(await client.get("/api/recommendations")) == (401, "unauthenticated")
    answer = await ada.get("/api/recommendations", params={"surface": "fridge"})
    assert problem(answer) == (422, "unknown_surface")
    assert problem(await ada.get("/api/recommendations", params={"profile_id": "x"})) == (404, "unknown_profile")


async def test_what_leaves_the_catalogue_leaves_the_pages_within_seconds(catalogue, running, browser, lists):
    from datetime import timedelta

    from matinee.clock import ManualClock, SystemClock

    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as client:
        await client.sign_up()
        lists(["otters", "harbour"])
        assert "harbour" in (await home(client)).titles
        with psycopg.connect(catalogue.database()) as connection:
            connection.execute("UPDATE offer SET open = tstzrange(NULL, now()) WHERE title_id = 'harbour'")
        clock.advance(timedelta(seconds=6))
        page = await home(client)
        assert "harbour" not in page.titles
        assert "otters" in page.titles
