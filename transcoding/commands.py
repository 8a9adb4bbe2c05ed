"""The room's part of the command line: the worker that packages masters as they come in."""

import time
from collections.abc import Callable

import typer

from matinee.settings import Settings
from transcoding import watermark_commands
from transcoding.checker import commands as checker_commands

app = typer.Typer(no_args_is_help=True)
app.add_typer(watermark_commands.app, name="watermark")
app.add_typer(checker_commands.app)
_POLL_S = 2.0


def transcode(settings: Settings, drain: bool) -> None:
    """Package what waits; with `drain` once, otherwise until told to stop."""
    from matinee.console import console, table
    from matinee.stack.session import services
    from transcoding.build import transcode_pending

    with services(settings):
        while True:
            outcomes = transcode_pending(settings)
            if outcomes:
                rows = [(o.title_id, o.state, o.reason or ", ".join(r["name"] for r in o.rungs)) for o in outcomes]
                console.print(table(f"Packages in {settings.media}", ("title", "state", "rungs or reason"), rows))
            if drain:
                return
            time.sleep(_POLL_S)


workers: dict[str, Callable[[Settings, bool], None]] = {"transcode": transcode}
