"""Commands of the warehouse: look at what is published, decide about what is held back, write the report."""

import sys
from typing import Annotated

import typer

from matinee.console import console, table
from matinee.settings import Settings

app = typer.Typer(no_args_is_help=True)
held_app = typer.Typer(no_args_is_help=True, help="Landed batches that the data-quality gate did not let in.")
app.add_typer(held_app, name="held")

_SHOWN = 200


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL, over the marts of the current snapshot.")],
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values on stdout, all rows.")] = False,
) -> None:
    """Ask the published marts a question. `matinee sql "SHOW TABLES"` lists them."""
    from warehouse.ask import ask

    answer = ask(Settings.load(), query)
    if csv:
        answer.to_csv(sys.stdout)
        return
    rows = [["" if value is None else value for value in row] for row in answer.rows[:_SHOWN]]
    console.print(table("", answer.columns, rows))
    shown = f"first {_SHOWN:,} of {len(answer.rows):,}" if len(answer.rows) > _SHOWN else f"{len(answer.rows):,}"
    console.print(f"{shown} rows from snapshot {answer.snapshot_id}")


@app.command()
def report() -> None:
    """Write the report on viewing and experiments as one page that opens from disk."""
    from warehouse.report import write_report

    page = write_report(Settings.load())
    console.print(f"report: {page}", soft_wrap=True)


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
