"""`build`, `demo`, `worker`, `bench`, `notebook`: the commands that need more than one room."""

import importlib.util
import inspect
import json
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from matinee.errors import MatineeError
from matinee.settings import Settings
from orchestration import REPOSITORY

app = typer.Typer(no_args_is_help=True)
_DAY = ["%Y-%m-%d"]


@app.command()
def build(
    selection: Annotated[str, typer.Argument(help="Dagster asset selection, e.g. 'group:features'.")] = "*",
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Transform all events again.")] = False,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DAY, help="Build this event day and those after it again.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=_DAY, help="The last of them.")] = None,
) -> None:
    """Materialise the asset graph: land, transcode, load, transform, publish, train, serve."""
    from matinee.console import console
    from matinee.stack.session import services
    from orchestration.build import BuildError
    from orchestration.build import build as run
    from orchestration.show import show_build, show_what_failed

    settings = Settings.load()
    again = _range(first, until)
    try:
        with services(settings), console.status("building the asset graph"):
            made = run(settings, selection, full_refresh=full_refresh, again=again)
    except BuildError as error:
        show_what_failed(settings, error)
        raise
    show_build(settings, made)


def _range(first: datetime | None, until: datetime | None) -> tuple[date, date] | None:
    if first is None and until is not None:
        raise typer.BadParameter("--until needs --from: the first day of the range")
    if first is None:
        return None
    last = (until or datetime.now(UTC)).date()
    if last < first.date():
        raise typer.BadParameter(f"--until {last} is before --from {first.date()}")
    return first.date(), last


@app.command()
def demo(
    serve: Annotated[bool, typer.Option(help="Stay up and serve what was built.")] = True,
    home: Annotated[Path | None, typer.Option(help="Where everything is put.")] = None,
    viewers: Annotated[int, typer.Option(help="How many viewers are simulated.", min=20)] = 400,
    days: Annotated[int, typer.Option(help="For how many days, up to today.", min=7)] = 30,
) -> None:
    """Build a small service from nothing (generated films, catalogue, a month of viewers) and serve it."""
    from orchestration.demo import run_demo

    if home is not None:
        os.environ["MATINEE_HOME"] = str(home.absolute())
    run_demo(Settings.load(), serve=serve, viewers=viewers, days=days)


@app.command()
def worker(
    name: Annotated[str, typer.Argument(help="collector, marts, models, outbox, recommendations or transcode.")],
    drain: Annotated[bool, typer.Option("--drain", help="Do what waits, then stop.")] = False,
) -> None:
    """Run one worker of a room until it is stopped."""
    from ingest.commands import workers as ingest_workers
    from matinee.stack.session import services
    from models.commands import workers as models_workers
    from serving.commands import workers as serving_workers
    from transcoding.commands import workers as transcoding_workers
    from warehouse.commands import workers as warehouse_workers

    workers = {**ingest_workers, **transcoding_workers, **warehouse_workers, **serving_workers, **models_workers}
    if name not in workers:
        raise typer.BadParameter(f"there is no worker {name!r}: choose one of {', '.join(sorted(workers))}")
    settings = Settings.load()
    with services(settings):
        workers[name](settings, drain)


@app.command()
def freshness() -> None:
    """When each asset was made, how fresh it must be, and which are late; exit 1 where one is."""
    from matinee.console import console, table
    from matinee.stack.session import services
    from orchestration.freshness import of_home

    settings, now = Settings.load(), datetime.now(UTC)
    with services(settings):
        targets, failed = of_home(settings)
    rows = [
        (
            target.asset,
            target.owner,
            f"{target.made_at:%Y-%m-%d %H:%M}" if target.made_at else "never",
            target.within.total_seconds() / 3600,
            f"late by {late.total_seconds() / 3600:.1f} h" if (late := target.late(now)) else "",
        )
        for target in sorted(targets, key=lambda target: (target.late(now) is None, target.asset))
    ]
    console.print(table("freshness", ("asset", "owner", "made (UTC)", "within h", ""), rows))
    for name, why in failed.items():
        console.print(f"check failed: {name} {why}".strip(), style="red", markup=False)
    if late := [target.asset for target in targets if target.late(now)]:
        raise MatineeError(f"{len(late)} of {len(targets)} assets are late: `matinee build`, or see the Dagster page")
    console.print(f"no asset is late; what becomes so is told to {settings.alerts_to}")


