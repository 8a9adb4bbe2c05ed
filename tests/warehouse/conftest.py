"""A landing zone to fill by hand, and one built warehouse for the tests that only look."""

import asyncio
import itertools
import random
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from matinee.contracts.landing import LANDED_EVENT
from matinee.db.connect import connect
from matinee.settings import Settings

DAY = date(2026, 3, 2)


def event(**fields: Any) -> dict[str, Any]:
    """A valid landed row; what a test does not care about is filled in. `at`: event time, `late_s`: until receipt."""
    at = fields.pop("at", datetime(2026, 3, 2, 12, tzinfo=UTC))
    received = fields.pop("received_at", at + timedelta(seconds=fields.pop("late_s", 1)))
    row: dict[str, Any] = dict.fromkeys(LANDED_EVENT.names)
    row |= {
        "event_id": str(uuid.uuid4()),
        "schema": "viewer-event/1.0",
        "origin": "live",
        "log_id": "0-0",
        "fingerprint": "f" * 64,
        "account_key": "account",
        "profile_key": "profile",
        "session_id": "visit",
        "seq": 0,
        "type": "heartbeat",
        "ts_client": at,
        "ts_sent": received,
        "received_at": received,
        "event_ts": at,
    }
    return row | fields


@dataclass
class Landing:
    """Writes landed files as the collector does: the file first, then its row in the ledger."""

    settings: Settings
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def land(
        self, rows: Sequence[Mapping[str, Any]], day: date = DAY, stream: str = "events", *, ledger: bool = True
    ) -> str:
        number = next(self.numbers)
        folder = f"landing/events/date={day}" if stream == "events" else f"landing/imports/{stream.split(':')[1]}"
        path = f"{folder}/part-{number:06d}-{number:06d}.parquet"
        target = self.settings.lake.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        numbered = [
            {**row, "log_id": f"{number:06d}-{i}" if row["log_id"] == "0-0" else row["log_id"]}
            for i, row in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(numbered, LANDED_EVENT), target, compression="zstd")
        if ledger:
            self.note(path, len(rows), day, stream)
        return path

    def note(self, path: str, rows: int, day: date = DAY, stream: str = "events") -> None:
        with connect(self.settings) as connection:
            connection.execute(
                "INSERT INTO landed_file (path, stream, first_id, last_id, rows, landed_on) "
                "VALUES (%s, %s, '0', '0', %s, %s)",
                (path, stream, rows, day),
            )


@pytest.fixture(name="event")
def _event() -> Any:
    return event


@pytest.fixture
def landing(settings: Settings) -> Landing:
    return Landing(settings)


def days_of_viewing(seed: int, days: int, viewers: int = 6) -> dict[date, list[dict[str, Any]]]:
    """Received day -> events of viewers who play, rate and see an experiment; some repeated, some a day late."""
    chance = random.Random(seed)
    landed: dict[date, list[dict[str, Any]]] = {}

    def receive(row: dict[str, Any]) -> None:
        landed.setdefault(row["received_at"].date(), []).append(row)
        if chance.random() < 0.1:
            again = row["received_at"] + timedelta(seconds=chance.choice([1, 40_000]))
            landed.setdefault(again.date(), []).append({**row, "received_at": again})

    for number, day in itertools.product(range(viewers), range(days)):
        who = {"account_key": f"a{number}", "profile_key": f"p{number}", "session_id": f"v{number}-{day}"}
        start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day, minutes=chance.randrange(1430))
        variant = ("control", "treatment")[number % 2]
        receive(
            event(
                at=start, type="exposure", exposure_experiment="x", exposure_variant=variant, exposure_salt="s", **who
            )
        )
        watched = {"playback_id": f"b{number}-{day}", "title_id": f"t{chance.randrange(4)}", **who}
        for beat in range(chance.randrange(1, 6)):
            kind = "heartbeat" if beat else "play"
            played = beat * chance.randrange(25_000, 31_000)
            quality = {"startup_ms": 400 + 100 * number, "stall_ms": 900 * beat * (number % 2), "bits": 4000 * played}
            shown = {"surface_request_id": f"r{number}-{day}", "surface_model": "popular", "surface_version": "1"}
            receive(
                event(
                    at=start + timedelta(seconds=30 * beat), type=kind, seq=beat, played_ms=played, position_ms=played,
                    rendition=chance.choice(["720p", "480p"]), late_s=chance.choice([1, 5, 90_000]), **watched,
                    **({} if beat else shown), **(quality if number else {}),
                )
            )  # fmt: skip
        if (number, day) == (4, 1):
            broke = event(at=start + timedelta(minutes=9), type="error", seq=9, error_fatal=True, **watched)
            landed.setdefault(broke["received_at"].date(), []).append(broke)
        if chance.random() < 0.3:
            receive(event(at=start, type="rate", title_id="t1", rate_value=chance.choice([2.0, 4.5]), **who))
    return landed


@pytest.fixture(scope="session")
def viewing() -> Any:
    return days_of_viewing


