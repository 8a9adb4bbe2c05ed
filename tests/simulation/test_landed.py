"""What lands straight is what would have landed through the log, row for row."""

from collections.abc import Iterable
from datetime import date

import polars as pl
import pyarrow as pa

from ingest import intake, log
from ingest.landing import Arrived, arrived_table, decode, event_table
from matinee.pseudonyms import Salt
from simulation.landed import landed_table
from simulation.parameters import Business, Plan
from simulation.viewers import Generated, generate
from simulation.world import World

PLAN = Plan(end=date(2026, 11, 1), viewers=140, days=6, seed=31, business=Business(bots=0.06))


def through_the_log(batches: Iterable[intake.Batch], salts: dict[str, Salt]) -> pa.Table:
    entries = [entry for batch in batches for entry in batch.entries if entry.code is None]
    found = [
        decode(f"0-{n}", {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in log.fields(e).items()})
        for n, e in enumerate(entries)
    ]
    arrived = [item for item in found if isinstance(item, Arrived)]
    assert len(arrived) == len(entries)
    return event_table(arrived_table(range(len(arrived)), arrived), salts)


def accounts(made: Generated) -> dict[str, Salt]:
    return {name: Salt(name.encode() * 4) for name in made.deliveries["account_id"].drop_nulls().unique()}


def test_rows_are_those_of_the_log_up_to_its_ids_and_the_spelling_of_fingerprints(world: World) -> None:
    made = generate(PLAN, world)
    salts = accounts(made)
    keys = {account: salt.key(account) for account, salt in salts.items()}
    straight = landed_table(made.deliveries, made.running, keys, "simulate", 0)
    logged = through_the_log(made.judged(), salts)
    assert straight.schema.equals(logged.schema)
    both = [pl.DataFrame(t).sort("event_id", "received_at", "event_ts", "title_id") for t in (straight, logged)]
    one, other = (frame.drop("log_id", "fingerprint") for frame in both)
    for name in one.columns:
        assert one[name].equals(other[name], null_equal=True), name
    assert {"exposure", "rate", "search", "favourite", "error"} < set(one["type"])
    assert one.filter(pl.col("bot").is_not_null())["account_key"].is_null().any()
    # Two payloads are the same here if and only if they are the same there.
    prints = pl.DataFrame({"here": both[0]["fingerprint"], "there": both[1]["fingerprint"]}).unique()
    assert prints.height == prints["here"].n_unique() == prints["there"].n_unique() < one.height
    assert straight["log_id"].to_pandas().is_unique


def test_who_has_no_key_any_more_does_not_land(world: World) -> None:
    made = generate(PLAN, world)
    keys = dict.fromkeys(accounts(made), "k" * 64)
    gone = max(keys)
    del keys[gone]
    rows = landed_table(made.deliveries, made.running, keys, "simulate", 0).num_rows
    kept = made.deliveries.filter(pl.col("code").is_null() & pl.col("account_id").ne_missing(gone))
    assert rows == kept.height < made.totals["accepted"]