@app.command()
def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A mart, a snapshot's id (or `current`), a model version or MLflow run, the request id of a "
            "recommendation, a title or package, or a landed file.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Both trees as JSON.")] = False,
) -> None:
    """Follow a number back to the landed files and places in the event log that it comes from, and on to its uses."""
    from matinee.console import console
    from matinee.stack.session import services
    from orchestration.lineage import trace
    from orchestration.show import tree

    settings = Settings.load()
    with services(settings):
        found = trace(settings, name)
    if as_json:
        print(json.dumps({"made_of": found.made_of.data(), "used_by": found.used_by.data()}, indent=1, default=str))
        return
    console.print(tree("made of", found.made_of))
    console.print(tree("used by", found.used_by))


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="catalogue, demo, gateway, serving, transcoding, warehouse; any other name lists them all."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Rows as JSON instead of a table.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Also measure anew what is read from a record.")] = False,
    events: Annotated[int | None, typer.Option(help="How many events `warehouse` makes; a million by default.")] = None,
) -> None:
    """Measure one part of Matinee against its reference, both in one run."""
    from matinee.console import console, table

    folder, name = REPOSITORY / "benchmarks", name.replace("-", "_")
    files = (*folder.glob("*.py"), *folder.glob("*/__init__.py"))
    known = {
        (file.parent if file.stem == "__init__" else file).stem for file in files if "\ndef run(" in file.read_text()
    }
    if name not in known:
        choice = ", ".join(sorted(each.replace("_", "-") for each in known))
        raise typer.BadParameter(f"there is no benchmark {name!r}: choose one of {choice}")
    sys.path.insert(0, str(REPOSITORY))  # they import one another, and are no part of what is installed
    module = importlib.import_module(f"benchmarks.{name}")
    recorded = "retrain" in inspect.signature(module.run).parameters
    if retrain and not recorded:
        raise typer.BadParameter(f"benchmark {name!r} keeps no record: it measures everything in each run")
    if events is not None and "events" not in inspect.signature(module.run).parameters:
        raise typer.BadParameter(f"benchmark {name!r} takes no number of events")
    wanted = {} if events is None else {"events": events}
    rows = module.run(retrain=retrain, **wanted) if recorded else module.run(**wanted)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    columns = ["name", "value", "unit", "reference", "ratio", "goal", "holds"]
    columns += [extra for extra in ("interval", "recorded") if any(extra in row for row in rows)]
    console.print(table(f"benchmark: {name}", columns, [[row.get(column, "") for column in columns] for row in rows]))


@app.command()
def notebook() -> None:
    """Open JupyterLab in notebooks/; there, `matinee.connect()` is the current snapshot."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise MatineeError("JupyterLab is not installed: run `make install-notebook`, then try again")
    settings = Settings.load()
    os.environ.update(settings.environment())
    folder = REPOSITORY / "notebooks"
    arguments = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--notebook-dir={folder}"]
    os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter


_secrets = typer.Typer(no_args_is_help=True, help="The secrets of this home.")
app.add_typer(_secrets, name="secrets")


@_secrets.command("rotate")
def rotate_secrets() -> None:
    """Change the key-encryption key: every content key is wrapped anew, packages stay as they are and play on."""
    from matinee.console import console
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from transcoding.keys import rotate

    settings = Settings.load()
    with services(settings), connect(settings, autocommit=True) as connection, console.status("wrapping keys"):
        version, changed = rotate(connection, settings)
    console.print(
        f"{changed} content keys are wrapped by key-encryption key {version} now, which is in {settings.home.secrets}; "
        "make a new `matinee backup`: older ones hold the old key",
        soft_wrap=True,
    )
