"""Simulated viewers, end to end: behaviour, events, dirt, delivery into the lake, and the truth beside it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg

from ingest import bulk, intake, log
from matinee.db.connect import connect
from matinee.db.subscriptions import add_periods
from matinee.db.viewers import Viewer, add_viewers
from matinee.settings import Settings
from models.experiments.assignment import Experiment
from simulation import arms
from simulation.behaviour import plays, under, visits
from simulation.dirt import Delivered, deliver
from simulation.doors import ORDER, Door, Straight, ThroughTheLog, judged
from simulation.events import event_frame
from simulation.life import lives, periods
from simulation.others import BOT_DEVICE, Crawlers, crawlers, false_starts, other_events
from simulation.parameters import Plan
from simulation.population import (
    BLOCK,
    COUNTRIES,
    DEVICES,
    Population,
    account_id,
    blocks,
    bot_account_id,
    bot_viewers,
    joined_ms,
    population,
    viewers,
)
from simulation.truth import store
from simulation.truth.tally import Group, Tally
from simulation.world import World, read_world

# From about this many events on a run lands straight, unless it is told otherwise.
DIRECT_FROM = 1_000_000
# Groups of viewers this large are worked on together: several blocks cost little more than one.
_GROUP = 150_000

Progress = Callable[[str, int, int], None]


def _quiet(_stage: str, _done: int, _of: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Shard:
    """One block of viewers: who they are, what they send and pay, and what each would have done under either arm.

    `sha256`: of the deliveries, each a line of values; `signed_up`: everybody with an account, signed-in bots too.
    """

    people: Population
    delivered: Delivered
    outcomes: pl.DataFrame
    periods: pl.DataFrame
    signed_up: tuple[Viewer, ...]
    known: pl.DataFrame

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.delivered.deliveries.write_csv(include_header=False).encode()).hexdigest()


@dataclass(frozen=True)
class Generated:
    """A whole run in memory, not delivered yet. `deliveries` are sorted as the server receives them."""

    plan: Plan
    world: World
    run: str
    running: tuple[Experiment, ...]
    viewers: tuple[Viewer, ...]
    deliveries: pl.DataFrame
    frames: dict[str, pl.DataFrame]
    documents: dict[str, Any]

    @property
    def totals(self) -> dict[str, Any]:
        return self.documents["totals"]

    def judged(self) -> Iterator[intake.Batch]:
        """Everything that was sent, through the same door as live events."""
        return judged(self.deliveries, self.running)


@dataclass(frozen=True)
class Simulated:
    """What a run left behind. `customers`: viewers who ever paid; `direct`: its events landed past the event log."""

    run: str
    viewers: int
    customers: int
    sent: int
    accepted: int
    refused: int
    truth: Path
    totals: dict[str, Any]
    effects: list[dict[str, Any]]
    direct: bool = False


def run_name(plan: Plan, world: World) -> str:
    """The given name, or one that says what is in it."""
    return plan.run or f"s{plan.seed}-{plan.digest(world.fingerprint)[:8]}"


def shard(plan: Plan, world: World, block: int) -> Shard:
    """One block, from nothing but its address: in any order, on any machine, the same."""
    run = run_name(plan, world)
    people = population(plan, world, block)
    joined = joined_ms(plan, people, block)
    visited = visits(plan, world, people, block)
    # Everybody is drawn as if there from the first day; who joins later has not come before.
    kept = visited.start_ms >= joined[visited.viewer]
    chosen = arms.arms(plan, run, people)
    control, treated = (plays(plan, world, people, visited, block, under(plan, treated=t)) for t in (False, True))
    made = arms.factual(plan, visited, control, treated, chosen)
    leads = chosen.leads(plan)[visited.viewer]
    clean = event_frame(plan, world, people, visited, made, leads, block, len(chosen.experiments))
    bots = crawlers(plan, people, block)
    others = other_events(plan, world, people, visited, kept, bots, block)
    delivered = deliver(plan, people, clean, block).of_visits(kept)
    delivered = delivered.and_also(deliver(plan, people, others, block, "other dirt"))
    known = _about(run, people, chosen, bots)
    deliveries = delivered.deliveries.join(known, on="viewer", how="left", maintain_order="left")
    watched = made.where(kept[made.visit])
    return Shard(
        people,
        replace(delivered, deliveries=deliveries),
        arms.outcomes(people, visited, control, treated, chosen, kept, false_starts(plan, visited, block)),
        lives(plan, people, visited, watched, joined, block),
        (*viewers(run, people, joined), *bot_viewers(plan, run, bots.viewer[bots.signed_in])),
        pl.DataFrame({"viewer": pl.Series(people.number, dtype=pl.Int32), "joined": joined}).join(
            known.select("viewer", "country"), on="viewer", maintain_order="left"
        ),
    )


def generate(plan: Plan, world: World, progress: Progress = _quiet) -> Generated:
    """The whole run in memory: about 600 bytes an event."""
    run, running = run_name(plan, world), arms.experiments(plan)
    kept, shards = store.Kept(), []
    tally = Tally(plan, world, [e.name for e in running], kept)
    outcomes: list[pl.DataFrame] = []
    for group in _groups(plan, world, progress):
        shards += group
        tally.add(_group(group))
        outcomes += [s.outcomes for s in group]
    frames, totals = tally.finish()
    frames |= {name: pl.concat(kept.parts(name)) for name in ("ledger", "subscriptions")}
    frames["outcomes"] = pl.concat(outcomes)
    documents = _documents(plan, totals, arms.sums(frames["outcomes"]), running)
    everybody = tuple(viewer for s in shards for viewer in s.signed_up)
    deliveries = pl.concat([s.delivered.deliveries for s in shards]).sort(ORDER)
    return Generated(plan, world, run, running, everybody, deliveries, frames, documents)


def simulate(settings: Settings, plan: Plan, progress: Progress = _quiet, *, direct: bool | None = None) -> Simulated:
    """Simulate viewers of the catalogue in PostgreSQL, bring what they do into the lake, and write the truth.

    Events go through the event log as live ones do; with `direct` (None: from about a million events on) those that
    are right land at once, in flat memory. The same plan over the same catalogue makes the same events with the same
    ids, so doing it twice changes nothing in the marts. PostgreSQL and Redis must be running.

    Raises:
        SimulationError: nothing to watch, or the run's name is taken by another simulation.
        LogUnavailableError: the event log does not take entries.
        IngestError: the lake cannot be written.
    """
    with connect(settings, autocommit=True) as connection:
        world = read_world(connection)
        folder = settings.lake.truth / run_name(plan, world)
        store.check_free(folder, plan, world)
        if direct is None:
            direct = expected_events(plan, world) >= DIRECT_FROM
        draft = store.draft_of(folder)
        with _door(settings, connection, plan, world, direct, progress) as door:
            return _carry_out(connection, plan, world, door, draft, folder, progress, direct)


def expected_events(plan: Plan, world: World) -> int:
    """About how many events the plan sends."""
    sample = shard(replace(plan, viewers=min(plan.viewers, BLOCK)), world, 0)
    return sample.delivered.deliveries.height * plan.viewers // len(sample.people.number)


def viewers_for(plan: Plan, world: World, events: int) -> Plan:
    """The plan with as many viewers as send about this many events."""
    sample = expected_events(replace(plan, viewers=BLOCK), world)
    return replace(plan, viewers=max(1, round(events * BLOCK / max(sample, 1))))


def _carry_out(
    connection: psycopg.Connection,
    plan: Plan,
    world: World,
    door: Door,
    draft: Path,
    folder: Path,
    progress: Progress,
    direct: bool,
) -> Simulated:
    running, spool = arms.experiments(plan), store.Spooled(draft)
    tally = Tally(plan, world, [e.name for e in running], spool)
    outcome_sums, digests, customers = Counter[str](), hashlib.sha256(), 0
    for group in _groups(plan, world, progress):
        with connection.transaction():
            add_viewers(connection, [viewer for s in group for viewer in s.signed_up])
            add_periods(connection, [p for s in group for p in periods(folder.name, s.periods)])
        together = _group(group)
        customers += together.periods.filter(pl.col("state") == "active")["viewer"].n_unique()
        tally.add(together)
        for s in group:
            digests.update(s.sha256.encode())
        outcomes = pl.concat(s.outcomes for s in group)
        spool.add("outcomes", outcomes)
        outcome_sums += arms.sums(outcomes)
        door.take(together.deliveries)
    door.close()
    frames, totals = tally.finish()
    spool.close()
    documents = _documents(plan, totals, outcome_sums, running)
    store.publish(draft, folder, plan, world, frames, documents, digests.hexdigest())
    return Simulated(
        run=folder.name,
        viewers=plan.viewers,
        customers=customers,
        sent=totals["sent"],
        accepted=door.accepted,
        refused=door.refused,
        truth=folder,
        totals=totals,
        effects=documents["experiments"],
        direct=direct,
    )


def _documents(
    plan: Plan, totals: dict[str, Any], outcomes: Counter[str], running: tuple[Experiment, ...]
) -> dict[str, Any]:
    return {
        "totals": totals,
        "experiments": arms.effects(plan, outcomes, running),
        "examination": arms.examination_of(plan),
    }


@contextmanager
def _door(
    settings: Settings, connection: psycopg.Connection, plan: Plan, world: World, direct: bool, progress: Progress
) -> Iterator[Door]:
    running = arms.experiments(plan)
    client = log.connect(settings.events())
    name = f"{plan.digest(world.fingerprint)[:16]}-{hashlib.sha256(run_name(plan, world).encode()).hexdigest()[:8]}"
    try:
        if not direct:
            yield ThroughTheLog(client, running, lambda sent, of: progress("events", sent, of))
        elif bulk.has_landed(connection, name):
            yield Straight(settings, connection, client, running, None)
        else:
            with bulk.landing(connection, settings.lake.root, name) as landing:
                yield Straight(settings, connection, client, running, landing)
    finally:
        client.close()


def _groups(plan: Plan, world: World, progress: Progress) -> Iterator[list[Shard]]:
    """The blocks in order, as many at a time as make a group."""
    group: list[Shard] = []
    for block in (every := blocks(plan.viewers)):
        group.append(shard(plan, world, block))
        progress("viewers", block + 1, len(every))
        if sum(s.delivered.deliveries.height for s in group) >= _GROUP:
            yield group
            group = []
    if group:
        yield group


def _group(shards: list[Shard]) -> Group:
    return Group(
        deliveries=pl.concat([s.delivered.deliveries for s in shards]),
        lost=pl.concat([s.delivered.lost for s in shards]),
        periods=pl.concat([s.periods for s in shards]),
        people=pl.concat([s.known for s in shards]),
    )


def _about(run: str, people: Population, chosen: arms.Arms, bots: Crawlers) -> pl.DataFrame:
    """What every event of a viewer says about the viewer. Nothing tells serving's experiments about bots."""
    names = [
        bot_account_id(run, -1 - int(n)) if known else None
        for n, known in zip(bots.viewer, bots.signed_in, strict=True)
    ]
    columns: dict[str, Any] = {
        "viewer": pl.Series(np.r_[people.number, bots.viewer], dtype=pl.Int32),
        "account_id": pl.Series([account_id(run, int(number)) for number in people.number] + names, dtype=pl.String),
        "device": [DEVICES[i] for i in people.device] + [BOT_DEVICE] * len(names),
        "country": [COUNTRIES[i] for i in (*people.country, *bots.country)],
    }
    variants = {
        e.name: pl.Series([*v, *[None] * len(names)], dtype=pl.String)
        for e, v in zip(chosen.experiments, chosen.variants, strict=True)
    }
    return pl.DataFrame(columns | variants)
