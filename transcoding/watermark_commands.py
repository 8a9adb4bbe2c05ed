"""`matinee watermark`: find out where a leaked copy comes from."""

from pathlib import Path
from typing import Annotated

import typer

from matinee.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Session watermarks: name the session that a leaked copy comes from.")
_SHOWN = 5


@app.callback()
def group() -> None:
    """Session watermarks: name the session that a leaked copy comes from."""


@app.command()
def detect(
    file: Annotated[Path, typer.Argument(help="The copy: a file in any format that ffmpeg reads.")],
    title: Annotated[str, typer.Option("--title", help="The title that it shows.")],
    package: Annotated[str | None, typer.Option("--package", help="Its package; none: the one that plays now.")] = None,
) -> None:
    """Read the watermark of a copy and compare it with every playback session of the package.

    The copy may be a piece of the film, re-encoded, scaled, cropped a little, brighter or darker. It must run at the
    film's speed, and a copy that averages the pictures of several sessions names nobody.
    """
    from matinee.console import console, progress, table
    from matinee.db.connect import connect
    from matinee.stack.session import services
    from transcoding.forensics.trace import FALSE_ALARM, trace

    settings = Settings.load()
    with services(settings), connect(settings, autocommit=True) as connection, progress() as bar:
        task = bar.add_task("reading the copy", total=1.0)
        found = trace(settings, connection, file, title, package, lambda done: bar.update(task, completed=done))
    copy, readings = found.copy, found.copy.readings
    read = sum(reading.bit is not None for reading in readings)
    console.print(
        f"{file.name} begins at frame {copy.first_frame} of package {found.package_id}; {read} of {len(readings)} "
        f"segments could be read, compared with {found.sessions:,} sessions"
    )
    if found.matches:
        rows = [
            (m.session.playback_id, m.session.account_id, f"{m.session.created_at:%Y-%m-%d %H:%M}",
             f"{m.matched}/{m.read}", f"{m.chance:.2g}")
            for m in found.matches[:_SHOWN]
        ]  # fmt: skip
        columns = ("session", "account", "opened", "bits that match", "probability by chance")
        console.print(table("Best sessions", columns, rows))
    if found.found is None:
        console.print(f"no session: none matches better than chance would below {FALSE_ALARM:g}")
    else:
        console.print(f"session {found.found.session.playback_id} of account {found.found.session.account_id}")
