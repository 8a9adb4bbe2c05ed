"""Simulated viewers, end to end: behaviour, events, dirt, delivery into the event log, and the truth beside it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from ingest import intake, log
from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from matinee.settings import Settings
from models.experiments.assignment import Experiment
from simulation import arms, truth
from simulation.behaviour import plays, under, visits
from simulation.dirt import Delivered, deliver
from simulation.events import event_frame
from simulation.parameters import Plan
from simulation.population import BLOCK, COUNTRIES, DEVICES, Population, account_id, blocks, population, viewers
from simulation.wire import batches
from simulation.world import World, read_world

ORIGIN = "simulate"
_APPEND = 4_000

Progress = Callable[[str, int, int], None]


def _quiet(_stage: str, _done: int, _of: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Shard:
    """One block of viewers: who they are, what they send, and what each would have done under either arm."""

    people: Population
    delivered: Delivered
    outcomes: pl.DataFrame


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


@dataclass(frozen=True)
class Simulated:
    """What a run left behind."""

    run: str
    viewers: int
    sent: int
    accepted: int
    refused: int
    truth: Path
    totals: dict[str, Any]
    effects: list[dict[str, Any]]


def run_name(plan: Plan, world: World) -> str:
    """The given name, or one that says what is in it."""
    return plan.run or f"s{plan.seed}-{plan.digest(world.fingerprint)[:8]}"


def shard(plan: Plan, world: World, block: int) -> Shard:
    """One block, from nothing but its address: in any order, on any machine, the same."""
    run = run_name(plan, world)
    people = population(plan, world, block)
    visited = visits(plan, world, people, block)
    chosen = arms.arms(plan, run, people)
    control, treated = (plays(plan, world, people, visited, block, under(plan, treated=t)) for t in (False, True))
    made = arms.factual(plan, visited, control, treated, chosen)
    clean = event_frame(plan, world, people, visited, made, block, len(chosen.experiments))
    delivered = deliver(plan, people, clean, block)
    known = _about(run, people, chosen)
    return Shard(
        people,
        replace(delivered, deliveries=delivered.deliveries.join(known, on="viewer", how="left", maintain_order="left")),
        arms.outcomes(people, visited, control, treated, chosen),
    )


def generate(plan: Plan, world: World, progress: Progress = _quiet) -> Generated:
    """The whole run in memory: about 600 bytes an event."""
    shards = []
    for block in (every := blocks(plan.viewers)):
        shards.append(shard(plan, world, block))
        progress("viewers", block + 1, len(every))
    run, running = run_name(plan, world), arms.experiments(plan)
    deliveries = pl.concat([s.delivered.deliveries for s in shards]).sort("received", "order", "viewer", "seq", "fate")
    played = pl.concat([truth.playbacks(s.delivered, world) for s in shards])
    outcomes = pl.concat([s.outcomes for s in shards])
    frames = {
        "title_day": truth.title_day(played),
        "event_day": truth.event_day(deliveries),
        "ledger": pl.concat([truth.ledger(s.delivered) for s in shards]),
        "outcomes": outcomes,
    }
    documents = {
        "totals": truth.totals(deliveries, sum(s.delivered.lost.height for s in shards), played),
        "experiments": arms.effects(plan, outcomes, running),
    }
    everybody = tuple(viewer for s in shards for viewer in viewers(plan, run, s.people))
    return Generated(plan, world, run, running, everybody, deliveries, frames, documents)


def simulate(settings: Settings, plan: Plan, progress: Progress = _quiet) -> Simulated:
    """Simulate viewers of the catalogue in PostgreSQL, send what they do into the event log, and write the truth.

    The same plan over the same catalogue sends the same bytes with the same ids, so doing it twice changes nothing
    in the marts. PostgreSQL and Redis must be running.

    Raises:
        SimulationError: nothing to watch, or the run's name is taken by another simulation.
        LogUnavailableError: the event log does not take entries.
    """
    with connect(settings) as connection:
        world = read_world(connection)
        folder = settings.lake.truth / run_name(plan, world)
        truth.check_free(folder, plan, world)
        made = generate(plan, world, progress)
        add_viewers(connection, made.viewers)
    digest = hashlib.sha256()
    accepted, refused = _send(settings, made, digest.update, progress)
    truth.write(folder, plan, world, made.frames, made.documents, digest.hexdigest())
    return Simulated(
        run=made.run,
        viewers=len(made.viewers),
        sent=made.deliveries.height,
        accepted=accepted,
        refused=refused,
        truth=folder,
        totals=made.totals,
        effects=made.documents["experiments"],
    )


def judged(made: Generated, seen: Callable[[bytes], None] = lambda _: None) -> Iterator[intake.Batch]:
    """Everything that was sent, through the same door as live events. `seen` gets the bytes of each object."""
    for received_at, objects in batches(made.deliveries, made.running):
        for item in objects:
            seen(item if isinstance(item, bytes) else orjson.dumps(item))
        yield intake.accept(objects, received_at=received_at, origin=ORIGIN)


def viewers_for(plan: Plan, world: World, events: int) -> Plan:
    """The plan with as many viewers as send about this many events."""
    sample = shard(replace(plan, viewers=BLOCK), world, 0).delivered.deliveries.height
    return replace(plan, viewers=max(1, round(events * BLOCK / max(sample, 1))))


def _send(settings: Settings, made: Generated, seen: Callable[[bytes], None], progress: Progress) -> tuple[int, int]:
    accepted = refused = 0
    waiting: list[intake.Entry] = []
    client = log.connect(settings.events())
    try:
        for batch in judged(made, seen):
            accepted += batch.accepted
            refused += len(batch.rejections)
            waiting += batch.entries
            if len(waiting) >= _APPEND:
                log.append(client, waiting)
                waiting = []
                progress("events", accepted + refused, made.deliveries.height)
        log.append(client, waiting)
        progress("events", accepted + refused, made.deliveries.height)
    finally:
        client.close()
    return accepted, refused


def _about(run: str, people: Population, chosen: arms.Arms) -> pl.DataFrame:
    """What every event of a viewer says about the viewer."""
    columns: dict[str, Any] = {
        "viewer": pl.Series(people.number, dtype=pl.Int32),
        "account_id": [account_id(run, int(number)) for number in people.number],
        "device": [DEVICES[i] for i in people.device],
        "country": [COUNTRIES[i] for i in people.country],
    }
    variants = {e.name: list(v) for e, v in zip(chosen.experiments, chosen.variants, strict=True)}
    return pl.DataFrame(columns | variants)
