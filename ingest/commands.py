"""The commands of this room: what comes in by hand, and the collector."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.console import console, table
from matinee.settings import Settings

if TYPE_CHECKING:
    from ingest.feed import Rejected

_SHOWN = 20

app = typer.Typer(no_args_is_help=True)
ingest = typer.Typer(no_args_is_help=True, help="Bring in a catalogue feed or a folder of films.")
imports = typer.Typer(no_args_is_help=True, help="Bring in histories from elsewhere.")
letters = typer.Typer(no_args_is_help=True, help="Events that were refused: look at them, and try them once more.")
app.add_typer(ingest, name="ingest")
app.add_typer(imports, name="import")
app.add_typer(letters, name="deadletters")


@ingest.command()
def catalog(feed: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines, one title a line.")]) -> None:
    """Bring the titles of a feed into the catalogue.

    Wrong lines are kept aside with their number and reason while the rest goes on; running it twice changes nothing.
    Ends with 0 when at least one line could be used (or the file is empty), with 1 when none could.
    """
    from ingest.catalog import ingest_feed
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        summary = ingest_feed(connection, feed)
    titles = summary.titles
    rows = [(titles.added, titles.changed, titles.unchanged, len(summary.rejected))]
    console.print(table(f"Catalogue feed {feed.name}", ("new", "changed", "unchanged", "rejected"), rows))
    _print_rejected(summary.rejected)
    if summary.rejected and not summary.used:
        raise typer.Exit(1)


@app.command()
def drain() -> None:
    """Land all that waits in the event log, and say what came."""
    from ingest import collector
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings):
        summary = collector.drain(settings)
    rows = [(summary.events, summary.dead, summary.files, summary.last_id)]
    console.print(table("Landed from the event log", ("events", "dead letters", "files", "up to"), rows))
    console.print(f"in {settings.lake.landing_events}" + (f" and {settings.lake.dead}" if summary.dead else ""))


@letters.command("list")
def list_letters(
    code: Annotated[str | None, typer.Option(help="Only those with this code.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that were replayed, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = _SHOWN,
) -> None:
    """Dead letters by code, and the newest of them."""
    from ingest import deadletters
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        counts = deadletters.counts(connection)
        newest = deadletters.newest(connection, code=code, waiting=not every, limit=limit)
    console.print(table("Dead letters", ("code", "waiting", "replayed"), counts))
    rows = [
        (letter.log_id, f"{letter.received_at:%Y-%m-%d %H:%M:%S}", letter.origin, letter.code, letter.reason[:80])
        for letter in newest
    ]
    console.print(table("Newest", ("id", "received (UTC)", "origin", "code", "reason"), rows))


@letters.command()
def show(log_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """One dead letter, opened: its reason and what was sent."""
    from ingest import deadletters
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        letter, body = deadletters.show(connection, settings, log_id)
    replayed = f", replayed as {letter.replayed_as}" if letter.replayed_as else ""
    console.print(f"{letter.log_id}  {letter.received_at:%Y-%m-%d %H:%M:%S} UTC  {letter.origin}{replayed}")
    console.print(f"{letter.code}: {letter.reason}", markup=False)
    console.print(deadletters.pretty(body), markup=False, highlight=False, soft_wrap=True)


@letters.command()
def replay(code: Annotated[str | None, typer.Option(help="Only those with this code.")] = None) -> None:
    """Judge waiting dead letters once more and append those that pass to the event log, with their own ids."""
    from ingest import deadletters, log
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        client = log.connect(settings.events())
        try:
            summary = deadletters.replay(connection, settings, client, code=code)
        finally:
            client.close()
    rows = [(summary.accepted, summary.refused, summary.unreadable)]
    console.print(table("Replayed", ("accepted", "refused again", "unreadable"), rows))
    if summary.accepted:
        console.print("they wait in the event log: `matinee drain` lands them")


def _print_rejected(rejected: "Sequence[Rejected]") -> None:
    if rejected:
        rows = [(line.number, line.reason) for line in rejected[:_SHOWN]]
        title = f"Rejected lines ({len(rejected)}), kept in the table feed_rejection"
        console.print(table(title, ("line", "reason"), rows), markup=False)
    if len(rejected) > _SHOWN:
        console.print(f"… and {len(rejected) - _SHOWN} more in the table feed_rejection")


def _collector(settings: Settings, drain_only: bool) -> None:
    from ingest import collector

    collector.run(settings, drain_only)


workers: dict[str, Callable[[Settings, bool], None]] = {"collector": _collector}
