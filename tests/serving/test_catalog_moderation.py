"""Moderators: states, versions, what is theirs, who hears of it, and what was or will be on offer at a moment."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest.catalog import ingest_feed
from matinee.clock import ManualClock

START = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
async def desk(catalogue, running, browser, clock):
    """A moderator and a viewer of one app, on one clock that moves when told to."""
    with psycopg.connect(catalogue.database()) as connection:
        connection.execute("DELETE FROM title_terms")
        connection.execute(
            "INSERT INTO title_terms SELECT title_id, %s, terms FROM listed_title", (START - timedelta(days=1),)
        )
        connection.execute("UPDATE title SET updated_at = %s", (START - timedelta(days=1),))
    async with running(catalogue, clock) as app, browser(app) as moderator, browser(app) as viewer:
        await viewer.sign_up()
        await moderator.sign_up("moderator@example.org")
        with psycopg.connect(catalogue.database()) as connection:
            connection.execute("UPDATE account SET role = 'moderator' WHERE email = 'moderator@example.org'")
        await sign_in(moderator, "moderator@example.org")
        yield moderator, viewer


async def sign_in(who, email):
    assert (await who.post("/api/auth/login", json={"email": email, "password": "correct horse"})).status_code == 200


async def deed(who, title_id, path="", version=None, method="POST", **body):
    if version is None:
        version = (await who.get(f"/api/admin/catalogue/{title_id}")).json()["version"]
    url = f"/api/admin/catalogue/{title_id}{path}"
    return await who.request(method, url, json=body, headers={"if-match": f'"{version}"'})


async def listed(who, **params):
    return [item["title_id"] for item in (await who.get("/api/media", params={"limit": 100, **params})).json()["items"]]


async def test_a_title_goes_from_draft_to_review_to_the_public_and_away_again(desk, problem, catalogue):
    moderator, viewer = desk
    assert "otters" in await listed(viewer)
    answer = await deed(moderator, "otters", "/withdraw", note="rights in doubt")
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
    assert "otters" not in await listed(viewer)
    assert "otters" not in json.dumps((await viewer.get("/api/search", params={"q": "otters"})).json())
    assert problem(await viewer.get("/api/media/otters")) == (404, "unknown_title")
    assert problem(await viewer.post("/api/watch/otters", json={}))[0] in (403, 404)
    assert problem(await deed(moderator, "otters", "/approve")) == (409, "wrong_state")
    for step in ("submit", "approve"):
        waiting = (await moderator.get("/api/admin/catalogue", params={"state": "review"})).json()["items"]
        assert ["otters"] * (step == "approve") == [title["title_id"] for title in waiting]
        assert (await deed(moderator, "otters", f"/{step}")).status_code == 200
    assert "otters" in await listed(viewer)
    assert problem(await deed(moderator, "otters", "/send_back", note="typo")) == (409, "wrong_state")
    with psycopg.connect(catalogue.database()) as connection:
        found = connection.execute("SELECT action, subject FROM audit WHERE action LIKE 'title.%' ORDER BY position")
        assert [row[0] for row in found] == ["title.withdrawn", "title.submitted", "title.approved"]


async def test_withdrawing_a_series_takes_its_episodes_along(desk, problem):
    moderator, viewer = desk
    assert problem(await deed(moderator, "beacon", "/withdraw")) == (422, "note_required")
    await deed(moderator, "beacon", "/withdraw", note="over")
    assert await listed(viewer, kind="episode") == []
    assert problem(await viewer.get("/api/media/beacon-e1")) == (404, "unknown_title")
    assert problem(await viewer.post("/api/watch/beacon-e1", json={}))[0] in (403, 404)


async def test_what_was_withdrawn_stays_away_until_it_is_approved_again(desk, problem, catalogue, tmp_path):
    moderator, viewer = desk
    await deed(moderator, "beacon", "/withdraw", note="over")
    for path in ("/submit", "/send_back"):
        await deed(moderator, "beacon", path, note="again")
        assert await listed(viewer, kind="episode") == [], path
        assert problem(await viewer.get("/api/media/beacon-e1")) == (404, "unknown_title")
    for path in ("/submit", "/approve"):
        await deed(moderator, "beacon", path)
    assert await listed(viewer, kind="episode") != []
    # A film of a folder, free for everybody until a moderator takes it away; then a feed tells of it.
    with psycopg.connect(catalogue.database()) as connection:
        connection.execute("UPDATE title SET feed_hash = NULL, state = 'draft' WHERE title_id = 'otters'")
    assert "otters" in await listed(viewer)
    for path in ("/withdraw", "/submit", "/send_back"):
        await deed(moderator, "otters", path, note="whose is it?")
        assert "otters" not in await listed(viewer), path
    feed = tmp_path / "later.jsonl"
    line = {"id": "otters", "kind": "film", "titles": {"en": "Otters"}, "offers": [{"kind": "free"}]}
    feed.write_text(json.dumps(line))
    with psycopg.connect(catalogue.database()) as connection:
        ingest_feed(connection, feed)
    assert "otters" not in await listed(viewer)
    for path in ("/submit", "/approve"):
        await deed(moderator, "otters", path)
    assert "otters" in await listed(viewer)


async def test_who_was_overtaken_hears_so_and_only_staff_may(desk, problem):
    moderator, viewer = desk
    assert problem(await viewer.get("/api/admin/catalogue/otters")) == (403, "forbidden")
    assert problem(await deed(viewer, "otters", "/submit", version=1)) == (403, "forbidden")
    first = await deed(moderator, "otters", method="PATCH", version=1, year=2001)
    assert first.status_code == 200
    assert first.headers["etag"] == '"2"'
    assert problem(await deed(moderator, "otters", method="PATCH", version=1, year=2002)) == (412, "changed_meanwhile")
    unversioned = await moderator.patch("/api/admin/catalogue/otters", json={"year": 2003})
    assert problem(unversioned) == (428, "version_required")
    assert problem(await deed(moderator, "otters", method="PATCH", version=2, state="draft")) == (
        422,
        "invalid_request",
    )
    assert problem(await moderator.get("/api/admin/catalogue/nothing")) == (404, "unknown_title")


async def test_what_does_not_fit_is_refused_with_its_place(desk, problem):
    moderator, _ = desk
    rent = {"kind": "rent", "price": "3.00", "currency": "EUR"}
    answer = await deed(moderator, "otters", method="PATCH", offers=[rent, {**rent, "price": "4.00"}])
    assert problem(answer) == (422, "does_not_fit")
    assert answer.json()["errors"][0]["at"] == "offers.1"
    assert problem(await deed(moderator, "otters", method="PATCH", extra={"note": "a\0b"})) == (422, "does_not_fit")


async def test_a_feed_does_not_overwrite_what_a_moderator_changed_until_it_is_released(desk, catalogue, tmp_path):
    moderator, viewer = desk

    def feed(name):
        path = tmp_path / "again.jsonl"
        line = {"id": "otters", "kind": "film", "titles": {"en": name}, "year": 1999, "offers": [{"kind": "free"}]}
        path.write_text(json.dumps(line))
        with psycopg.connect(catalogue.database()) as connection:
            ingest_feed(connection, path)

    async def page():
        found = (await viewer.get("/api/media/otters")).json()
        return found["titles"], found["year"]

    await deed(moderator, "otters", method="PATCH", titles={"en": "The Otters"}, maturity=0)
    feed("Otterz")
    assert await page() == ({"en": "The Otters"}, 1999)
    released = await deed(moderator, "otters", "/release", fields=["titles"])
    assert released.json()["ours"] == ["maturity"]
    assert await page() == ({"en": "The Otters"}, 1999)
    feed("Otterz")
    assert await page() == ({"en": "Otterz"}, 1999)
    await deed(moderator, "otters", "/withdraw", note="gone")
    feed("Otters again")
    assert "otters" not in await listed(viewer), "a feed publishes nothing that a moderator withdrew"


async def test_staff_ask_what_was_and_will_be_on_offer(desk, clock, problem):
    moderator, viewer = desk
    clock.advance(timedelta(days=10))
    await sign_in(moderator, "moderator@example.org")
    await sign_in(viewer, "ada@example.org")
    window = {"kind": "free", "from": "2026-06-20T00:00:00Z", "until": "2026-07-01T00:00:00Z"}
    await deed(moderator, "otters", method="PATCH", offers=[window])

    async def on_offer(moment):
        return "otters" in await listed(moderator, as_of=moment.isoformat())

    assert not await on_offer(START - timedelta(days=2)), "the catalogue did not know it yet"
    assert await on_offer(START + timedelta(days=5)), "it was free then"
    assert not await on_offer(START + timedelta(days=11))
    assert await on_offer(START + timedelta(days=20))
    assert not await on_offer(START + timedelta(days=40))
    assert problem(await viewer.get("/api/media", params={"as_of": START.isoformat()})) == (403, "forbidden")
    whole = await listed(moderator, as_of=START.isoformat())
    pages, cursor = [], None
    while cursor or not pages:
        params = {"as_of": START.isoformat(), "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await moderator.get("/api/media", params=params)).json()
        pages += [item["title_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert pages == whole


async def test_new_titles_of_a_feed_wait_for_a_moderator_where_the_service_says_so(desk, catalogue, tmp_path):
    moderator, viewer = desk
    feed = tmp_path / "new.jsonl"
    feed.write_text(json.dumps({"id": "fresh", "kind": "film", "titles": {"en": "Fresh"}, "maturity": 0}))
    with psycopg.connect(catalogue.database()) as connection:
        ingest_feed(connection, feed, publish=False)
    assert "fresh" not in await listed(viewer)
    for step in ("submit", "approve"):
        assert (await deed(moderator, "fresh", f"/{step}")).status_code == 200
    assert "fresh" in await listed(viewer, sort="added", added_since=START.isoformat())
