"""The outbox: in order, without gaps, at least once; what cannot be done goes aside; letters are delivered."""

import mailbox
import socketserver
import threading

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


def test_listeners_hear_keys_once_a_commit_and_of_many_the_topic_alone(settings, connection):
    connection.execute(f"LISTEN {outbox.CHANNEL}")
    with psycopg.connect(settings.database()) as writing:
        for key in "xxy":
            outbox.put_now(writing, "title", key, {})
        writing.execute("INSERT INTO outbox (topic, key) SELECT 'title', n::text FROM generate_series(1, 30) n")
    told = [(n.channel, n.payload) for n in connection.notifies(timeout=10, stop_after=3)]
    told += [(n.channel, n.payload) for n in connection.notifies(timeout=0.1)]
    assert told == [(outbox.CHANNEL, payload) for payload in ("title x", "title y", "title")]


def test_letters_are_delivered_in_the_language_of_the_person(settings, connection):
    data = {"to": "ada@example.org", "template": "signed_in_tv", "data": {"device": "a television"}}
    for language in ("ru", "xx"):
        outbox.put_now(connection, "mail", "account", {**data, "language": language})
    assert worker.drain(settings) == 2
    subjects = {str(message["subject"]) for message in mailbox.Maildir(settings.home.mail)}
    assert len(subjects) == 2


class _Smtp(socketserver.StreamRequestHandler):
    """Takes letters to all but those whose domain it does not find, or who do not exist."""

    def handle(self):
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline().strip():
            verb = line.split()[0].upper()
            answer = b"250 ok"
            if line.upper().startswith(b"RCPT"):
                refused = {
                    b"nowhere": b"450 domain not found",
                    b"nobody": b"550 no such person",
                    b"end": b"421 closing",
                }
                answer = next((code for name, code in refused.items() if name in line), answer)
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() != b".\r\n":
                    pass
                self.server.taken.append(line)  # pyright: ignore[reportAttributeAccessIssue] - ours
            self.wfile.write((b"221 bye" if verb == b"QUIT" else answer) + b"\r\n")


@pytest.fixture
def smtp():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.daemon_threads = True
        server.taken = []  # pyright: ignore[reportAttributeAccessIssue] - what the handler writes into
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_letter_that_is_refused_holds_up_no_other(settings, connection, smtp):
    settings = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{smtp.server_address[1]}"})

    def write(*names):
        for name in names:
            outbox.put_now(connection, "mail", name, {"to": name, "template": "erasing"})

    write("x@nowhere.test", "nobody@example.org", "ёж@example.org", "ada@example.org")
    assert worker.drain(settings) == 4
    assert len(smtp.taken) == 1
    kept = "SELECT key, again_at > now() FROM outbox_poison WHERE consumer = 'mail' ORDER BY id"
    found = connection.execute(kept).fetchall()
    assert found == [("x@nowhere.test", True), ("nobody@example.org", None), ("ёж@example.org", None)]
    reader = worker.mailer(settings)
    assert reader.again(connection) == 0, "its time has not come"
    connection.execute("UPDATE outbox_poison SET again_at = now(), created_at = now() - interval '2 days'")
    assert reader.again(connection) == 3
    assert worker.drain(settings) == 3
    assert [again for _, again in connection.execute(kept)] == [None] * 3, "after a day it is for people"
    write("end@example.org")
    with pytest.raises(LaterError, match="421"):
        worker.drain(settings)
