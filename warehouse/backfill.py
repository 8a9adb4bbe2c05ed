"""Days to be built again: the next dbt build forgets what the incremental models hold of them and makes it anew."""

from datetime import date

from matinee.settings import Settings
from warehouse import build_file
from warehouse.errors import WarehouseError

_EVENT_DAYS = """
    INSERT INTO raw.touched_days
    SELECT CAST(day AS DATE), now() FROM range($first, CAST($until AS DATE) + INTERVAL 1 DAY, INTERVAL 1 DAY) days(day)
    RETURNING event_date
"""
_RECEIVED_DAYS = """
    INSERT INTO raw.touched_days
    SELECT DISTINCT CAST(event_ts AS DATE), now() FROM raw.events
    WHERE CAST(received_at AS DATE) BETWEEN $first AND $until AND origin <> 'import'
    RETURNING event_date
"""


def touch_event_days(settings: Settings, first: date, until: date) -> list[date]:
    """Mark the days on which events happened, both ends included; returns them.

    Raises:
        WarehouseError: the range ends before it begins, or retention has dropped events of its first day.
    """
    with build_file.writing(settings) as warehouse:
        (dropped,) = warehouse.execute("SELECT max(day) FROM raw.dropped_before").fetchall()[0]
    if dropped is not None and first < dropped:
        raise WarehouseError(
            f"{first} cannot be built again: events received before {dropped} are dropped, and what was made of them "
            f"would go too; begin with {dropped} or later"
        )
    return _touch(settings, _EVENT_DAYS, first, until)


def touch_received_days(settings: Settings, first: date, until: date) -> list[date]:
    """Mark the event days of everything that was received on these days, both ends included; returns them.

    Raises:
        WarehouseError: the range ends before it begins.
    """
    return _touch(settings, _RECEIVED_DAYS, first, until)


def _touch(settings: Settings, statement: str, first: date, until: date) -> list[date]:
    if until < first:
        raise WarehouseError(f"the range {first} to {until} ends before it begins: give the earlier day first")
    with build_file.writing(settings) as warehouse:
        rows = warehouse.execute(statement, {"first": first, "until": until}).fetchall()
    return sorted(day for (day,) in rows)
