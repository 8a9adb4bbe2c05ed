from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from matinee.db.connect import connect
from matinee.db.subscriptions import Period, add_periods
from matinee.db.viewers import Viewer, add_viewers
from matinee.errors import ContractError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRIAL = Period("p1", "s1", "one", "basic", "trial", 0, "EUR", NOON)


@pytest.fixture
def connection(settings):
    with connect(settings) as connection:
        add_viewers(connection, [Viewer("one", "One", "simulate"), Viewer("two", "Two", "simulate")])
        yield connection


def stored(connection):
    return connection.execute(
        "SELECT period_id, state, closed, end_reason FROM subscription_period ORDER BY 1"
    ).fetchall()


def test_writing_twice_changes_nothing_and_an_end_comes_with_what_follows(connection):
    assert add_periods(connection, [TRIAL]) == 1
    assert add_periods(connection, [TRIAL]) == 0
    later = NOON + timedelta(days=14)
    follows = replace(TRIAL, period_id="p0", state="active", monthly_minor=999, opened=later)
    both = [follows, replace(TRIAL, closed=later, end_reason="paid")]
    assert add_periods(connection, both) == 2
    assert add_periods(connection, both) == 0
    assert stored(connection) == [("p0", "active", None, None), ("p1", "trial", later, "paid")]


def test_what_cannot_be_is_refused_and_leaves_the_connection_usable(connection):
    for wrong in [
        {"account_id": "nobody"},
        {"state": "gone"},
        {"monthly_minor": -1},
        {"currency": "euro"},
        {"plan": ""},
        {"closed": NOON, "end_reason": "cancelled"},
        {"closed": NOON + timedelta(1)},
        {"closed": NOON + timedelta(1), "end_reason": "bored"},
        {"monthly_minor": 2**63},
        {"account_id": "one", "opened": NOON + timedelta(days=400)},
    ]:
        with pytest.raises(ContractError, match="not written"):
            add_periods(connection, [TRIAL, replace(TRIAL, **{"period_id": "p2", "account_id": "two", **wrong})])
        assert stored(connection) == [], wrong
    assert add_periods(connection, [TRIAL, replace(TRIAL, period_id="p2", account_id="two")]) == 2
