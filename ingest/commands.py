"""The commands of this room: what comes in by hand, and the collector."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matinee.console import console, table
from matinee.settings import Settings

if TYPE_CHECKING:
    from ingest.feed import Rejected
    from ingest.judge import Verdict

_SHOWN = 20

Code = Annotated[str | None, typer.Option(help="Only those with this code.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this in their reason.")]

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
    from ingest.errors import IngestError
    from ingest.extra import check_of
    from ingest.masters import link
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        summary = ingest_feed(connection, feed, check=check_of(settings), publish=settings.feed_publishes)
        link(connection)
    titles = summary.titles
    rows = [(titles.added, titles.changed, titles.unchanged, len(summary.rejected))]
    console.print(table(f"Catalogue feed {feed.name}", ("new", "changed", "unchanged", "rejected"), rows))
    _print_rejected(summary.rejected)
    if summary.rejected and not summary.used:
        raise IngestError(f"no line of {feed} could be used: the table above has the reasons")


@ingest.command()
def masters(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of films, or one film.")]) -> None:
    """Take in every film of a folder: checked, copied into the media store, linked to a title.

    A film finds its title by the feed (`extra.master`), else by its own or its folder's name; without one it becomes a
    draft title named after its file. Subtitles beside it come along: film.srt, film.ru.srt, film.en.forced.vtt.
    What cannot be used is refused with its reason, and the rest goes on.
    Ends with 0 also when some were refused, with 1 when there is no film at all that could be used.
    """
    from ingest.errors import IngestError
    from ingest.masters import ingest_masters, readable
    from matinee.console import progress
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings, autocommit=True) as connection, progress() as bar:
        task = bar.add_task("films", total=None)
        outcomes = ingest_masters(
            connection,
            folder,
            settings.media,
            reserve_bytes=settings.disk_watermark_mb * 2**20,
            on_file=lambda path: bar.update(task, advance=1, description=readable(path.name)),
        )
    taken = [o for o in outcomes if o.state != "refused"]
    rows = [(readable(o.path.name), o.state, o.title_id or "", ", ".join(o.subtitles)) for o in taken]
    if rows:
        console.print(table(f"Films of {folder}", ("file", "state", "title", "subtitles"), rows), markup=False)
    _print_refused((o.path, o.reason) for o in outcomes if o.state == "refused")
    accepted, refused = (sum(o.state == state for o in outcomes) for state in ("accepted", "refused"))
    console.print(f"{accepted} accepted, {len(outcomes) - accepted - refused} unchanged, {refused} refused")
    if accepted:
        console.print(f"stored in {settings.media}: `matinee build` makes them play")
    if not outcomes:
        raise IngestError(f"no film in {folder}: hidden files, subtitles, pictures and JSON are passed over")
    if refused == len(outcomes):
        raise IngestError(f"no film of {folder} could be used: the reasons are above")


@ingest.command("judge")
def judge_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Films, or what calls itself one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as one JSON list.")] = False,
) -> None:
    """Look into films without taking them in: accepted, with what will be corrected, or refused, with the reason.

    Ends with 0 when all would be accepted, with 1 when one would be refused.
    """
    from ingest.errors import IngestError
    from ingest.judge import Verdict, judge
    from ingest.masters import readable, unreadable
    from matinee.console import progress

    verdicts: list[Verdict] = []
    with progress() as bar:
        for path in bar.track(files, description="looking"):
            try:
                verdicts.append(judge(path))
            except OSError as error:
                verdicts.append(Verdict(False, unreadable(error)))
    if as_json:
        found = [{"file": readable(path), **v.as_json()} for path, v in zip(files, verdicts, strict=True)]
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        rows = [(readable(path.name), *_judged(v)) for path, v in zip(files, verdicts, strict=True) if v.probe]
        if rows:
            console.print(table("Would be accepted", ("file", "picture", "sound", "corrections"), rows), markup=False)
        _print_refused((path, v.reason) for path, v in zip(files, verdicts, strict=True) if not v.accepted)
    refused = sum(not verdict.accepted for verdict in verdicts)
    if refused:
        raise IngestError(f"{refused} of {len(files)} would be refused: the reasons are above")


def _judged(verdict: "Verdict") -> tuple[str, str, str]:
    found = verdict.probe
    assert found is not None  # accepted
    picture = f"{found.width}x{found.height}, {found.fps:g}/s, {found.duration_ms / 1000:.1f} s"
    sounds = zip(found.languages, found.channels, strict=True)
    sound = ", ".join(f"{language} {channels} ch" for language, channels in sounds)
    return picture, sound, "; ".join(verdict.corrections) or "none"


def _print_refused(refused: Iterable[tuple[Path, str | None]]) -> None:
    from ingest.masters import readable

    for path, reason in refused:
        line = f"refused {readable(path.name)}: {reason}"
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


@imports.command()
def movielens(folder: Annotated[Path, typer.Argument(metavar="DIR", help="ml-latest-small or ml-1m.")]) -> None:
    """Import MovieLens: titles into the catalogue, users as accounts, ratings as events at their own time."""
    from ingest.movielens import import_movielens
    from matinee.console import progress
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection, progress() as bar:
        task = bar.add_task("reading", total=4)
        summary = import_movielens(
            connection, settings.lake, folder, on_step=lambda step: bar.update(task, advance=1, description=step)
        )
    titles = summary.titles
    rows = [
        ("titles", titles.added, titles.changed + titles.unchanged),
        ("accounts", summary.viewers, ""),
        ("ratings", summary.ratings, summary.known),
    ]
    console.print(table(f"MovieLens from {folder}", ("what", "new", "known"), rows))
    if summary.repeated or summary.rejected:
        console.print(
            f"{summary.repeated} ratings stood twice; {summary.rejected} lines rejected (table feed_rejection)"
        )
    console.print(f"ratings are in {settings.lake.landing_imports / 'movielens'}: `matinee build` takes them on")


@app.command()
def drain() -> None:
    """Land all that waits in the event log, and say what came."""
    from ingest import collector
    from matinee.console import progress
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), progress() as bar:
        task = bar.add_task("landing", total=None)
        summary = collector.drain(settings, lambda landed, total: bar.update(task, completed=landed, total=total))
    rows = [(summary.events, summary.dead, summary.files, summary.last_id)]
    console.print(table("Landed from the event log", ("events", "dead letters", "files", "up to"), rows))
    console.print(f"in {settings.lake.landing_events}" + (f" and {settings.lake.dead}" if summary.dead else ""))


@letters.command("list")
def list_letters(
    code: Code = None,
    reason: Reason = None,
    every: Annotated[bool, typer.Option("--all", help="Those that were replayed, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = _SHOWN,
) -> None:
    """Dead letters by code and reason: how many, since when, and which are the newest.

    Reasons that differ in their numbers and in what they quote are counted as one: N and '…' stand there for these.
    """
    from ingest import deadletters
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        groups = deadletters.groups(connection, code=code, reason=reason)
        newest = deadletters.newest(connection, code=code, reason=reason, waiting=not every, limit=limit)
    if not groups:
        console.print("no dead letters: whatever came was an event")
        return
    counted = [
        (g.code, g.summary, g.waiting, g.replayed, f"{g.first_seen:%Y-%m-%d %H:%M}", f"{g.last_seen:%Y-%m-%d %H:%M}")
        for g in groups
    ]
    columns = ("code", "reason", "waiting", "replayed", "first (UTC)", "last (UTC)")
    console.print(table("Dead letters", columns, counted), markup=False)
    if len(groups) > 1:
        console.print(f"{sum(g.waiting for g in groups)} waiting, {sum(g.replayed for g in groups)} replayed")
    rows = [
        (letter.log_id, f"{letter.received_at:%Y-%m-%d %H:%M:%S}", letter.origin, letter.code, letter.reason[:80])
        for letter in newest
    ]
    console.print(table("Newest", ("id", "received (UTC)", "origin", "code", "reason"), rows), markup=False)
    console.print("`matinee deadletters show ID` opens one, `matinee deadletters replay` judges them again")


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
def replay(code: Code = None, reason: Reason = None) -> None:
    """Judge waiting dead letters once more and append those that pass to the event log, with their own ids."""
    from ingest import deadletters, log
    from matinee.db.connect import connect
    from matinee.stack.session import services

    settings = Settings.load()
    with services(settings), connect(settings) as connection:
        client = log.connect(settings.events())
        try:
            summary = deadletters.replay(connection, settings, client, code=code, reason=reason)
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
