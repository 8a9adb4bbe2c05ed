"""`matinee demo`: a working service from nothing, in the order in which a real one would come to be."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from rich.table import Table

import matinee
from matinee.clock import SystemClock
from matinee.console import console, progress, table
from matinee.db.connect import connect
from matinee.pseudonyms import Salt
from matinee.settings import Settings
from matinee.stack.session import services
from orchestration.build import build
from orchestration.show import links, show_build

DEMO_EMAIL = "demo@matinee.local"
_COUNTS = {
    "titles": "SELECT count(*) FROM dim_title",
    "of them playable": "SELECT count(*) FROM dim_title WHERE is_playable",
    "accounts": "SELECT count(*) FROM dim_account",
    "playbacks": "SELECT count(*) FROM fct_playback_session",
    "interactions": "SELECT count(*) FROM fct_interaction",
    "exposures": "SELECT count(*) FROM fct_exposure",
}
_PACKAGES = 'key:"transcoding/packages"'
# The demo's films are to be watchable soon; what its viewers like best is then encoded better, for so many CPU seconds.
_ENCODING = {"transcode_treatment": "fast", "transcode_budget_cpu_s": 10.0}
_PLAYABLE = 'key:"ingest/catalogue" or key:"ingest/masters" or ' + _PACKAGES


def run_demo(settings: Settings, *, serve: bool, viewers: int, days: int) -> None:
    """Catalogue and films, viewers and their month, the whole asset graph; then serve it, or stop there."""
    started = time.monotonic()
    settings = _quick(settings)
    settings.home.create()
    with services(settings):
        _put_films_into_the_inbox(settings)
        with _step("packaging the films"):
            build(settings, _PLAYABLE)
        _simulate(settings, viewers, days)
        with _step("building the asset graph"):
            built = build(settings)
        with _step("encoding again what is watched most"):
            build(settings, _PACKAGES)
        password = _login_for_a_viewer(settings)
        treatments = _treatments(settings)
    show_build(settings, built)
    console.print(treatments)
    _show_summary(settings, time.monotonic() - started, password)
    if serve:
        _serve(settings)


@contextmanager
def _step(name: str) -> Iterator[None]:
    started = time.monotonic()
    with console.status(name):
        yield
    console.print(f"[green]done[/green] {name} ({time.monotonic() - started:.0f} s)")


def _put_films_into_the_inbox(settings: Settings) -> None:
    from simulation.catalogue import film_specs, write_feed
    from simulation.films import make_films

    feeds, masters = settings.home.inbox / "feeds", settings.home.inbox / "masters"
    feeds.mkdir(parents=True, exist_ok=True)
    masters.mkdir(parents=True, exist_ok=True)
    with _step("writing the catalogue and generating films"), progress() as bar:
        write_feed(feeds / "demo.jsonl")
        specs = film_specs()
        task = bar.add_task("films", total=len(specs))
        make_films(masters, specs, on_progress=lambda *_: bar.advance(task))


def _simulate(settings: Settings, viewers: int, days: int) -> None:
    from simulation.parameters import Behaviour, Plan
    from simulation.viewers import simulate

    # People with clear tastes: among fifty titles a milder taste drowns in popularity, and there is little to learn.
    tastes = Behaviour(match_weight=4.0, popularity_weight=0.4)
    with _step(f"simulating {viewers} viewers for {days} days"):
        simulate(settings, Plan(end=SystemClock().now().date(), viewers=viewers, days=days, seed=1, behaviour=tastes))
    _book(settings)


def _book(settings: Settings) -> None:
    """What the viewers paid, in the ledger: the marts of money come from there."""
    from serving.billing.adopt import adopt

    with _step("booking what they paid"), connect(settings) as connection:
        adopt(connection, SystemClock().now())


def _quick(settings: Settings) -> Settings:
    """What the demo chooses of the encoder's settings, where the person has not."""
    chosen = {name: value for name, value in _ENCODING.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=chosen)


def _treatments(settings: Settings) -> Table:
    """What the warehouse decided for the encoder, and what came of it."""
    from transcoding.treatments import decisions

    with connect(settings) as connection:
        made = decisions(connection)
    rows = [(d.title_id, d.treatment, d.now or "nothing", d.reason) for d in made]
    return table("demand steers the encoder", ("title", "decided", "plays now", "why"), rows)


def _login_for_a_viewer(settings: Settings) -> str | None:
    """Let a person look through the eyes of a simulated viewer; None where the demo's login exists already."""
    from serving.rights.commands import give

    with matinee.connect(settings.home.root) as marts:
        busiest = marts.execute(
            "SELECT profile_key FROM fct_interaction WHERE origin = 'simulate' "
            "GROUP BY profile_key ORDER BY count(*) DESC, profile_key LIMIT 50"
        ).fetchall()
    with connect(settings) as connection:
        adults = connection.execute(
            "SELECT a.account_id, s.salt FROM account a JOIN account_salt s USING (account_id) "
            "JOIN profile p USING (account_id) WHERE a.origin = 'simulate' AND p.maturity = 18"
        ).fetchall()
    by_key = {Salt(bytes(salt)).key(account): account for account, salt in adults}
    account = next((by_key[key] for (key,) in busiest if key in by_key), None)
    if account is None:  # a few viewers only, all of them children
        return None
    password = secrets.token_urlsafe(9)
    if not asyncio.run(_give_login(settings, account, password)):
        return None
    # A simulated subscription may have ended within the month; who looks around plays everything.
    give(settings, account, plan_id="premium", title_id=None, days=None)
    return password


async def _give_login(settings: Settings, account_id: str, password: str) -> bool:
    from serving.accounts.core import give_login
    from serving.accounts.passwords import hash_now

    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        return await give_login(connection, account_id, DEMO_EMAIL, hash_now(password))


def _show_summary(settings: Settings, seconds: float, password: str | None) -> None:
    with matinee.connect(settings.home.root) as marts:
        rows = [(name, (marts.execute(query).fetchone() or (0,))[0]) for name, query in _COUNTS.items()]
    console.print(table("the demo", ("what", "how many"), rows))
    if password is None:
        console.print(f"{DEMO_EMAIL} logs in with the password that was printed when this home was first built")
    else:
        console.print(f"log in as [bold]{DEMO_EMAIL}[/bold], password [bold]{password}[/bold] (a simulated viewer)")
    console.print(f"built in {seconds:.0f} s into {settings.home.root}", soft_wrap=True)


def _serve(settings: Settings) -> None:
    from matinee.stack import launch
    from orchestration.processes import processes

    def show(_: object) -> None:
        console.print(table("open", ("what", "where"), links(settings)))
        console.print("Ctrl-C stops everything.")

    launch.run(settings, processes, note=console.print, on_ready=show)
