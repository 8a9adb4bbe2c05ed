"""Every named query of serving over 20,000 titles and 1 million profiles: none reads a large table from end to end.

What is judged is not the plan's text but what PostgreSQL counts while the query runs, with a plan made for its values
and with a generic one: so what functions, views, triggers and foreign keys read is counted too.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from matinee.db.queries import load
from matinee.settings import Settings
from tests.serving.large import money

ROOT = Path(__file__).parents[2]
# The embedded payment provider keeps its own small books.
DOMAINS = sorted(found.parent for found in (ROOT / "serving").glob("**/queries.sql") if found.parent.name != "sandbox")
LARGE = 10_000
TITLES = 20_000
# Accounts of two profiles each.
SCALES = [
    pytest.param(15_000, id="30,000 profiles"),
    pytest.param(500_000, id="1,000,000 profiles", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)]),
]

FILL = load(Path(__file__).parent / "large")
# What does not grow with titles or viewers.
SMALL = {
    "catalogue_version",
    "ledger_account",
    "plan_version",
    "price",
    "tax_rate",
    "plan",
    "erasure_pepper",
    "audit_head",
    "outbox_consumer",
    "outbox_poison",
    "migration",
}
# What becomes of rows that were read already, and goes away.
PASSING = {"outbox", "device_login", "erasure_request", "rights_change"}

# Values by the names of parameters.
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ACCOUNT, PROFILE, TITLE = "a-0000007", "p-00000014", "t-000005"
VALUES: dict[str, Any] = {
    "account_id": ACCOUNT,
    "accounts": [ACCOUNT],
    "names": [ACCOUNT],
    "profile_id": PROFILE,
    "account_ids": [ACCOUNT],
    "profile_ids": [PROFILE],
    "title_id": TITLE,
    "title_ids": [TITLE, "t-000015"],
    "root_id": "t-000000",
    "package_id": "p-t-000005",
    "playback_id": "b-p-00000010",
    "session_id": "s-a-0000007",
    "email": "a-0000007@example.org",
    "password_hash": "x",
    "now": NOW,
    "before": datetime(2025, 6, 1, tzinfo=UTC),
    "expires_at": NOW,
    "after": NOW,
    "since": NOW,
    "closed": datetime(2026, 7, 1, tzinfo=UTC),
    "proven_until": NOW,
    "code_hash": b"1" * 32,
    "device_hash": b"2" * 32,
    "seed": b"3" * 32,
    "sealed": b"6" * 32,
    "hashes": [b"7" * 32],
    "authenticated_at": NOW,
    "denied_at": None,
    "disabled_at": NOW,
    "device": "Firefox, Windows",
    "user_code": "BCDFGHJK",
    "interval_s": 5,
    "purpose": "confirm",
    "purposes": ["confirm", "email"],
    "step": 10,
    "but": None,
    "life": timedelta(days=30),
    "q": "a-0000007@example.org",
    "role": "admin",
    "account": ACCOUNT,
    "action": "account.login",
    "browser": b"4" * 32,
    "pin_hash": b"5" * 32,
    "position_ms": 1000,
    "maturity": 18,
    "region": "FR",
    "kinds": ["film", "series"],
    "kind": "film",
    "genre": "drama",
    "playable": True,
    "pattern": "film t-0000",
    "after_year": 2000,
    "after_id": "t-000500",
    "limit": 30,
    "share": 0.95,
    "name": "Somebody",
    "place": 2000,
    "at_most": 16,
    "year_from": 1990,
    "year_to": 2000,
    "added_since": NOW,
    "words": "film t-0000",
    "text": "film",
    "extra": {"studio": 7},
    "extra_text": {"studio": "7"},
    "is_root": True,
    "facets": ["genre:drama"],
    "moment": NOW,
    "person_id": "0123456789abcdef",
    "language": "en",
    "colour": "#e8a33d",
    "audio_language": None,
    "subtitle_language": None,
    "autoplay": True,
    "kids_limit": 6,
    "value": 4,
    "plan": "basic",
    "plan_id": "basic",
    "period_id": "z",
    "currency": "EUR",
    "entitlement_id": ACCOUNT,
    "born": date(1980, 1, 1),
    "at": NOW,
    "created_at": NOW,
    "issued_at": NOW,
    "previous_at": NOW,
    "renew_before": NOW,
    "slot_until": NOW,
    "device_kind": "web",
    "device_name": None,
    "max_height": 1080,
    "streams": 2,
    "playback_ids": ["b-p-00000010"],
    "reason": "stopped",
    "reasons": ["plan"],
    "count": 100,
    "sessions": json.dumps(
        [
            {
                "playback_id": "new",
                "account_id": ACCOUNT,
                "profile_id": PROFILE,
                "title_id": TITLE,
                "package_id": "p-t-000005",
                "created_at": "2026-01-01Z",
                "expires_at": "2026-01-02Z",
                "browser": "00",
                "streams": 1,
                "others": ["b-p-00000010"],
            }
        ]
    ),
    **money.VALUES,
    "beats": json.dumps([{"playback_id": "b-p-00000010", "profile_id": PROFILE, "title_id": TITLE, "position_ms": 1}]),
}
# The same for one query, where a name means something else there.
OWN: dict[str, dict[str, Any]] = {
    **money.OWN,
    "rights/rights_changed": {"since": "999999999999:999999999999:"},
    "rights/forget_rights_changes": {"until": "10"},
    "catalog/browse_added": {"place": NOW},
    "catalog/browse_name_en": {"place": "film"},
    "catalog/browse_name_ru": {"place": "film"},
    "catalog/pick_added": {"place": NOW},
    "catalog/pick_name_en": {"place": "film"},
    "catalog/pick_name_ru": {"place": "film"},
    "accounts/open_session": {"session_id": "new", "kind": "password"},
    "accounts/columns_of_tables": {"names": ["account", "profile"]},
    "admin/accounts/page": {"before": ACCOUNT},
    "admin/accounts/staff": {"before": ACCOUNT},
    "admin/accounts/disabled": {"before": ACCOUNT},
    "admin/accounts/audit": {"before": 100},
    "admin/accounts/audit_of": {"before": 100},
    "playback/living_after": {"after": "b-p-00000010"},
    "rights/welcome": {"account_id": "a-0014999", "period_id": "new"},
    "rights/add_entitlement": {"entitlement_id": "new", "kind": "grant", "plan_id": None, "invoice_id": None},
}
# Which read all titles because that is what they are for, and why that is no matter.
WHOLE = {
    **money.WHOLE,
    "recommendations/catalogue": "the catalogue that each process keeps in memory, read when it changed",
    "recommendations/catalogue_mark": "whether it changed",
    "recommendations/contents": "of a worker, for the titles that changed",
    "accounts/drop_logins": "once a day, what is over",
    "catalog/facets": "counted anew every ten seconds at most",
    "catalog/terms_at": "what was on offer once, which staff alone ask for",
    "catalog/genres": "counted anew every ten seconds at most",
    "playback/poster": "kept by the gateway and by browsers for minutes",
}


@pytest.fixture(scope="module")
def connection(request: pytest.FixtureRequest, base: Settings) -> Iterator[psycopg.Connection]:
    """A migrated database with this many accounts."""
    accounts = request.param
    admin = make_conninfo(base.database(), dbname="postgres")
    name = f"plans_{accounts}"
    with psycopg.connect(admin, autocommit=True) as outside:
        outside.execute(f"CREATE DATABASE {name} TEMPLATE template_matinee STRATEGY wal_log".encode())
    try:
        with psycopg.connect(base.database().replace("/matinee?", f"/{name}?"), autocommit=True) as inside:
            # Foreign keys hold by construction; checking a million costs more than writing them.
            inside.execute("SET session_replication_role = replica")
            inside.execute("SET synchronous_commit = off")
            for table, statement in FILL.items():
                if table == "listed_person":
                    inside.execute("ANALYZE")  # what follows is read from what stands there
                inside.execute(statement.format(accounts=accounts, titles=TITLES).encode())
            inside.execute("RESET session_replication_role")
            inside.execute("VACUUM ANALYZE")
            yield inside
    finally:
        with psycopg.connect(admin, autocommit=True) as outside:
            outside.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("connection", SCALES, indirect=True)
def test_no_query_reads_a_large_table_from_end_to_end(connection: psycopg.Connection) -> None:
    wrong, seen = [], set()
    for folder in DOMAINS:
        for name, statement in load(folder).items():
            query = f"{folder.relative_to(ROOT / 'serving')}/{name}"
            seen.add(query)
            for mode in ("force_custom_plan", "force_generic_plan"):
                for values in _values(query, statement):
                    try:
                        read = _read(connection, statement, values, mode)
                    except KeyError as error:
                        wrong.append(f"{query}: say what the value of {error} is, in VALUES or OWN")
                        break
                    except psycopg.Error as error:
                        wrong.append(f"{query}: {error}")
                        break
                    if read and query not in WHOLE:
                        wrong.append(f"{query} ({mode}, {values}): {read}")
    assert not wrong, "\n".join(wrong)
    assert set(WHOLE) <= seen
    assert set(OWN) <= seen


@pytest.mark.parametrize("connection", SCALES[:1], indirect=True)
def test_what_the_queries_read_is_large_here(connection: psycopg.Connection) -> None:
    """Else the test above would say nothing of a table that came later."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    tables = {name for (name,) in found}
    text = "\n".join((folder / "queries.sql").read_text() for folder in DOMAINS)
    used = {table for table in tables if re.search(rf"\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+{table}\b", text)}
    assert used <= set(FILL) | SMALL | PASSING, used - set(FILL) - SMALL - PASSING
    for table in FILL:
        count = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert count is not None
        assert count[0] > LARGE, table


