"""Commands of the warehouse: look at what is published, decide about what is held back, write the report."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.console import console, table
from matinee.settings import Settings

if TYPE_CHECKING:
    from warehouse.ask import Answer

app = typer.Typer(no_args_is_help=True)
held_app = typer.Typer(no_args_is_help=True, help="Landed batches that the data-quality gate did not let in.")
app.add_typer(held_app, name="held")
spark_app = typer.Typer(no_args_is_help=True, help="The same marts on Spark, for events that outgrow one machine.")
app.add_typer(spark_app, name="spark")
anomalies_app = typer.Typer(no_args_is_help=True, help="Days that look unlike the days before, and stop publication.")
app.add_typer(anomalies_app, name="anomalies")

_SHOWN = 200


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL, over the marts of the current snapshot.")],
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values on stdout, all rows.")] = False,
) -> None:
    """Ask the published marts a question. `matinee sql "SHOW TABLES"` lists them."""
    from warehouse.ask import ask

    _show(ask(Settings.load(), query), csv=csv)


def _show(answer: "Answer", *, csv: bool) -> None:
    if csv:
        answer.to_csv(sys.stdout)
        return
    rows = [["" if value is None else value for value in row] for row in answer.rows[:_SHOWN]]
    console.print(table("", answer.columns, rows))
    shown = f"first {_SHOWN:,} of {len(answer.rows):,}" if len(answer.rows) > _SHOWN else f"{len(answer.rows):,}"
    console.print(f"{shown} rows from snapshot {answer.snapshot_id}")


@app.command()
def metric(
    name: Annotated[str | None, typer.Argument(help="Name of the metric; without one, all are listed.")] = None,
    by: Annotated[list[str] | None, typer.Option("--by", help="Divide by this dimension; may be repeated.")] = None,
    grain: Annotated[str | None, typer.Option("--grain", help="hour, day, week, month, quarter or year.")] = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values on stdout, all rows.")] = False,
) -> None:
    """A metric of the semantic layer over the published marts: `matinee metric mrr --grain month --by plan`."""
    from warehouse.metrics import measure, metrics

    settings = Settings.load()
    if name is None:
        rows = [
            (m.name, m.description, ", ".join(m.dimensions), m.grains[0] if m.grains else "") for m in metrics(settings)
        ]
        console.print(table("", ("metric", "what it is", "divided by", "finest grain"), rows))
        console.print("matinee metric NAME [--by DIMENSION]... [--grain month]", markup=False)
        return
    days = [moment.date() if moment else None for moment in (since, until)]
    answer = measure(settings, name, by=by or (), grain=grain, since=days[0], until=days[1])
    _show(answer, csv=csv)


@app.command()
def report() -> None:
    """Write the report: pages of charts over the current snapshot, in Russian and English, that open from disk."""
    from warehouse.report import write_report

    page = write_report(Settings.load())
    console.print(f"report: {page}", soft_wrap=True)


@app.command()
def failures() -> None:
    """What stops publication: failed models and tests with the rows that broke them, and anomalies."""
    from warehouse.anomalies.record import known_anomalies
    from warehouse.errors import WarehouseError
    from warehouse.failures import last_failures
    from warehouse.show import show_failures, show_looks

    settings = Settings.load()
    failed, looks = last_failures(settings), known_anomalies(settings)
    show_failures(failed)
    show_looks(looks)
    stopping = [f for f in failed if f.status != "warn"], [look for look in looks if not look.passed]
    if any(stopping):
        raise WarehouseError(
            f"{len(stopping[0])} models and tests and {len(stopping[1])} anomaly checks stop publication"
        )
    console.print("nothing stops publication")


@held_app.command("list")
def list_held() -> None:
    """What is held back and why."""
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from warehouse.held import held

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        files = held(connection)
    for file in files:
        console.print(f"{file.batch}  {file.path}  {file.state} since {file.held_at:%Y-%m-%d %H:%M}", soft_wrap=True)
        for reason in file.reasons:
            about = f" in {reason['column']}" if reason["column"] else ""
            example = f", for example {', '.join(reason['sample'][:3])}" if reason["sample"] else ""
            console.print(f"    {reason['check']}{about}: {reason['unexpected']} wrong{example}", soft_wrap=True)
    console.print(f"{len(files)} files; whole results in {settings.lake.build_file.parent / 'gate'}", soft_wrap=True)


@held_app.command("recheck")
def recheck() -> None:
    """Put everything that is held through the gate again."""
    from matinee.stack.session import services
    from warehouse.load import load_days, load_imports

    settings = Settings.load()
    with services(settings):
        done = [load_days(settings, recheck=True), load_imports(settings, recheck=True)]
    still = sum(len(summary.held) for summary in done)
    loaded, rows = sum(summary.files for summary in done), sum(summary.rows for summary in done)
    console.print(f"loaded {loaded} files with {rows:,} events; {still} batches stay held: `matinee held list`")


@held_app.command("accept")
def accept(batch: Annotated[str, typer.Argument(help="Name of the batch, as `matinee held list` shows it.")]) -> None:
    """Let a held batch in as it is; the next build loads it."""
    from matinee.clock import SystemClock
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from warehouse import held

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        paths = held.accept(connection, batch, SystemClock().now())
    console.print(f"accepted {len(paths)} files of {batch}: `matinee build` loads them")


@anomalies_app.command("list")
def list_anomalies() -> None:
    """What the last build found, and what people said about it."""
    from warehouse.anomalies.record import known_anomalies
    from warehouse.show import show_looks

    looks = known_anomalies(Settings.load())
    show_looks(looks)
    if not looks:
        console.print("nobody has looked yet: `matinee build` does")


@anomalies_app.command("accept")
def accept_anomalies(
    names: Annotated[list[str], typer.Argument(help="Ids as `matinee anomalies list` shows them, or whole days.")],
    why: Annotated[str, typer.Option(help="What happened that day; kept beside the decision.")],
    who: Annotated[str | None, typer.Option(help="Who decides; by default the user of this session.")] = None,
) -> None:
    """Say that days are as they should be (a premiere, an outage); the next build publishes them."""
    import getpass

    from warehouse.anomalies.record import accept

    taken = accept(Settings.load(), names, who or getpass.getuser(), why)
    console.print(f"accepted {len(taken)} findings: `matinee build` publishes them")


@spark_app.command("build")
def build_on_spark(
    select: Annotated[str | None, typer.Option(help="dbt's selection; by default every model.")] = None,
) -> None:
    """Build the marts from all loaded files, as Parquet in lake/spark/marts.db."""
    from warehouse import spark
    from warehouse.errors import WarehouseError

    settings = Settings.load()
    with console.status(f"building on Spark, {settings.spark_url}"):
        result = spark.build(settings, select)
    rows = [(node.name, node.status, f"{node.seconds:.1f}") for node in result.nodes]
    console.print(table("Built on Spark", ("model", "status", "seconds"), rows))
    if failed := result.failed:
        raise WarehouseError(f"{failed[0].name} failed on Spark: {' '.join(failed[0].message.split())[:400]}")
    console.print(
        f"marts: {spark.marts(settings)}\n`matinee spark compare` holds them against DuckDB's", soft_wrap=True
    )


@spark_app.command("compare")
def compare_with_spark() -> None:
    """Hold Spark's marts against those of the build file, row for row; exits with 1 where they differ."""
    from warehouse import spark
    from warehouse.errors import WarehouseError

    found = spark.differences(Settings.load())
    rows = [(d.model, d.rows, d.only_duckdb, d.only_spark, ", ".join(d.columns)) for d in found]
    console.print(table("DuckDB and Spark", ("mart", "rows", "only DuckDB", "only Spark", "columns apart"), rows))
    if odd := [d.model for d in found if not d.same]:
        raise WarehouseError(f"{len(odd)} of {len(found)} marts differ, {odd[0]} first: build both from the same files")
    console.print(f"{len(found)} marts are the same, row for row")


def _marts(settings: Settings, drain_only: bool) -> None:
    from warehouse import living

    living.run(settings, drain_only)


workers: dict[str, Callable[[Settings, bool], None]] = {"marts": _marts}
