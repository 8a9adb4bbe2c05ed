"""`matinee`: every room's commands under one name."""

import os
import sys
from typing import Annotated

import click
import typer

import ingest.commands
import matinee.commands
import models.commands
import orchestration.commands
import orchestration.forget
import serving.commands
import simulation.commands
import transcoding.commands
import warehouse.commands
from matinee.errors import MatineeError
from orchestration.processes import processes

app = typer.Typer(
    name="matinee",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Films in, a service out, and everything viewers do flows back onto the screen.",
)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    if debug:
        os.environ["MATINEE_DEBUG"] = "1"


ROOMS = (
    orchestration.commands.app,
    orchestration.forget.app,
    matinee.commands.make_app(processes),
    ingest.commands.app,
    transcoding.commands.app,
    warehouse.commands.app,
    models.commands.app,
    serving.commands.app,
    simulation.commands.app,
)
for room in ROOMS:
    app.add_typer(room)


def main() -> None:
    """Exit 0: done; 1: failed, one line on stderr says why; 2: wrong usage."""
    try:
        app()
    except (MatineeError, OSError) as error:
        if os.environ.get("MATINEE_DEBUG"):
            raise
        _fail(_words(error), code=1)
    except KeyboardInterrupt:
        _fail("interrupted", code=130)


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return str(error)


def _fail(message: str, code: int) -> None:
    click.secho("matinee: ", fg="red", bold=True, err=True, nl=False)
    click.echo(" ".join(message.split()), err=True)
    sys.exit(code)
