import json
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from ingest import collector, deadletters, log
from ingest.errors import IngestError
from ingest.intake import Entry, accept
from ingest.landing import DEAD_LETTER


@pytest.fixture
def refuse(settings, client, now):
    """Lands one event as a dead letter, as if it had been refused with this code; returns its log id."""

    def refuse(sent, code="invalid_event", account_id="me"):
        entry = Entry(json.dumps(sent).encode(), now, "live", account_id, code, "a reason")
        (log_id,) = log.append(client, [entry])
        collector.drain(settings)
        return log_id

    return refuse


def test_a_refused_event_is_kept_whole_and_sealed(settings, connection, client, event, now, landed):
    sent = event(type="dance", session_id="very-secret-session")
    log.append(client, accept([sent, b"{broken"], received_at=now, origin="live", account_id="me").entries)
    summary = collector.drain(settings)
    assert (summary.events, summary.dead) == (0, 2)
    table = landed("dead")
    assert table.schema.equals(DEAD_LETTER)
    (file,) = settings.lake.dead.rglob("*.parquet")
    assert b"very-secret-session" not in file.read_bytes()
    newest = {letter.code: letter for letter in deadletters.newest(connection)}
    letter, body = deadletters.show(connection, settings, newest["invalid_event"].log_id)
    assert json.loads(body) == sent
    assert (letter.account_id, letter.received_at, letter.reason[:5]) == ("me", now, "type:")
    assert deadletters.counts(connection) == [("invalid_event", 1, 0), ("invalid_json", 1, 0)]


def test_a_dead_letter_of_nobody_is_sealed_with_the_services_key(settings, connection, refuse, event):
    log_id = refuse(event(), account_id=None)
    (file,) = settings.lake.dead.rglob("*.parquet")
    assert pq.read_table(file)["account_key"].to_pylist() == [None]
    assert json.loads(deadletters.show(connection, settings, log_id)[1])["session_id"] == "visit-1"


def test_an_event_of_one_megabyte_is_kept_to_its_last_byte(settings, connection, client, event, now):
    sent = event(session_id="x" * 1_000_000)
    (log_id,) = log.append(client, accept([sent], received_at=now, origin="live", account_id="me").entries)
    collector.drain(settings)
    letter, body = deadletters.show(connection, settings, log_id)
    assert letter.code == "too_large"
    assert json.loads(body) == sent


def test_replay_lands_what_is_right_by_now_once_and_with_its_own_id(
    settings, connection, client, refuse, event, now, landed
):
    good, bad = event(), event(type="dance")
    good_id, bad_id = refuse(good, "unknown_schema"), refuse(bad)
    first = deadletters.replay(connection, settings, client)
    second = deadletters.replay(connection, settings, client)
    assert (first.accepted, first.refused, second.accepted, second.refused) == (1, 1, 0, 1)
    assert collector.drain(settings).events == 1
    (row,) = landed("events").to_pylist()
    assert (row["event_id"], row["received_at"]) == (good["event_id"], now)
    letters = {letter.log_id: letter for letter in deadletters.newest(connection, waiting=False)}
    assert letters[good_id].replayed_as == row["log_id"]
    assert (letters[bad_id].replayed_at, letters[bad_id].attempts) == (None, 2)


def test_replay_of_one_code_leaves_the_others(settings, connection, client, refuse, event):
    refuse(event(), "too_late")
    refuse(event(), "unknown_schema")
    assert deadletters.replay(connection, settings, client, code="too_late").accepted == 1
    assert deadletters.counts(connection) == [("too_late", 0, 1), ("unknown_schema", 1, 0)]


def test_letters_are_counted_by_code_and_reason_and_replayed_by_them(settings, connection, client, event, now):
    sent = [event(type="dance"), event(type="sing"), event(played_ms=-1), event(schema="viewer-event/2.0"), b"{"]
    for hours, body in enumerate(sent):
        at = now + timedelta(hours=hours)
        log.append(client, accept([body], received_at=at, origin="live", account_id="me").entries)
    log.append(
        client, accept([event(session_id="x" * n) for n in (70_000, 80_000)], received_at=now, origin="live").entries
    )
    collector.drain(settings)
    found = {
        (g.code, g.summary): (g.waiting, g.replayed, g.first_seen, g.last_seen) for g in deadletters.groups(connection)
    }
    assert len(found) == 5
    assert found["too_large", "N bytes, the limit is N"] == (2, 0, now, now)
    types = next(key for key in found if key[1].startswith("type:"))
    assert found[types] == (2, 0, now, now + timedelta(hours=1))
    (negative,) = deadletters.groups(connection, code="invalid_event", reason="PLAYED_MS")
    assert (negative.waiting, negative.newest) == (1, deadletters.newest(connection, reason="played_ms")[0].log_id)
    assert deadletters.replay(connection, settings, client, reason="played_ms").refused == 1
    assert {g.waiting for g in deadletters.groups(connection, reason="no such reason")} == set()


def test_a_replayed_event_says_what_the_server_knew_of_its_sender(settings, connection, client, event, now):
    batch = accept(
        [event(schema="viewer-event/2.0")], received_at=now, origin="live", stamp={"country": "FR"}, bot="rate"
    )
    (log_id,) = log.append(client, batch.entries)
    collector.drain(settings)
    assert deadletters.newest(connection)[0].stamp == {"country": "FR", "bot": "rate"}
    letter, body = deadletters.show(connection, settings, log_id)
    right = body.replace(b"viewer-event/2.0", b"viewer-event/1.0")
    again = deadletters.judge_again(letter, right)
    assert {k: json.loads(again.body)[k] for k in ("country", "bot", "received_at")} == {
        "country": "FR", "bot": "rate", "received_at": now.isoformat().replace("+00:00", "Z"),
    }  # fmt: skip


def test_what_another_rule_refused_is_not_let_in_by_a_replay(settings, connection, client, refuse, event):
    refuse(event(), "profile_mismatch")
    summary = deadletters.replay(connection, settings, client)
    assert (summary.accepted, summary.refused) == (0, 1)
    assert client.xlen(log.STREAM) == 0


def test_without_its_accounts_key_a_dead_letter_is_closed_for_good(settings, connection, client, refuse, event):
    log_id = refuse(event())
    connection.execute("DELETE FROM account_salt WHERE account_id = 'me'")
    with pytest.raises(IngestError, match="the key of its account is destroyed"):
        deadletters.show(connection, settings, log_id)
    assert deadletters.replay(connection, settings, client).unreadable == 1
    assert connection.execute("SELECT count(*) FROM account_salt").fetchone() == (0,)


def test_an_unknown_id(settings, connection):
    with pytest.raises(IngestError, match="no dead letter '1-1'"):
        deadletters.show(connection, settings, "1-1")
