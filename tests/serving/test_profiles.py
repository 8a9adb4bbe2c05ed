"""Profiles: doors and PINs, children's profiles, what each profile keeps."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matinee.clock import ManualClock, SystemClock
from serving.profiles import core
from serving.profiles.api import forget
from serving.profiles.doors import KIDS_LIMIT, Door

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PIN, WRONG = "4711", "1793"
GROWN = {"harbour", "midnight"}  # 16 and 18
LIMITS = (0, 6, 12, 16, 18)


def doors():
    return st.builds(
        Door,
        profile_id=st.sampled_from("ab"),
        maturity=st.sampled_from(LIMITS),
        locked=st.booleans(),
        guarded=st.booleans(),
        entered=st.sampled_from(["a", "b", None]),
        kids_limit=st.none() | st.sampled_from([m for m in LIMITS if m <= KIDS_LIMIT]),
        proven_until=st.none() | st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
    )


@given(doors())
def test_a_door_never_opens_for_more_than_a_child_may_see(door):
    is_elsewhere = door.entered != door.profile_id
    if door.is_open(NOW) and is_elsewhere:
        assert not door.locked
        assert not door.guarded or door.kids_limit is None or door.maturity <= door.kids_limit
    if door.is_open(NOW) and door.locked:
        assert door.proven_until > NOW
    if door.is_open(NOW):
        assert replace(door, locked=False, guarded=False).is_open(NOW), "without PINs nothing is closed"


async def guard(app, client, pin=PIN, profile_id=None):
    """Set a PIN, as one who has just shown the password."""
    context = app.state.context
    async with context.transaction() as connection:
        await core.set_pin(
            connection, context.pins, client.session["account_id"], "another", profile_id, pin, context.clock.now()
        )
    forget(context, client.session["account_id"])  # as the route does


async def enter(client, profile_id, pin=None):
    return await client.post(f"/api/profile/{profile_id}/enter", json={"pin": pin} if pin else {})


async def test_profiles_are_made_changed_and_deleted_but_never_the_last(ada, problem):
    made = await ada.post("/api/profile", json={"name": " Mia ", "maturity": 6, "language": "ru", "colour": "#33aa77"})
    mia = made.json()
    assert (made.status_code, mia["kids"], mia["name"], mia["colour"]) == (201, True, "Mia", "#33aa77")
    path = f"/api/profile/{mia['profile_id']}"
    changed = (await ada.patch(path, json={"audio_language": "pt-BR", "autoplay": False, "account_id": "x"})).json()
    assert (changed["audio_language"], changed["autoplay"], changed["name"]) == ("pt-BR", False, "Mia")
    assert (await ada.patch(path, json={"maturity": 16})).json()["kids"] is False
    assert (await ada.patch(path, json={"audio_language": None})).json()["audio_language"] is None
    assert problem(await ada.patch(path, json={"maturity": 7})) == (422, "invalid_request")
    assert (await ada.delete(path)).status_code == 204
    assert problem(await ada.delete(f"/api/profile/{ada.profile_id}")) == (409, "last_profile")
    answers = await asyncio.gather(*(ada.post("/api/profile", json={"name": f"p{n}"}) for n in range(8)))
    assert sorted(a.status_code for a in answers) == [201] * (core.MAX_PROFILES - 1) + [409] * 2


@pytest.mark.parametrize("by", ["change", "enter"])
async def test_a_limit_that_is_just_being_set_is_neither_undone_nor_overlooked(ada, catalogue, blocked, by):
    kid = await ada.kid(6)
    async with await psycopg.AsyncConnection.connect(catalogue.database()) as parent:
        await parent.execute(core.QUERIES["hold_account"], {"account_id": ada.session["account_id"]})
        await parent.execute("UPDATE profile SET maturity = 0 WHERE profile_id = %s", (kid,))
        asked = ada.patch(f"/api/profile/{kid}", json={"colour": "#33aa77"}) if by == "change" else enter(ada, kid)
        under_way = asyncio.create_task(asked)
        await blocked(catalogue, under_way)
    assert (await under_way).json()["maturity"] == 0
    if by == "enter":
        with psycopg.connect(catalogue.database()) as connection:
            assert connection.execute("SELECT kids_limit FROM session_profile").fetchall() == [(0,)]


async def test_anothers_profile_is_not_there(app, ada, browser, problem):
    async with browser(app) as eve:
        await eve.sign_up("eve@example.org")
        path = f"/api/profile/{ada.profile_id}"
        asked = [
            eve.patch(path, json={"name": "x"}), eve.delete(path), enter(eve, ada.profile_id),
            *(eve.get(f"{path}/{what}") for what in ("favourites", "history", "ratings", "continue", "titles/otters")),
            eve.put(f"{path}/favourites/otters"), eve.put(f"{path}/ratings/otters", json={"value": 4}),
            eve.delete(f"{path}/history"),
        ]  # fmt: skip
        assert {problem(answer) for answer in await asyncio.gather(*asked)} == {(404, "unknown_profile")}


async def test_a_pin_leads_out_of_a_childs_profile_and_into_a_locked_one(app, ada, problem):
    kid = await ada.kid(6)
    assert (await enter(ada, kid)).status_code == 200, "nobody needs a PIN to become a child"
    assert (await enter(ada, ada.profile_id)).status_code == 200, "without a PIN there is nothing to ask for"
    await guard(app, ada)
    assert (await enter(ada, kid)).json()["open"]
    listed = (await ada.get("/api/profile")).json()
    assert (listed["pin"], listed["current"]) == (True, kid)
    assert [p["open"] for p in listed["profiles"]] == [False, True]
    for profile in ({"profile_id": ada.profile_id}, {}):
        answer = await ada.get("/api/media", params=profile)
        assert ("profile_id" in profile) == (answer.status_code == 403), "unnamed, it is the child's own"
        assert not GROWN & {item["title_id"] for item in answer.json().get("items", [])}
    assert problem(await enter(ada, ada.profile_id)) == (403, "pin_required")
    assert problem(await enter(ada, ada.profile_id, WRONG)) == (403, "wrong_pin")
    assert (await enter(ada, ada.profile_id, PIN)).status_code == 200
    assert (await ada.get("/api/media/midnight", params={"profile_id": ada.profile_id})).status_code == 200

    await guard(app, ada, "2580", ada.profile_id)
    assert problem(await ada.get("/api/media", params={"profile_id": ada.profile_id})) == (403, "pin_required")
    assert (await enter(ada, kid)).status_code == 200
    assert (await enter(ada, ada.profile_id, "2580")).status_code == 200, "its own PIN opens it too"
    assert (await ada.get("/api/media", params={"profile_id": ada.profile_id})).status_code == 200


async def test_guessing_pins_is_limited_even_at_once(app, ada, problem):
    kid = await ada.kid(6)
    await guard(app, ada)
    await enter(ada, kid)
    answers = await asyncio.gather(*(enter(ada, ada.profile_id, f"{n}5{n}7") for n in range(1, 10)))
    assert sorted(problem(a)[1] for a in answers) == ["too_many_attempts"] * 4 + ["wrong_pin"] * 5
    assert problem(await enter(ada, ada.profile_id, PIN)) == (429, "too_many_attempts")


async def test_a_proof_ends_and_a_deleted_childs_profile_frees_nobody(catalogue, running, browser, problem):
    clock = ManualClock(SystemClock().now())
    async with running(catalogue, clock) as app, browser(app) as tv, browser(app) as phone:
        await tv.sign_up()
        credentials = {"email": "ada@example.org", "password": "correct horse"}
        kid = await tv.kid(6)
        await guard(app, tv)
        await enter(tv, kid)
        answer = await phone.post("/api/auth/login", json=credentials)
        assert answer.status_code == 200
        assert (await phone.delete(f"/api/profile/{kid}")).status_code == 204, "a fresh sign-in is a grown-up's"
        assert problem(await tv.get("/api/media")) == (403, "pin_required")
        assert problem(await tv.post("/api/profile", json={"name": "Free", "maturity": 18})) == (403, "pin_required")
        await guard(app, tv, "2580", tv.profile_id)
        assert (await enter(tv, tv.profile_id, "2580")).status_code == 200
        assert (await tv.get("/api/media")).status_code == 200
        clock.advance(core.PROOF_LIFE)
        await phone.post("/api/auth/login", json=credentials)
        assert (await tv.post("/api/auth/refresh")).status_code == 200
        assert problem(await tv.get("/api/media")) == (403, "pin_required")


# What a child may ask for, given the parameters that name a profile, the path of one, and its id.
ASKED = {
    "list": lambda c, named, path, _: c.get("/api/media", params=named),
    "page": lambda c, named, path, _: c.get("/api/media/otters", params=named),
    "grown page": lambda c, named, path, _: c.get("/api/media/midnight", params=named),
    "similar": lambda c, named, path, _: c.get("/api/media/otters/similar", params=named),
    "home": lambda c, named, path, _: c.get("/api/recommendations", params={"surface": "home", **named}),
    "watch": lambda c, named, path, _: c.post("/api/watch/otters", json=named),
    "grown watch": lambda c, named, path, _: c.post("/api/watch/harbour", json=named),
    "enter": lambda c, named, path, profile: enter(c, profile),
    "guess": lambda c, named, path, profile: enter(c, profile, WRONG),
    "raise": lambda c, named, path, _: c.patch(path, json={"maturity": 18}),
    "new": lambda c, named, path, _: c.post("/api/profile", json={"name": "Big", "maturity": 18}),
    "drop": lambda c, named, path, _: c.delete(path),
    "keep": lambda c, named, path, _: c.put(f"{path}/favourites/otters"),
    "grown keep": lambda c, named, path, _: c.put(f"{path}/favourites/midnight"),
    "rate": lambda c, named, path, _: c.put(f"{path}/ratings/otters", json={"value": 4.5}),
    "kept": lambda c, named, path, _: c.get(f"{path}/favourites"),
    "history": lambda c, named, path, _: c.get(f"{path}/history"),
    "continue": lambda c, named, path, _: c.get(f"{path}/continue"),
    "profiles": lambda c, named, path, _: c.get("/api/profile"),
    "refresh": lambda c, named, path, _: c.post("/api/auth/refresh"),
    "event": lambda c, named, path, profile: c.post("/api/events", json={"events": [{"profile_id": profile}]}),
}
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ASKED)), st.sampled_from(["adult", "kid", "toddler", None])),
    min_size=1,
    max_size=8,
)


def test_without_the_pin_nothing_above_the_limit_is_reached(catalogue, running, browser):
    """Whatever a child's sign-in asks for, in whatever order, through every route that takes a profile."""
    quiet = catalogue.model_copy(update={"limits_scale": 0})
    with asyncio.Runner() as runner:
        world = running(quiet)
        app = runner.run(world.__aenter__())
        try:
            ada = runner.run(browser(app).sign_up())
            names = {
                "adult": ada.profile_id,
                "kid": runner.run(ada.kid(12)),
                "toddler": runner.run(ada.kid(0)),
                None: None,
            }
            runner.run(guard(app, ada))

            @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
            @given(STEPS)
            def play(steps):
                runner.run(_wander(app, browser, names, steps))

            play()
            runner.run(ada.aclose())
        finally:
            runner.run(world.__aexit__(None, None, None))