def add_catalogue(settings: Settings) -> None:
    """Four titles, one of them an episode, and the accounts of `days_of_viewing`'s viewers do not matter."""
    with connect(settings) as connection:
        for title_id, kind, parent in [
            ("t0", "series", None),
            ("t1", "episode", "t0"),
            ("t2", "film", None),
            ("t3", "film", None),
        ]:
            connection.execute(
                "INSERT INTO title (title_id, kind, parent_id, runtime_s, maturity, genres) "
                "VALUES (%s, %s, %s, 60, 0, %s)",
                (title_id, kind, parent, ["drama", "crime"]),
            )


# Plan, state, price, currency, from, until: a0 tries, pays and changes its plan; a1 leaves and returns; a2 pays in
# roubles, fails to and leaves; a3 tries and never pays; a4 begins in the last minute of January; a5 only watches.
PERIODS = {
    "a0": [
        ("basic", "trial", 999, "EUR", "2025-11-20", "2025-12-04"),
        ("basic", "active", 999, "EUR", "2025-12-04", "2026-01-15"),
        ("premium", "active", 1499, "EUR", "2026-01-15", None),
    ],
    "a1": [
        ("basic", "active", 999, "EUR", "2025-11-10", "2025-12-20"),
        ("basic", "active", 999, "EUR", "2026-02-05", None),
    ],
    "a2": [
        ("basic", "active", 49900, "RUB", "2025-12-01", "2026-02-10"),
        ("basic", "past_due", 49900, "RUB", "2026-02-10", "2026-03-01 00:00:01"),
    ],
    "a3": [("premium", "trial", 1499, "EUR", "2026-02-25", "2026-03-02")],
    "a4": [("premium", "active", 1499, "EUR", "2026-01-31 23:59", None)],
}


def add_money(settings: Settings) -> None:
    """The books of these periods, and of things that they lack: a year with a code that a customer whose account is
    erased had, of which a quarter is given back; a rental that goes to dispute, a purchase that goes back, a payout.
    """
    from matinee.db.subscriptions import Period, add_periods
    from matinee.db.viewers import Viewer, add_viewers
    from serving.billing.adopt import adopt

    moment = "2026-03-03T12:00+00:00"
    with connect(settings) as connection:
        add_viewers(connection, [Viewer(f"a{n}", "x", "simulate", "DE") for n in range(6)])
        periods = [
            Period(
                f"{who}-{n}", f"{who}-s", who, plan, state, minor, currency,
                datetime.fromisoformat(since).replace(tzinfo=UTC),
                datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None, "cancelled" if until else None,
            )
            for who, having in PERIODS.items()
            for n, (plan, state, minor, currency, since, until) in enumerate(having)
        ]  # fmt: skip
        add_periods(connection, periods)
        adopt(connection, datetime.fromisoformat(moment))
    asyncio.run(_other_business(settings))


async def _other_business(settings: Settings) -> None:
    from psycopg.types.range import Range

    from serving.billing.invoices import core as invoices
    from serving.billing.invoices.lines import Draft, Line
    from serving.billing.ledger import core as ledger
    from serving.billing.ledger import facts
    from serving.billing.ledger.money import Money

    def at(month: int, day: int, year: int = 2026) -> datetime:
        return datetime(year, month, day, 12, tzinfo=UTC)

    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:

        async def sell(draft: Draft, when: datetime, customer: str = "customer") -> invoices.Invoice:
            invoice = await invoices.issue(connection, customer, draft, when)
            await invoices.paid(connection, invoice.invoice_id, when)
            money = Money(invoice.due_minor, invoice.currency)
            payment = facts.payment(f"p-{invoice.invoice_id}", customer, "stripe", money, when)
            fee = facts.fee(f"p-{invoice.invoice_id}", "stripe", Money(25, invoice.currency), when)
            await ledger.post(connection, [payment, fee])
            return invoice

        await connection.execute("INSERT INTO customer VALUES ('customer', NULL, '2025-12-20Z')")
        await connection.execute(
            "INSERT INTO promo (promo_id, code, kind, value, created_at) "
            "VALUES ('half', 'HALF', 'percent', 5000, now())"
        )
        year = Range(at(12, 20, 2025), at(12, 20))
        lines = (
            Line("plan", 9990, plan_id="basic", months=12, period=year),
            Line("discount", -4995, plan_id="basic", period=year),
        )
        taxed: dict[str, Any] = {"tax_country": "FR", "tax_bp": 2000, "country": "FR"}
        yearly = await sell(Draft("subscription", "start", "EUR", lines, period=year, **taxed), at(12, 20, 2025))
        await connection.execute(
            "INSERT INTO promo_redemption VALUES ('r', 'half', 'customer', NULL, %s, 'redeemed', NULL, %s)",
            (yearly.invoice_id, at(12, 20, 2025)),
        )
        rental = await sell(Draft("rent", "purchase", "EUR", (Line("rent", 399, title_id="t2"),), **taxed), at(1, 31))
        film = await sell(Draft("buy", "purchase", "USD", (Line("buy", 1499, title_id="t3"),)), at(2, 1))
        for sold, amount, when in ((yearly, 1249, at(2, 10)), (film, film.total_minor, at(2, 3))):
            note = await invoices.credit(connection, sold.invoice_id, amount, "refund", when)
            money = Money(note.total_minor, note.currency)
            await ledger.post(connection, [facts.refund(f"r-{note.invoice_id}", "customer", "stripe", money, when)])
        disputed = Money(rental.total_minor, "EUR")
        await ledger.post(
            connection,
            [
                facts.dispute("d", "stripe", disputed, at(2, 4)),
                facts.dispute_lost("d", "stripe", disputed, 1500, at(3, 1)),
                facts.payout("po_1", "stripe", Money(500, "EUR"), at(3, 2)),
            ],
        )


