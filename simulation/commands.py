"""`matinee simulate`: a month of viewers in the event log, and the truth about them in the lake."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.clock import Clock, SystemClock
from matinee.console import console, progress, table
from matinee.settings import Settings

if TYPE_CHECKING:
    from simulation.viewers import Progress, Simulated

app = typer.Typer(no_args_is_help=True)


@app.command()
def simulate(
    viewers: Annotated[int, typer.Option(help="How many people watch.")] = 400,
    days: Annotated[int, typer.Option(help="For how many days.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed over the same catalogue gives the same bytes.")] = 1,
    end: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day after the last one (UTC). Default: today.")
    ] = None,
    events: Annotated[int | None, typer.Option(help="Take as many viewers as send about this many events.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; it becomes part of the accounts' ids.")] = None,
) -> None:
    """Simulate viewers of the catalogue.

    They choose by taste, popularity and place on the screen, leave what bores them or stalls, and rate some of it. An
    experiment with a known effect runs. Their events go into the event log with duplicates, late and broken ones among
    them; `matinee drain` lands them. The truth (what the marts must say, what each experiment really does, what was
    broken on purpose) goes to lake/truth/<run>/.
    """
    settings = Settings.load()
    done = run_plan(settings, SystemClock(), viewers, days, seed, end, events, run)
    report(done)


def run_plan(
    settings: Settings,
    clock: Clock,
    viewers: int,
    days: int,
    seed: int,
    end: datetime | None,
    events: int | None,
    run: str | None,
) -> "Simulated":
    """Make the plan that the options describe and carry it out, with the stack running."""
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from simulation.parameters import Plan
    from simulation.viewers import simulate as carry_out
    from simulation.viewers import viewers_for
    from simulation.world import read_world

    plan = Plan(end=(end or clock.now()).date(), viewers=viewers, days=days, seed=seed, run=run)
    with services(settings), _bars() as tell:
        if events is not None:
            with connect(settings) as connection:
                plan = viewers_for(replace(plan, run=run or "scale"), read_world(connection), events)
            plan = replace(plan, run=run)
        return carry_out(settings, plan, tell)


def report(done: "Simulated") -> None:
    totals = done.totals
    rows = [
        ("viewers", done.viewers),
        ("events sent", done.sent),
        ("accepted", done.accepted),
        ("of them distinct", totals["distinct_events"]),
        ("refused", done.refused),
        ("late by an hour or more", totals["late"]),
        ("lost on the way", totals["fates"]["lost"]),
        ("plays", totals["plays"]),
        ("hours", totals["hours"]),
    ]
    console.print(table(f"Simulated run {done.run}", ("what", "how many"), rows))
    effects = [(e["experiment"], e["metric"], e["control"], e["effect"]) for e in done.effects]
    console.print(table("What the experiments truly do", ("experiment", "metric", "control", "effect"), effects))
    console.print(f"Truth: {done.truth}\nNext: `matinee drain` lands the events, `matinee build` makes the marts.")


@contextmanager
def _bars() -> "Iterator[Progress]":
    with progress() as bar:
        tasks = {}

        def tell(stage: str, count: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"simulating {stage}", total=of)
            bar.update(tasks[stage], completed=count)

        yield tell
