"""`up`, `down`, `status`, `doctor`, `backup`, `restore`: the local stack from the command line."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.settings import Settings

if TYPE_CHECKING:
    from matinee.stack.launch import Processes
    from matinee.stack.state import ServiceState, StackState

# What `status --json` promises, in this order.
STATUS_FIELDS = ("name", "state", "pid", "address", "log", "since", "restarts")

Only = Annotated[list[str] | None, typer.Option("--only", help="Only this service and what it needs; may be repeated.")]


def make_app(processes: "Processes") -> typer.Typer:
    """The commands of the stack. `processes` describes what the rooms above want to be kept running."""
    app = typer.Typer(no_args_is_help=True)

    @app.command()
    def up(
        detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
        only: Only = None,
    ) -> None:
        """Start everything and keep it running: in the foreground until Ctrl-C, or in the background."""
        from matinee.console import console
        from matinee.stack import launch
        from matinee.stack.state import State, living

        settings = Settings.load()
        if not detach:
            launch.run(settings, processes, only=only or (), note=_note, on_ready=_show_links)
            return
        now = living(settings.home)
        if now is not None:
            console.print(f"already up (pid {now.supervisor.pid})")
        else:
            # No spinner: its thread would be running while the background process is forked.
            console.print(f"starting the stack of {settings.home.root}", soft_wrap=True, highlight=False)
            now = launch.start_detached(settings, processes, only=only or ())
        _show_links(now)
        if any(service.state is State.FAILED for service in now.services):
            raise typer.Exit(1)

    @app.command()
    def down() -> None:
        """Stop everything that runs in this home, and wait until it is down."""
        from matinee.console import console
        from matinee.stack import launch

        settings = Settings.load()
        with console.status("stopping the stack"):
            stopped = launch.stop(settings, note=_note)
        where = settings.home.root
        console.print(f"stopped {', '.join(stopped)}" if stopped else f"nothing was running in {where}", soft_wrap=True)

    @app.command()
    def status(as_json: Annotated[bool, typer.Option("--json", help="As a JSON list.")] = False) -> None:
        """What runs in this home: state, process, address and log file of every service."""
        from matinee.console import console, table
        from matinee.stack import launch

        settings = Settings.load()
        rows = [_status_row(service) for service in launch.status(settings, processes)]
        if as_json:
            typer.echo(json.dumps(rows, indent=1))
            return
        columns = ("name", "state", "pid", "address", "since (UTC)", "restarts")
        console.print(table(f"the stack of {settings.home.root}", columns, [_readable(row) for row in rows]))
        console.print(f"what each service says: {settings.home.logs}/<name>.log", soft_wrap=True, highlight=False)
        _show_disk(settings)

    @app.command()
    def doctor() -> None:
        """Check this machine: what is there, what is missing and how to get it. Exit 1 if something required is."""
        from matinee.console import console, table
        from matinee.doctor import examine

        checks = examine(Settings.load())
        columns = ("what", "state", "found", "how to get it")
        console.print(table("doctor", columns, [(c.name, c.verdict, c.found, c.remedy) for c in checks]))
        if any(check.required and not check.ok for check in checks):
            raise typer.Exit(1)

    @app.command("backup")
    def backup_command(file: Annotated[Path, typer.Argument(help="A new .tar.gz or .tar.zst file.")]) -> None:
        """Write PostgreSQL, the event log, the lake, models and secrets to one file (media files: only a list)."""
        from matinee.backup import backup
        from matinee.console import console

        settings = Settings.load()
        with console.status("backing up"):
            made = backup(settings, file)
        console.print(
            f"{file}: {len(made.databases)} databases, {made.files:,} files, {file.stat().st_size / 1e6:,.1f} MB; "
            f"it holds secrets. Media: {made.media:,} files are listed, not copied: keep {settings.media} too.",
            soft_wrap=True,
        )

    @app.command("restore")
    def restore_command(file: Annotated[Path, typer.Argument(help="What `matinee backup` wrote.")]) -> None:
        """Bring back a lost home: only into an empty one."""
        from matinee.backup import restore
        from matinee.console import console

        settings = Settings.load()
        with console.status("restoring"):
            made = restore(settings, file)
        console.print(
            f"restored {len(made.databases)} databases and {made.files:,} files into {settings.home.root}. "
            f"Next: put {made.media:,} media files back into {settings.media}, `matinee build`, `matinee up`.",
            soft_wrap=True,
        )

    return app


def _status_row(service: "ServiceState") -> dict[str, object]:
    whole = asdict(service)
    return {field: whole[field] for field in STATUS_FIELDS}


def _readable(row: dict[str, object]) -> list[object]:
    """The row without what is alike in all of them: the folder of the logs, the year and the seconds."""
    since = str(row["since"] or "")[5:16].replace("T", " ")
    return [row["name"], row["state"], row["pid"] or "", row["address"], since, row["restarts"]]


def _show_links(now: "StackState") -> None:
    from matinee.console import console, table
    from matinee.stack.state import State

    failed = [service.name for service in now.services if service.state is State.FAILED]
    title = f"the stack is up without {', '.join(failed)}" if failed else "the stack is up"
    rows = [(service.name, service.state, service.reason or service.address) for service in now.services]
    console.print(table(title, ("service", "state", "where"), rows))


def _show_disk(settings: Settings) -> None:
    from matinee.console import errors
    from matinee.stack.state import living
    from matinee.stack.supervisor import low_disk

    now = living(settings.home)
    if now and now.disk.low:
        errors.print(low_disk(settings, now.disk), style="bold red", soft_wrap=True)


def _note(text: str) -> None:
    typer.echo(f"matinee: {text}", err=True)