async def _wander(app, browser, names, steps):
    async with browser(app) as child:
        await child.post("/api/auth/login", json={"email": "ada@example.org", "password": "correct horse"})
        assert (await enter(child, names["kid"])).status_code == 200
        for what, who in steps:
            profile = names[who] or names["kid"]
            named = {"profile_id": names[who]} if names[who] else {}
            answer = await ASKED[what](child, named, f"/api/profile/{profile}", profile)
            assert answer.status_code in (200, 202, 204, 403, 404), (what, who, answer.text)
            assert not any(f'"title_id":"{title}"' in answer.text for title in GROWN), (what, who, answer.text)
            if what in ("raise", "drop", "new") or what.startswith("grown"):
                assert answer.status_code in (403, 404), (what, who)
            if who == "adult" and what not in ("profiles", "refresh", "event"):
                assert answer.status_code == 403, (what, who)


async def test_events_of_a_profile_that_is_closed_are_refused(app, ada):
    kid = await ada.kid(6)
    await guard(app, ada)

    async def codes(profile_id):
        answer = await ada.post("/api/events", json={"events": [{"profile_id": profile_id}]})
        return [rejection["code"] for rejection in answer.json()["rejected"]]

    assert await codes(ada.profile_id) != ["profile_mismatch"]
    await enter(ada, kid)
    assert await codes(ada.profile_id) == ["profile_mismatch"], "what this process remembered is gone at once"
    assert await codes(kid) != ["profile_mismatch"]


