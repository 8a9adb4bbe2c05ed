"""`matinee models`: what was trained and what serves; judge, promote, go back, rebuild. `worker models` follows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.settings import Settings

if TYPE_CHECKING:
    from models.recommenders.follow import Serving

app = typer.Typer(no_args_is_help=True)
models_app = typer.Typer(no_args_is_help=True, help="The registered recommenders: which serves, and which may.")
app.add_typer(models_app, name="models")

_Version = Annotated[str, typer.Argument(help="A version's number, or `champion` or `challenger`.")]


@models_app.command("list")
def list_() -> None:
    """List the registered recommenders: version, alias, snapshot and verdict."""
    from matinee.console import console, table
    from matinee.stack.session import services
    from models.recommenders.follow import status
    from models.recommenders.registry import MODEL, versions

    settings = Settings.load()
    with services(settings):
        found = versions(settings)
    rows = [
        (int(v.version), ", ".join(v.aliases), v.tags.get("snapshot_id", ""), v.tags.get("verdict", "")) for v in found
    ]
    console.print(table(MODEL, ("version", "alias", "snapshot", "verdict"), rows))
    if not any("champion" in v.aliases for v in found):
        console.print("no champion: recent popularity serves; `matinee build` trains")
    if (following := status(settings.home)) and following.failures:
        told = f"{following.failures} since {following.since} in a row, the last: {following.why}"
        console.print(f"failures to bring the champion to where it serves: {told}", style="red", markup=False)


@models_app.command()
def gate(version: _Version) -> None:
    """Judge a version again on its snapshot, every contender fitted anew; exit 1 where it may not serve."""
    from matinee.console import console, table
    from matinee.stack.session import services
    from models.errors import ModelError
    from models.recommenders import manage

    settings = Settings.load()
    with services(settings), console.status("fitting every contender to every fold"):
        judged = manage.gate(settings, version)
    rows = [(check.name, "yes" if check.passed else "NO", check.text, check.bar) for check in judged.verdict.checks]
    console.print(table("gate", ("check", "passed", "measured", "bar"), rows))
    if not judged.promoted:
        raise ModelError(judged.text)
    console.print(judged.text, markup=False)


@models_app.command()
def promote(
    version: _Version,
    force: Annotated[bool, typer.Option("--force", help="Past the gate; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the version.")] = "",
) -> None:
    """Let a version serve, where the gate lets it."""
    from matinee.stack.session import services
    from models.recommenders import manage

    settings = Settings.load()
    with services(settings):
        _told(manage.promote(settings, version, force=force, reason=reason)[1])


@models_app.command()
def rollback() -> None:
    """Let the champion before this one serve again."""
    from matinee.stack.session import services
    from models.recommenders import manage

    settings = Settings.load()
    with services(settings):
        _told(manage.rollback(settings)[1])


@models_app.command()
def rebuild(version: _Version) -> None:
    """Fit a version again from its record; exit 1 where it does not reach the same metrics within 0.002."""
    from matinee.console import console, table
    from matinee.stack.session import services
    from models.recommenders import manage

    settings = Settings.load()
    with services(settings), console.status("fitting again"):
        made = manage.rebuild(settings, version)
    rows = [(name, f"{before:.6f}", f"{now:.6f}") for name, (before, now) in made.metrics.items()]
    console.print(table(f"version {made.version} again", ("metric", "recorded", "now"), rows))
    console.print(f"the same within {made.furthest:.6f}, from snapshot {made.snapshot_id}")


def _told(serving: "Serving") -> None:
    from matinee.console import console

    console.print(f"{serving.name} {serving.version} ({serving.kind}, snapshot {serving.snapshot_id}) serves")
    if serving.kept_because:
        console.print(f"[red]it is not what was asked for:[/red] {serving.kept_because}")


def _follow(settings: Settings, drain: bool) -> None:
    from models.recommenders.follow import follow

    follow(settings, drain_only=drain)


workers: dict[str, Callable[[Settings, bool], None]] = {"models": _follow}