def add_subscribers(settings: Settings) -> None:
    """The accounts of `days_of_viewing`, what they pay and what titles cost: the keys of their events are no pseudonyms
    of ids, so they take the place of what was exported of them.
    """
    from matinee import pseudonyms
    from warehouse import build_file

    names = [f"a{n}" for n in range(6)]
    with connect(settings) as connection:
        exported = {salt.key(name): name for name, salt in pseudonyms.salts(connection, names).items()}
    with build_file.writing(settings) as warehouse:
        found = warehouse.execute("SELECT account_key, customer_key FROM raw.account").fetchall()
        for table in ("account", "profile", "subscription"):
            warehouse.execute(f"DELETE FROM raw.{table}")
    customers = {exported[account]: customer for account, customer in found}
    accounts = [
        (name, "viewer", "live", country, 1, f"2025-11-0{n + 1}", customers[name])
        for n, (name, country) in enumerate(zip(names, ["DE"] * 5 + [None], strict=True))
    ]
    periods = [
        (f"{who}-{n}", who, f"{who}-s", *period, period[-1] and "cancelled")
        for who, having in PERIODS.items()
        for n, period in enumerate(having)
    ]
    costs = [
        ("t2", 1, 100_000, "EUR", "2026-01-15", "2026-04-15"),
        ("t0", 1, 5_000, "EUR", "2026-02-01", "2026-03-03"),
        ("t3", 1, 7_777, "RUB", "2026-03-01", "2026-03-04"),
    ]
    with build_file.writing(settings) as warehouse:
        for table, rows in [("account", accounts), ("subscription", periods), ("title_cost", costs)]:
            places = ", ".join("?" * len(rows[0]))
            warehouse.executemany(f"INSERT INTO raw.{table} VALUES ({places})", rows)


@pytest.fixture(name="add_catalogue")
def _add_catalogue() -> Any:
    return add_catalogue


@contextmanager
def home_of_its_own(base: Settings) -> Iterator[Settings]:
    """A home with a database, for longer than one test."""
    name, root = f"built_{uuid.uuid4().hex}", Path(tempfile.mkdtemp(prefix="matinee-built-"))
    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template_matinee STRATEGY file_copy").format(sql.Identifier(name))
        )
    url = base.database().replace("/matinee?", f"/{name}?")
    own = Settings.model_validate({"MATINEE_HOME": root, "database_url": url, "redis_url": base.redis()})
    own.home.create()
    try:
        yield own
    finally:
        shutil.rmtree(root, ignore_errors=True)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def built(base: Settings) -> Iterator[Settings]:
    """A home with three days of viewing, loaded, exported, built and tested. Look, copy, but do not change."""
    from warehouse import dbt
    from warehouse.export import export_tables
    from warehouse.load import load_days
    from warehouse.report.site import _scripts

    with home_of_its_own(base) as own:
        add_catalogue(own)
        landing = Landing(own)
        for day, rows in days_of_viewing(seed=1, days=3).items():
            landing.land(rows, day)
        load_days(own)
        add_money(own)
        export_tables(own)
        add_subscribers(own)
        dbt.parse(own)
        assets = own.home.reports / "assets"
        assets.mkdir(parents=True)
        _scripts(assets)
        result = dbt.build(own, unit_tests=False)
        assert result.success, [(node.name, node.message) for node in result.failed]
        yield own


def take_over(built: Settings, own: Settings) -> None:
    """Its build file, and what takes seconds to make and is the same everywhere."""
    own.lake.build_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.lake.build_file, own.lake.build_file)
    for made in ("dbt/target/manifest.json", "reports/assets/vega.js"):
        own.home.root.joinpath(made).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built.home.root / made, own.home.root / made)


@pytest.fixture
def copy_of_built(built: Settings, tmp_path: Path) -> Settings:
    """The built warehouse in a home of its own, to be changed at will. It has no database."""
    own = Settings.load(home=tmp_path / "copy")
    own.home.create()
    take_over(built, own)
    return own


@pytest.fixture
def rows() -> Any:
    """Rows of a query on the build file."""
    import duckdb

    def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(settings.lake.build_file), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(query).fetchall()

    return ask
