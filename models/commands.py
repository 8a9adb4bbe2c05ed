"""`matinee models`: what was trained, what serves, and why."""

import typer

from matinee.settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.command()
def models() -> None:
    """List the registered recommenders: version, alias, snapshot and verdict."""
    from matinee.console import console, table
    from matinee.stack.session import services
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
