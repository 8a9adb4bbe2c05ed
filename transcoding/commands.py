"""The room's part of the command line: the worker that packages masters as they come in, and a look at its queue."""

from collections.abc import Callable
from typing import Annotated

import typer

from matinee.settings import Settings
from transcoding import watermark_commands
from transcoding.checker import commands as checker_commands

app = typer.Typer(no_args_is_help=True)
app.add_typer(watermark_commands.app, name="watermark")
app.add_typer(checker_commands.app)


def transcode(settings: Settings, drain: bool) -> None:
    """Package what waits; with `drain` until nothing is left, otherwise until told to stop.

    Any number of these may run, on any machines that share the database, the media store and the home's `secrets`.
    """
    from matinee.stack.session import services
    from transcoding.build import transcode_pending
    from transcoding.serve import serve

    with services(settings):
        if drain:
            _tell(settings, transcode_pending(settings))
        else:
            serve(settings, lambda outcomes: _tell(settings, outcomes))


def _tell(settings: Settings, outcomes: list) -> None:
    from matinee.console import console, table

    if outcomes:
        rows = [(o.title_id, o.state, o.reason or ", ".join(rung["name"] for rung in o.rungs)) for o in outcomes]
        console.print(table(f"Packages in {settings.media}", ("title", "state", "rungs or reason"), rows))
        made = [o for o in outcomes if o.state == "published"]
        reports = [(o.title_id, str(settings.media / o.title_id / o.package_id / "report.html")) for o in made]
        console.print(table("Reports, to open in a browser", ("title", "page"), reports))


@app.command()
def transcodes(
    most: Annotated[int, typer.Option(help="How many titles to list.")] = 50,
) -> None:
    """List the transcoding queue: what is under way, what waits, and what ended in the last day."""
    from matinee.console import console, table
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from transcoding.progress import queue_rows

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        rows = [row.cells() for row in queue_rows(connection, most)]
    columns = ("title", "state", "treatment", "tasks", "done", "left", "attempts", "error")
    console.print(table(f"Transcoding to {settings.media}", columns, rows))
    if not rows:
        console.print("Nothing is queued. `matinee ingest masters DIR` brings films in.")


workers: dict[str, Callable[[Settings, bool], None]] = {"transcode": transcode}
