"""The truth against a plain recount of what the door accepted: dictionaries and loops, nothing shared."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest

from simulation.parameters import Plan
from simulation.viewers import Generated, generate
from simulation.world import World

END = date(2026, 11, 1)


def recount(made: Generated, world: World) -> dict[tuple[date, str], tuple[int, int, int, int]]:
    seen: set[str] = set()
    playbacks = defaultdict(list)
    for batch in made.judged():
        for entry in batch.entries:
            if entry.code is None:
                body = orjson.loads(entry.body)
                if body["event_id"] not in seen and body.get("playback_id") and not body["bot"]:
                    sent, client = (datetime.fromisoformat(body[name]) for name in ("ts_sent", "ts_client"))
                    playbacks[body["playback_id"]].append((entry.received_at - (sent - client), body))
                seen.add(body["event_id"])
    runtime = {title.title_id: title.runtime_ms for title in world.titles}
    days = defaultdict(list)
    for events in playbacks.values():
        title = events[0][1]["title_id"]
        furthest = max(body.get("position_ms", 0) for _, body in events)
        day = min(moment for moment, _ in events).astimezone(UTC).date()
        played = max(body.get("played_ms", 0) for _, body in events)
        days[day, title].append((events[0][1]["account_id"], played, furthest >= 0.9 * runtime[title]))
    return {
        key: (len(rows), len({r[0] for r in rows}), sum(r[1] for r in rows), sum(r[2] for r in rows))
        for key, rows in days.items()
    }


@pytest.mark.parametrize("length", ["short", "long"])
def test_the_truth_is_what_a_plain_recount_finds(world: World, long_world: World, length: str) -> None:
    titles = world if length == "short" else long_world
    made = generate(Plan(end=END, viewers=150 if length == "short" else 60, days=9, seed=21), titles)
    table = {
        (row["event_date"], row["title_id"]): (
            row["plays"], row["viewers"], round(row["hours_viewed"] * 3_600_000), row["completions"]
        )
        for row in made.frames["title_day"].iter_rows(named=True)
    }  # fmt: skip
    assert table == recount(made, titles)
    assert sum(plays for plays, *_ in table.values()) == made.totals["plays"]


def test_days_are_those_of_the_plan(made: Generated) -> None:
    days = made.frames["title_day"]["event_date"]
    assert END - timedelta(days=made.plan.days) <= days.min() <= days.max() < END
