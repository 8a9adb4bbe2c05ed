"""What is made of the catalogue is kept until the next commit that touches it, or the next moment of an offer."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from matinee.clock import ManualClock
from matinee.db.connect import pool
from serving.catalog.listings import Listings
from serving.etag import Body

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def clock():
    return ManualClock(NOW)


@pytest.fixture
async def listings(catalogue, clock):
    async with pool(catalogue, reading=True) as connections:

        async def read(work):
            async with connections.connection() as connection:
                return await work(connection)

        yield Listings(read, clock)


async def test_every_commit_makes_another_mark(listings, catalogue):
    with psycopg.connect(catalogue.database()) as connection:
        seen = [(await listings.mark()).name]
        assert (await listings.mark()).name == seen[0], "nothing changed"
        for change in (
            "UPDATE title_text SET title = 'Other' WHERE title_id = 'otters'",
            "UPDATE title SET state = 'withdrawn' WHERE title_id = 'otters'",
            "DELETE FROM package WHERE title_id = 'harbour'",
            "UPDATE offer SET plans = '{premium}' WHERE title_id = 'harbour'",
            "DELETE FROM title WHERE title_id = 'unfilmed'",
        ):
            connection.execute(change)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            assert (await listings.mark()).name == seen[-1], "nothing was committed"
            connection.rollback()
            assert (await listings.mark()).name == seen[-1]
            connection.execute(change)
            connection.commit()
            seen.append((await listings.mark()).name)
    assert len(set(seen)) == 6


async def test_an_offer_that_opens_or_ends_makes_another_mark(listings, catalogue, clock):
    opens, ends = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    with psycopg.connect(catalogue.database()) as connection:
        connection.execute("UPDATE offer SET open = tstzrange(%s, %s) WHERE title_id = 'otters'", (opens, ends))
    names = []
    for moment in (
        NOW,
        opens - timedelta(seconds=1),
        opens,
        ends - timedelta(seconds=1),
        ends,
        ends + timedelta(days=9),
    ):
        clock.advance(moment - clock.now())
        names.append((await listings.mark()).name)
    assert [names.index(name) for name in names] == [0, 0, 2, 2, 4, 4]


async def test_what_is_made_is_made_once_for_a_mark_and_an_error_is_not_kept(listings, catalogue):
    made = []

    async def make():
        made.append(len(made))
        await asyncio.sleep(0.01)
        if len(made) == 1:
            raise ValueError("no")
        return Body.of(str(made[-1]).encode())

    mark = await listings.mark()
    told = await asyncio.gather(*(listings.make(mark, "a", make) for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in told] == ["no"] * 3
    assert listings.find(mark, "a") is None
    assert await asyncio.gather(*(listings.make(mark, "a", make) for _ in range(3))) == [Body.of(b"1")] * 3
    assert (listings.find(mark, "a"), listings.find(mark, "b")) == (Body.of(b"1"), None)
    with psycopg.connect(catalogue.database()) as connection:
        connection.execute("UPDATE title SET year = 1999 WHERE title_id = 'otters'")
    assert listings.find(await listings.mark(), "a") is None


@pytest.mark.parametrize(("limit", "most"), [("_BYTES", 20), ("_MOST", 2)])
async def test_of_too_much_what_was_not_asked_for_the_longest_goes(listings, monkeypatch, limit, most):
    monkeypatch.setattr(f"serving.catalog.listings.{limit}", most)

    async def make():
        return Body.of(b"ten bytes.")

    mark = await listings.mark()
    for key in ("a", "b", "a", "c"):
        _ = listings.find(mark, key) or await listings.make(mark, key, make)
    assert [listings.find(mark, key) is not None for key in ("a", "b", "c")] == [True, False, True]


async def test_those_who_ask_together_share_one_look_that_began_after_they_came(catalogue, clock):
    begun, gate = [], asyncio.Event()

    async def read(work: Any) -> Any:
        begun.append(len(begun))
        await gate.wait()
        return begun[-1]

    listings = Listings(read, clock)
    first = asyncio.create_task(listings.mark())
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(listings.mark()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert begun == [0]
    gate.set()
    assert (await first).name == 0
    assert {(await one).name for one in later} == {1}
