"""What is known of rights holds until it changes, and not a moment longer than its user wants."""

import psycopg

from matinee.clock import SystemClock
from serving.db import row
from serving.rights.known import Known
from serving.rights.rentals import QUERIES


async def keep(known, account_id):
    await known.confirm()
    known.keep(known.turn, account_id, "fact", "old")
    assert known.of(account_id, "fact") == "old"


async def test_a_change_is_heard_of_whenever_it_is_committed(catalogue, running):
    """Also what began before the last question and was committed after it; of others nothing is forgotten."""
    async with running(catalogue) as app:
        known = Known(app.state.context.read, SystemClock())
        with psycopg.connect(catalogue.database()) as slow, psycopg.connect(catalogue.database()) as connection:
            connection.execute("INSERT INTO account (account_id, origin) VALUES ('ann', 'import'), ('bob', 'import')")
            connection.commit()
            await keep(known, "ann")
            await keep(known, "bob")
            add = (
                "INSERT INTO entitlement (entitlement_id, account_id, kind, plan_id, opened) "
                "VALUES (%s, %s, 'grant', 'basic', now())"
            )
            slow.execute(add, ("1", "ann"))
            connection.execute(add, ("2", "bob"))
            connection.commit()
            await known.confirm()
            assert (known.of("ann", "fact"), known.of("bob", "fact")) == ("old", None)
            await keep(known, "bob")
            told = await app.state.context.read(
                lambda connection: row(connection, QUERIES["rights_changed"], {"since": known._since})
            )
            assert told["changes"] == [], "told once, though a transaction that began before still runs"
            slow.commit()
            await keep(known, "bob")
            assert known.of("ann", "fact") is None
            for change in (
                "UPDATE plan SET streams = streams",
                "UPDATE title SET year = 1999 WHERE title_id = 'harbour'",
                "UPDATE account SET born = current_date WHERE account_id = 'bob'",
                "DELETE FROM entitlement WHERE account_id = 'bob'",
            ):
                await keep(known, "bob")
                connection.execute(change)
                connection.commit()
                await known.confirm()
                assert known.of("bob", "fact") is None, change


async def test_what_was_read_before_a_change_is_not_kept_after_it(catalogue, running):
    async with running(catalogue) as app:
        known = Known(app.state.context.read, SystemClock())
        known.keep(known.turn, "ann", "fact", "of an unknown time")
        assert known.of("ann", "fact") is None
        await keep(known, "ann")
        turn = known.turn
        with psycopg.connect(catalogue.database()) as connection:
            connection.execute("UPDATE plan SET streams = streams")
        await known.confirm()
        known.keep(turn, "ann", "fact", "old")
        known.keep_title(turn, "harbour", "old")
        assert (known.of("ann", "fact"), known.title("harbour")) == (None, None)


async def test_a_change_that_is_committed_late_stays_in_the_log_until_all_have_heard_of_it(
    catalogue, running, monkeypatch
):
    async with running(catalogue) as app:
        known, context = Known(app.state.context.read, SystemClock()), app.state.context

        async def after_clearing():
            async with context.transaction() as connection:
                await known.clear_up(connection)
            with psycopg.connect(catalogue.database()) as connection:
                return connection.execute("SELECT count(*) FROM rights_change").fetchone()

        with psycopg.connect(catalogue.database()) as slow:
            slow.execute("TRUNCATE rights_change")
            slow.commit()
            slow.execute("UPDATE plan SET streams = streams")
            monkeypatch.setattr("serving.rights.known._REACH_S", 0.0)
            assert await after_clearing() == (0,)
            slow.commit()
            assert [await after_clearing(), await after_clearing()] == [(1,), (0,)]


async def test_of_too_many_the_oldest_go_and_what_is_over_is_not_held(catalogue, running, monkeypatch):
    monkeypatch.setattr("serving.rights.known._SIZE", 2)
    monkeypatch.setattr("serving.rights.known._TITLES", 2)
    async with running(catalogue) as app:
        known = Known(app.state.context.read, SystemClock())
        for name in ("ann", "bob", "eve"):
            await keep(known, name)
            known.keep_title(known.turn, name, "old")
        assert [known.of(name, "fact") for name in ("ann", "bob", "eve")] == [None, "old", "old"]
        assert [known.title(name) for name in ("ann", "bob", "eve")] == [None, "old", "old"]
        monkeypatch.setattr("serving.rights.known.LIFE_S", -1.0)
        known._forget()
        for name in ("ann", "bob"):
            known.keep(known.turn, name, "fact", "old")
        assert (list(known._accounts), len(known._marks)) == (["bob"], 1)
