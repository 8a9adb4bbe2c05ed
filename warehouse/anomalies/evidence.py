"""The counts that are judged, out of the build file's events of the last weeks."""

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

from warehouse.anomalies.judge import LOOK_BACK, WEEKS, Evidence

if TYPE_CHECKING:
    import duckdb

# Without them marts are wrong and nothing else says so.
COLUMNS = (
    *("account_key", "profile_key", "session_id", "playback_id", "title_id", "device", "country"),
    *("position_ms", "played_ms", "startup_ms", "bits", "rendition"),
)
# Imports are histories of elsewhere, and bots come and go.
_EVENTS = "intermediate.int_events WHERE origin <> 'import' AND bot IS NULL"
_WATERMARK = f"SELECT max(received_at) FROM {_EVENTS}"  # noqa: S608 - constants of this module, here and below
_HOURS = f"""
    SELECT event_date, CAST(hour(event_ts) AS INTEGER), event_type, count(*),
           {", ".join(f"count(*) - count({column})" for column in COLUMNS)}
    FROM {_EVENTS} AND event_date >= $since
    GROUP BY ALL
"""  # noqa: S608 - see above
_PLAYS = f"""
    SELECT event_date, coalesce(device, '(none)'), coalesce(country, '(none)'), count(*)
    FROM {_EVENTS} AND event_date >= $since AND event_type = 'play'
    GROUP BY ALL
"""  # noqa: S608 - see above


def gather(warehouse: "duckdb.DuckDBPyConnection") -> Evidence:
    """Read what the last days and their former weeks hold; empty where no event is known."""
    row = warehouse.execute(_WATERMARK).fetchone()
    watermark = row[0] if row else None
    if watermark is None:
        return Evidence(None)
    since: dict[str, object] = {"since": watermark.date() - timedelta(days=LOOK_BACK + 7 * WEEKS)}
    hours: dict[str, dict[tuple[date, int], int]] = defaultdict(dict)
    nulls: dict[tuple[str, str], dict[date, tuple[int, int]]] = defaultdict(dict)
    mixes: dict[str, dict[date, dict[str, float]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    for day, hour, kind, events, *empty in warehouse.execute(_HOURS, since).fetchall():
        hours[kind][day, hour] = events
        mixes["type"][day][kind] += events
        for column, count in zip(COLUMNS, empty, strict=True):
            before = nulls[column, kind].get(day, (0, 0))
            nulls[column, kind][day] = before[0] + count, before[1] + events
    for day, device, country, plays in warehouse.execute(_PLAYS, since).fetchall():
        mixes["device"][day][device] += plays
        mixes["country"][day][country] += plays
    return Evidence(watermark, dict(hours), dict(nulls), {name: dict(days) for name, days in mixes.items()})
