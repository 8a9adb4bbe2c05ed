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
    events: Annotated[
        int | None, typer.Option(help="Take as many viewers as send about this many events: 10_000, 100_000_000.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; it becomes part of the accounts' ids.")] = None,
    direct: Annotated[
        bool | None,
        typer.Option(
            "--direct/--through-the-log",
            help="Land events at once instead of through the event log. Default: from a million events on.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Simulate viewers of the catalogue, and write down the truth about them.

    They choose by taste, popularity and place on the screen, leave what bores them or stalls, and rate some of it. An
    experiment with a known effect runs. They sign up, try, pay, fail to pay, change plans, pause, leave and come back
    (subscriptions in PostgreSQL); who watches more leaves less. Crawlers come too, flagged as bots.

    Small runs go into the event log, as live events do, with duplicates, late and broken ones among them; `matinee
    drain` lands them. Large ones land at once, in flat memory, as the same rows; only what must be refused goes through
    the log, so that there are dead letters.

    The truth goes to lake/truth/<run>/: what each mart must say (title_day, qoe_hour, mrr_month and others, Parquet in
    the marts' own columns), what each experiment really does (experiments.json), what was broken on purpose
    (ledger.parquet) and the SHA-256 of everything (manifest.json).
    """
    settings = Settings.load()
    done = run_plan(settings, SystemClock(), viewers, days, seed, end, events, run, direct)
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
    direct: bool | None = None,
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
        return carry_out(settings, plan, tell, direct=direct)


def report(done: "Simulated") -> None:
    totals = done.totals
    rows = [
        ("viewers", done.viewers),
        ("of them once paying", done.customers),
        ("events sent", done.sent),
        ("by crawlers", totals["bots"]),
        ("accepted", done.accepted),
        ("accepted, distinct", totals["distinct_events"]),
        ("refused", done.refused),
        ("late by an hour or more", totals["late"]),
        ("lost on the way", totals["fates"]["lost"]),
        ("plays", totals["plays"]),
        ("hours", totals["hours"]),
    ]
    console.print(table(f"Simulated run {done.run}", ("what", "how many"), rows))
    effects = [(e["experiment"], e["metric"], e["control"], e["effect"]) for e in done.effects]
    console.print(table("What the experiments truly do", ("experiment", "metric", "control", "effect"), effects))
    way = "in the lake, the refused ones in the event log" if done.direct else "in the event log"
    console.print(f"Events: {way}. Truth: {done.truth}")
    console.print("Next: `matinee drain` lands what waits in the log, `matinee build` makes the marts.")


@contextmanager
def _bars() -> "Iterator[Progress]":
    with progress() as bar:
        tasks = {}

        def tell(stage: str, count: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"simulating {stage}", total=of)
            bar.update(tasks[stage], completed=count)

        yield tell
