import hashlib
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import orjson
import polars as pl
import pytest

from matinee.db.connect import connect
from matinee.settings import Settings
from simulation.errors import SimulationError
from simulation.parameters import Plan
from simulation.viewers import Generated, generate, shard, simulate, viewers_for
from simulation.world import World, read_world

END = date(2026, 11, 1)


def sent(made: Generated) -> str:
    digest = hashlib.sha256()
    for batch in made.judged():
        for entry in batch.entries:
            digest.update(entry.body)
    return digest.hexdigest()


def test_the_same_plan_sends_the_same_bytes_and_another_seed_others(world: World) -> None:
    plan = Plan(end=END, viewers=40, days=5, seed=3)
    assert sent(generate(plan, world)) == sent(generate(plan, world))
    assert sent(generate(plan, world)) != sent(generate(replace(plan, seed=4), world))


def test_a_block_made_alone_is_the_block_of_the_whole_run(world: World) -> None:
    plan = Plan(end=END, viewers=600, days=3, seed=8)
    whole = generate(plan, world).deliveries
    for block in (2, 0):
        alone = shard(plan, world, block).delivered.deliveries
        numbers = range(block * 256, block * 256 + 256)
        inside = whole.filter(pl.col("viewer").is_in([*numbers, *(-1 - n for n in numbers)]))
        order = ["event_id", "received", "fate"]
        assert inside.sort(order).equals(alone.select(inside.columns).sort(order))


def test_intake_accepts_and_refuses_exactly_what_the_ledger_says(made: Generated) -> None:
    accepted, codes = 0, Counter[str]()
    for batch in made.judged():
        accepted += batch.accepted
        codes.update(rejection.code for rejection in batch.rejections)
    assert codes == made.totals["dead_letters"]
    assert set(codes) == {
        "invalid_json", "invalid_event", "unknown_schema", "from_the_future", "too_late", "too_large"
    }  # fmt: skip
    assert accepted == made.totals["accepted"]


def test_ids_are_distinct_but_for_the_copies_in_the_ledger(made: Generated) -> None:
    bodies = [orjson.loads(e.body) for batch in made.judged() for e in batch.entries if e.code is None]
    assert len({body["event_id"] for body in bodies}) == made.totals["distinct_events"]
    copies = made.totals["fates"]["duplicate"] + made.totals["fates"]["altered"]
    assert len(bodies) - made.totals["distinct_events"] == copies > 0


def test_everything_is_received_before_the_end_and_in_order(made: Generated) -> None:
    received = made.deliveries["received"]
    assert received.is_sorted()
    assert received.to_list()[-1] < made.plan.end_ms
    assert made.deliveries["at"].to_numpy().min() >= made.plan.start_ms


def test_viewers_can_be_scaled_to_a_number_of_events(world: World) -> None:
    plan = viewers_for(Plan(end=END, days=4, seed=2), world, 30_000)
    assert 0.8 < generate(plan, world).deliveries.height / 30_000 < 1.25


def feed_titles(settings: Settings, count: int = 8) -> None:
    with connect(settings) as connection:
        for number in range(count):
            connection.execute(
                "INSERT INTO title (title_id, kind, runtime_s, maturity, genres) VALUES (%s, 'film', 1500, 12, %s)",
                (f"film-{number}", ["drama" if number % 2 else "comedy"]),
            )


def test_a_run_fills_the_log_makes_accounts_and_writes_its_truth(settings: Settings) -> None:
    import redis

    feed_titles(settings)
    plan = Plan(end=END, viewers=30, days=5, seed=4, run="first")
    done = simulate(settings, plan)
    assert redis.Redis.from_url(settings.events()).xlen("events") == done.sent == done.accepted + done.refused
    with connect(settings) as connection:
        accounts = connection.execute("SELECT account_id FROM account WHERE origin = 'simulate'").fetchall()
    people = {row[0] for row in accounts if "bot" not in row[0]}
    assert people == {f"sim-first-{n}" for n in range(30)}
    manifest = orjson.loads((done.truth / "manifest.json").read_bytes())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((done.truth / name).read_bytes()).hexdigest() == digest
    assert pl.read_parquet(done.truth / "title_day.parquet")["plays"].sum() == done.totals["plays"] > 0

    again = simulate(settings, plan)
    assert orjson.loads((again.truth / "manifest.json").read_bytes()) == manifest
    with pytest.raises(SimulationError, match="first"):
        simulate(settings, replace(plan, seed=5))


def test_an_empty_catalogue_is_refused_with_the_remedy(settings: Settings) -> None:
    with pytest.raises(SimulationError, match="matinee ingest catalog"):
        simulate(settings, Plan(end=END))


def test_where_something_is_packaged_only_that_is_watched_at_its_real_length(settings: Settings) -> None:
    feed_titles(settings)
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO master (master_id, bytes, state, file_name) VALUES ('m', 1, 'accepted', 'x.mp4')"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "VALUES ('p', 'film-3', 'm', 'published', 21500)"
        )
    with connect(settings) as connection:
        found = read_world(connection)
    assert [(title.title_id, title.runtime_ms) for title in found.titles] == [("film-3", 21_500)]


@pytest.mark.parametrize(("name", "value"), [("viewers", 0), ("days", 0), ("seed", -1)])
def test_a_senseless_plan_is_refused(name: str, value: int) -> None:
    with pytest.raises(SimulationError, match=name):
        Plan(**{"end": END, name: value})


def test_a_run_that_lands_at_once_leaves_the_same_truth_and_all_its_rows(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    from simulation import viewers

    # Several groups of viewers, so that the files grow.
    monkeypatch.setattr(viewers, "_GROUP", 500)
    feed_titles(settings)
    plan = Plan(end=END, viewers=300, days=2, seed=4, run="at-once")
    logged = simulate(settings, plan, direct=False)
    kept = tmp_path / "logged"
    logged.truth.rename(kept)
    assert redis.Redis.from_url(settings.events()).delete("events") == 1
    done = simulate(settings, plan, direct=True)
    for path in kept.iterdir():
        assert (done.truth / path.name).read_bytes() == path.read_bytes(), path.name
    assert (done.accepted, done.refused) == (logged.accepted, logged.refused)

    landed = pl.read_parquet(settings.lake.landing_events / "*" / "bulk-*.parquet", hive_partitioning=False)
    assert landed["event_id"].n_unique() == done.totals["distinct_events"]
    assert landed["log_id"].n_unique() == landed.height == done.accepted
    assert redis.Redis.from_url(settings.events()).xlen("events") == done.refused > 0
    with connect(settings) as connection:
        files = dict(connection.execute("SELECT path, rows FROM landed_file").fetchall())
    assert sum(files.values()) == done.accepted
    assert len(files) == landed["received_at"].dt.date().n_unique()

    again = simulate(settings, plan, direct=True)
    assert again.accepted == done.accepted
    with connect(settings) as connection:
        assert dict(connection.execute("SELECT path, rows FROM landed_file").fetchall()) == files
