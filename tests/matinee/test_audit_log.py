"""The audit log: a chain that shows every change, and forgets who people were when they are erased."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from matinee.db import audit
from matinee.db.viewers import Viewer, add_viewers

START = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)

SWAPPED = """
    UPDATE audit SET position = -2 WHERE position = 2;
    UPDATE audit SET position = 2 WHERE position = 5;
    UPDATE audit SET position = 5 WHERE position = -2
"""


@pytest.fixture
def log(settings):
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer("ml:1", "Ada", "import"), Viewer("ml:2", "Eve", "import")])
        for number in range(6):
            audit.record_now(
                connection,
                actor="ml:1",
                action="account.role_changed",
                subject="ml:2",
                details={"number": number, "роль": "модератор"},
                at=START + timedelta(seconds=number),
            )
        connection.commit()
        yield connection


TAMPERINGS = [
    ("UPDATE audit SET details = '{\"number\": 9}' WHERE position = 3", 3),
    ("UPDATE audit SET at = at + interval '1 us' WHERE position = 1", 1),
    ("UPDATE audit SET actor = NULL WHERE position = 6", 6),
    ("DELETE FROM audit WHERE position = 4", 4),
    ("DELETE FROM audit WHERE position = 6", 6),
    ("DELETE FROM audit", 1),
    (SWAPPED, 2),
    ("UPDATE audit SET (details, hash) = (SELECT details, hash FROM audit WHERE position = 3) WHERE position = 2", 2),
]


def test_a_row_that_was_changed_removed_or_moved_is_found(log):
    assert audit.verify(log) is None
    log.commit()
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        log.execute("DELETE FROM audit")
    log.rollback()
    log.execute("ALTER TABLE audit DISABLE TRIGGER audit_append_only")
    log.execute("CREATE TABLE whole AS TABLE audit")
    for tampering, place in TAMPERINGS:
        log.execute(tampering)
        log.commit()
        broken = audit.verify(log)
        assert broken is not None, tampering
        assert broken.position == place, tampering
        log.execute("TRUNCATE audit")
        log.execute("INSERT INTO audit TABLE whole")
        log.commit()
    assert audit.verify(log) is None


def test_the_chain_holds_when_the_account_is_gone_and_names_it_no_more(log):
    assert [(e.position, e.actor, e.subject) for e in audit.tail(log, 2)] == [(5, "ml:1", "ml:2"), (6, "ml:1", "ml:2")]
    stored = str(log.execute("SELECT * FROM audit").fetchall())
    assert "ml:" not in stored, "the chain itself knows no account"
    log.execute("DELETE FROM account WHERE account_id = 'ml:2'")
    log.execute("SET TimeZone = 'Asia/Kolkata'")
    log.commit()
    found = audit.check(log)
    assert (found.rows, found.broken) == (6, None)
    (last,) = audit.tail(log, 1)
    assert last.actor == "ml:1"
    assert last.subject not in (None, "ml:2")
    assert last.details == {"number": 5, "роль": "модератор"}


def test_rows_of_many_writers_stand_one_after_the_other(settings):
    from concurrent.futures import ThreadPoolExecutor

    def write(number):
        with psycopg.connect(settings.database()) as connection:
            for _ in range(5):
                audit.record_now(connection, actor="worker", action="title.published", subject=f"t{number}", at=START)
                connection.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with psycopg.connect(settings.database()) as connection:
        found = audit.check(connection)
    assert (found.rows, found.broken) == (20, None)
