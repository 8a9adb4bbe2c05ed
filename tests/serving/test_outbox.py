"""The outbox: in order, without gaps, at least once; what cannot be done goes aside; letters are delivered."""

import mailbox

import psycopg
import pytest

from matinee.db import outbox
from matinee.db.outbox import Consumer, LaterError
from serving import outbox as worker


@pytest.fixture
def connection(settings):
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        yield connection


def test_rows_come_in_the_order_of_their_transactions_and_none_is_passed_over(settings, connection):
    seen = []
    reader = Consumer("test", ["a", "b"], lambda entry: seen.append(entry.key))
    with psycopg.connect(settings.database(), autocommit=True) as reading:
        assert reader.join(reading)
        with psycopg.connect(settings.database()) as slow:
            outbox.put_now(slow, "a", "first", {})
            outbox.put_now(connection, "b", "second", {"n": 1})
            outbox.put_now(connection, "c", "other", {})
            assert reader.drain(reading) == 0, "a transaction that began before has not ended"
        assert reader.drain(reading) == 2
        with psycopg.connect(settings.database()) as regretted:
            outbox.put_now(regretted, "a", "never", {})
            regretted.rollback()
        assert reader.drain(reading) == 0
        assert seen == ["first", "second"]
        assert not Consumer("test", ["a"], seen.append).join(connection), "one reader at a time"
    assert outbox.prune(connection, connection.execute("SELECT now()").fetchone()[0]) == 3


def test_a_row_that_fails_is_kept_aside_and_can_be_put_again(connection):
    done, broken = [], True

    def handle(entry):
        if entry.key == "away" and broken:
            raise LaterError("no answer")
        if entry.key == "bad" and broken:
            raise ValueError("cannot be done")
        done.append(entry.key)

    reader = Consumer("test", ["a"], handle, tries=3, once=True)
    reader.join(connection)
    for key in ("bad", "good", "away"):
        outbox.put_now(connection, "a", key, {})
    assert [reader.step(connection) for _ in range(4)] == [False, False, True, True]
    for _ in range(9):
        with pytest.raises(LaterError):
            reader.step(connection)
    kept = connection.execute("SELECT consumer, key, reason FROM outbox_poison").fetchall()
    assert kept == [("test", "bad", "ValueError: cannot be done")]
    broken = False
    assert outbox.replay(connection, "test") == 1
    assert reader.drain(connection) == 2
    assert done == ["good", "away", "bad"]
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


def test_numbers_of_an_earlier_server_do_not_hold_rows_back(connection):
    connection.execute("INSERT INTO outbox (transaction, topic, key) VALUES ('900000000', 'a', 'old')")
    connection.execute("INSERT INTO outbox_consumer VALUES ('test', '{a}', '900000001', 7)")
    seen = []
    reader = Consumer("test", ["a"], lambda entry: seen.append(entry.key))
    reader.join(connection)
    outbox.put_now(connection, "a", "new", {})
    assert reader.drain(connection) == 2
    assert seen == ["old", "new"]


def test_listeners_hear_a_topic_once_a_commit(settings, connection):
    connection.execute(f"LISTEN {outbox.CHANNEL}")
    with psycopg.connect(settings.database()) as writing:
        for key in "xyz":
            outbox.put_now(writing, "title", key, {})
    told = [(n.channel, n.payload) for n in connection.notifies(timeout=0.2)]
    assert told == [(outbox.CHANNEL, "title")]


def test_letters_are_delivered_in_the_language_of_the_person(settings, connection):
    data = {
        "to": "ada@example.org",
        "template": "moderation_returned",
        "data": {"title": "Otters", "reason": "blurred"},
    }
    for language in ("ru", "xx"):
        outbox.put_now(connection, "mail", "account", {**data, "language": language})
    assert worker.drain(settings) == 2
    subjects = {str(message["subject"]) for message in mailbox.Maildir(settings.home.mail)}
    assert len(subjects) == 2
