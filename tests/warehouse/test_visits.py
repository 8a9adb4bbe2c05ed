"""Visits and minutes against somebody who goes through the events one by one."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from warehouse import dbt
from warehouse.load import load_days

IDLE, FULL_DAY = timedelta(minutes=30), timedelta(hours=24)
GAPS = [0, 0, 1, 60, 1_700, 1_800, 1_800.001, 1_801, 7_200]
TYPES = ["impression", "search", "rate", "favourite", "play", "heartbeat", "stop", "error"]
MINUTED = {"play", "heartbeat", "stop"}


def days_of_visits(event, chance):
    """Events of profiles and nobody, people and bots, and idle gaps around the bound; two never pause for days."""
    sent = []
    for number in range(40):
        restless, at = number < 2, datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(86_400))
        for step in range(300 if restless else 40):
            at += timedelta(seconds=chance.choice([200, 900, 1_800] if restless else GAPS))
            kind = chance.choice(TYPES)
            plays = kind in MINUTED or kind == "error"
            sent.append(
                event(
                    at=at,
                    type=kind,
                    account_key=None if number % 4 == 3 else f"a{number % 3}",
                    profile_key=None if number % 4 == 3 else f"p{number}",
                    session_id=f"v{number}-{step // 15}",
                    playback_id=f"b{number}-{step // 5}" if plays else None,
                    title_id="t2" if kind != "search" else None,
                    position_ms=chance.choice([None, 0, 59_999, 60_000, 125_000]) if plays else None,
                    rate_value=4.0 if kind == "rate" else None,
                    device=chance.choice(["tv", "phone"]),
                    country=chance.choice(["DE", "RU"]),
                    origin=chance.choice(["live", "simulate"] if number else ["import"]),
                    bot="rate" if number == 1 and chance.random() < 0.1 else None,
                    late_s=chance.choice([1, 40_000]),
                )
            )
    return sent


def visits(events):
    """As the definition says it, event by event."""
    of_visitor = defaultdict(list)
    for row in events:
        if row["origin"] != "import":
            visitor = row["profile_key"] or f"visit:{row['session_id']}"
            of_visitor[visitor].append((row["event_ts"], row["event_id"], row))
    found = defaultdict(list)
    for visitor, ordered in of_visitor.items():
        before = first = None
        for at, _, row in sorted(ordered, key=lambda entry: entry[:2]):
            if before is None or at - before > IDLE:
                first = at
            found[visitor, first, (at - first) // FULL_DAY].append(row)
            before = at
    return {_visit(visitor, rows) for (visitor, _, _), rows in found.items()}


def _visit(visitor, rows):
    first = rows[0]
    types = [row["type"] for row in rows]
    return (
        first["event_id"], visitor, first["account_key"], first["profile_key"], first["origin"], first["device"],
        first["country"], first["event_ts"], rows[-1]["event_ts"], first["event_ts"].date(), len(rows),
        types.count("impression"), len({row["playback_id"] for row in rows} - {None}), types.count("search"),
        types.count("rate"), any(row["bot"] for row in rows),
    )  # fmt: skip


def minutes(events):
    beats = defaultdict(list)
    for row in events:
        if row["type"] in MINUTED and row["position_ms"] is not None:
            beats[row["playback_id"], row["position_ms"] // 60_000].append(row["event_ts"])
    return {(*key, min(times), len(times)) for key, times in beats.items()}


def test_visits_and_minutes_are_those_of_the_events_one_by_one(settings, landing, event, rows):
    chance = random.Random(11)
    sent = days_of_visits(event, chance)
    chance.shuffle(sent)
    half = len(sent) // 2
    # In two parts, in any order: the second joins visits that the first left apart.
    for part in (sent[:half], [*sent[half:], *sent[: half // 4]]):
        landing.land(part)
        load_days(settings)
        result = dbt.run(settings, ["run", "--select", "+fct_session", "+fct_playback_minute"])
        assert result.success, result.failed
    found = rows(settings, "SELECT * FROM marts.fct_session")
    expected = visits(sent)
    assert len(found) == len(expected) > 300
    assert set(found) == expected
    assert max(visit[8] - visit[7] for visit in expected) > timedelta(hours=23)
    assert sum(visit[8].date() > visit[7].date() for visit in expected) > 10
    found = rows(settings, "SELECT playback_id, minute, first_at, beats FROM marts.fct_playback_minute")
    assert len(found) == len(minutes(sent)) > 300
    assert set(found) == minutes(sent)