def test_the_test_sees_a_scan(settings: Settings) -> None:
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("INSERT INTO account (account_id) SELECT n::text FROM generate_series(1, 10001) n")
        values = {"country": "FR"}
        assert _read(connection, "SELECT FROM account WHERE country = %(country)s", values, "auto") == {
            "account": 10_001
        }
        assert not _read(connection, "SELECT FROM account WHERE account_id = %(country)s", values, "auto")


def _values(query: str, statement: str) -> list[dict[str, Any]]:
    """With every optional parameter, and without."""
    known = VALUES | OWN.get(query, {})
    named = set(re.findall(r"%\((\w+)\)s", statement))
    given = _Told({name: known[name] for name in named if name in known})
    optional = set(re.findall(r"%\((\w+)\)s(?:::[\w\[\]]+)? IS NULL", statement))
    return [given, _Told({**given, **dict.fromkeys(optional)})] if optional else [given]


class _Told(dict[str, Any]):
    """Parameters; a missing one is a KeyError with its name."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(name)


def _read(connection: psycopg.Connection, statement: str, values: dict[str, Any], mode: str) -> dict[str, int]:
    """Table -> rows that were read from its heap in order, of tables of which many were; nothing is kept."""
    wrapped = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
    missing = set(re.findall(r"%\((\w+)\)s", statement)) - set(wrapped)
    if missing:
        raise KeyError(*sorted(missing))
    with connection.transaction(force_rollback=True):
        connection.execute(b"SET LOCAL plan_cache_mode = " + mode.encode())
        before = _read_so_far(connection)
        connection.execute(statement.encode(), wrapped, prepare=True)
        after = _read_so_far(connection)
        return {table: count - before[table] for table, count in after.items() if count - before[table] > LARGE}


def _read_so_far(connection: psycopg.Connection) -> dict[str, int]:
    # The view holds what no server-wide count has got yet, which may be older than the transaction.
    return dict(
        connection.execute(
            "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables WHERE schemaname = 'public'"
        ).fetchall()
    )