@pytest.fixture
def begin(catalogue):
    """Put a profile somewhere in a title: (profile, title, position, when)."""

    def put(profile_id, title_id, position_ms, at):
        with psycopg.connect(catalogue.database()) as connection:
            connection.execute(
                "INSERT INTO playback_position (profile_id, title_id, position_ms, duration_ms, updated_at) "
                "VALUES (%s, %s, %s, 20000, %s)", (profile_id, title_id, position_ms, at),
            )  # fmt: skip

    return put


async def test_favourites_and_ratings_are_kept_by_profile_and_only_of_what_it_may_see(ada, problem):
    path = f"/api/profile/{ada.profile_id}"
    for title in ("otters", "midnight", "harbour", "otters"):
        assert (await ada.put(f"{path}/favourites/{title}")).status_code == 204
    assert problem(await ada.put(f"{path}/favourites/later")) == (404, "unknown_title")
    first = (await ada.get(f"{path}/favourites", params={"limit": 2})).json()
    assert [item["title_id"] for item in first["items"]] == ["harbour", "midnight"]
    rest = (await ada.get(f"{path}/favourites", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert ([item["title_id"] for item in rest["items"]], rest["next_cursor"]) == (["otters"], None)
    assert rest["items"][0]["poster"] == "/media-posters/otters.jpg"

    for value in (0.4, 5.5, 3.3):
        assert problem(await ada.put(f"{path}/ratings/otters", json={"value": value})) == (422, "invalid_request")
    for value in (2, 4.5):
        assert (await ada.put(f"{path}/ratings/otters", json={"value": value})).status_code == 204
    said = (await ada.get(f"{path}/titles/otters")).json()
    assert (said["favourite"], said["rating"], said["position_ms"]) == (True, 4.5, None)
    assert [item["value"] for item in (await ada.get(f"{path}/ratings")).json()["items"]] == [4.5]
    await ada.delete(f"{path}/ratings/otters")
    await ada.delete(f"{path}/favourites/otters")
    said = (await ada.get(f"{path}/titles/otters")).json()
    assert (said["favourite"], said["rating"]) == (False, None)

    await ada.kid()
    await ada.patch(path, json={"maturity": 12})
    assert (await ada.get(f"{path}/favourites")).json()["items"] == []


async def test_history_is_what_was_watched_and_can_be_forgotten(ada, begin):
    path = f"/api/profile/{ada.profile_id}"
    for minutes, title in enumerate(("otters", "beacon-e1", "midnight")):
        begin(ada.profile_id, title, 5000, NOW + timedelta(minutes=minutes))
    first = (await ada.get(f"{path}/history", params={"limit": 2})).json()
    assert [item["title_id"] for item in first["items"]] == ["midnight", "beacon-e1"]
    episode = first["items"][1]
    assert (episode["root_id"], episode["root_titles"]["en"], episode["season"]) == ("beacon", "Beacon", 1)
    rest = (await ada.get(f"{path}/history", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["title_id"] for item in rest["items"]] == ["otters"]
    await ada.delete(f"{path}/history/midnight")
    assert [item["title_id"] for item in (await ada.get(f"{path}/history")).json()["items"]] == ["beacon-e1", "otters"]
    await ada.delete(f"{path}/history")
    assert (await ada.get(f"{path}/history")).json()["items"] == []
    assert (await ada.get(f"{path}/continue")).json()["items"] == []


async def test_what_was_begun_goes_on_where_it_was_left_and_with_the_next_episode(ada, begin):
    path = f"/api/profile/{ada.profile_id}"
    begin(ada.profile_id, "otters", 19_900, NOW)
    begin(ada.profile_id, "midnight", 5_000, NOW + timedelta(minutes=1))
    begin(ada.profile_id, "beacon-e1", 19_900, NOW + timedelta(minutes=2))
    items = (await ada.get(f"{path}/continue")).json()["items"]
    assert [(i["title_id"], i["title"]["title_id"], i["position_ms"]) for i in items] == [
        ("beacon-e2", "beacon", 0), ("midnight", "midnight", 5_000),
    ]  # fmt: skip
    assert items[0]["episode"]["title_id"] == "beacon-e2"
    begin(ada.profile_id, "beacon-e2", 19_900, NOW + timedelta(minutes=3))
    items = (await ada.get(f"{path}/continue")).json()["items"]
    assert [i["title_id"] for i in items] == ["midnight"]


async def test_of_two_devices_the_later_place_wins_however_late_the_other_tells(app, ada, browser):
    async with browser(app) as phone:
        await phone.post("/api/auth/login", json={"email": "ada@example.org", "password": "correct horse"})
        playing = {}
        for device in (ada, phone):
            answer = await device.post("/api/watch/otters", json={"profile_id": ada.profile_id})
            playing[device] = f"/api/watch/{answer.json()['playback_id']}/heartbeat"
        await phone.post(playing[phone], json={"position_ms": 12_000})
        late = await ada.post(playing[ada], json={"position_ms": 3_000, "age_ms": 60_000})
        assert late.status_code == 200
        items = (await phone.get(f"/api/profile/{ada.profile_id}/continue")).json()["items"]
        assert [(i["title_id"], i["position_ms"]) for i in items] == [("otters", 12_000)]
        await ada.post(playing[ada], json={"position_ms": 4_000})
        items = (await phone.get(f"/api/profile/{ada.profile_id}/continue")).json()["items"]
        assert [i["position_ms"] for i in items] == [4_000]


async def test_what_hangs_on_a_profile_goes_with_the_account(app, catalogue, ada, begin):
    path = f"/api/profile/{ada.profile_id}"
    await ada.put(f"{path}/favourites/otters")
    await ada.put(f"{path}/ratings/otters", json={"value": 5})
    begin(ada.profile_id, "otters", 5000, NOW)
    await guard(app, ada)
    await enter(ada, await ada.kid())
    from serving.erase import forget_rows

    with psycopg.connect(catalogue.database()) as connection:
        gone = forget_rows(connection, [ada.session["account_id"]])
    assert {"favourite", "rating", "account_pin", "session_profile", "playback_position"} <= gone.keys()
