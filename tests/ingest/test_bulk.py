"""Rows that land in bulk: all of them once, or none."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import bulk
from ingest.errors import IngestError
from matinee.contracts.landing import LANDED_EVENT
from matinee.db.connect import connect
from matinee.pseudonyms import Salt, salts
from matinee.settings import Settings

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)


def rows(moments: list[datetime]) -> pa.Table:
    made = {"event_id": "e", "schema": "viewer-event/1.0", "origin": "simulate", "fingerprint": "f", "session_id": "s"}
    return pa.Table.from_pylist(
        [
            {**made, "log_id": f"0-{n}", "seq": n, "type": "search"}
            | dict.fromkeys(("ts_client", "ts_sent", "received_at", "event_ts"), moment)
            for n, moment in enumerate(moments)
        ],
        schema=LANDED_EVENT,
    )


def found(settings: Settings) -> list[Path]:
    return sorted(path.relative_to(settings.lake.root) for path in settings.lake.landing_events.rglob("*.*"))


def test_each_received_day_gets_a_file_and_the_ledger_says_so(settings: Settings) -> None:
    before, after = MIDNIGHT - timedelta(microseconds=1), MIDNIGHT
    with connect(settings, autocommit=True) as connection:
        with bulk.landing(connection, settings.lake.root, "one") as land:
            land.add(rows([after, before, after]), {})
            land.add(rows([before]), {})
        ledger = connection.execute("SELECT path, rows, landed_on FROM landed_file ORDER BY path").fetchall()
        assert bulk.has_landed(connection, "one")
        assert not bulk.has_landed(connection, "o")
    assert [(rows, day) for _, rows, day in ledger] == [(2, date(2026, 10, 31)), (2, date(2026, 11, 1))]
    assert [Path(path) for path, *_ in ledger] == found(settings)
    for path, *_ in ledger:
        assert pq.read_schema(settings.lake.root / path).equals(LANDED_EVENT)


def test_full_files_are_followed_by_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS_PER_FILE", 2)
    with connect(settings, autocommit=True) as connection:
        with bulk.landing(connection, settings.lake.root, "one") as land:
            for _ in range(3):
                land.add(rows([MIDNIGHT] * 2), {})
            land.add(rows([MIDNIGHT]), {})
        counts = connection.execute("SELECT rows FROM landed_file ORDER BY path").fetchall()
    assert counts == [(2,), (2,), (2,), (1,)]


def fail(settings: Settings, connection: psycopg.Connection, statement: str, known: dict[str, Salt]) -> None:
    with bulk.landing(connection, settings.lake.root, "one") as land:
        land.add(rows([MIDNIGHT]), known)
        assert len(found(settings)) == 1
        connection.execute(statement.encode())


def test_an_error_leaves_nothing(settings: Settings) -> None:
    with connect(settings, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail(settings, connection, "SELECT 1 / 0", {})
        assert not bulk.has_landed(connection, "one")
    assert found(settings) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionResetError])
def test_what_the_ledger_names_stays_whatever_happens_after_the_commit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    finish = bulk.Bulk.finish

    def unheard(land: bulk.Bulk, connection: psycopg.Connection) -> None:
        finish(land, connection)
        raise error

    monkeypatch.setattr(bulk.Bulk, "finish", unheard)
    with connect(settings, autocommit=True) as connection:
        with pytest.raises(error), bulk.landing(connection, settings.lake.root, "one") as land:
            land.add(rows([MIDNIGHT]), {})
        (path,) = connection.execute("SELECT path FROM landed_file").fetchone() or ("",)
    assert found(settings) == [Path(path)]


def test_what_killed_landings_left_is_cleared_while_nobody_lands(settings: Settings) -> None:
    left = [settings.lake.landing_events / "date=2026-11-01" / n for n in ("bulk-x-0000.parquet", ".bulk-x-0001.draft")]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"PAR1")
    with connect(settings, autocommit=True) as connection, connect(settings, autocommit=True) as other:
        with bulk.landing(connection, settings.lake.root, "one") as land:
            assert found(settings) == []
            land.add(rows([MIDNIGHT]), {})
            bulk.clear(other, settings.lake.root)
            assert len(found(settings)) == 1
        bulk.clear(other, settings.lake.root)
        assert len(found(settings)) == connection.execute("SELECT count(*) FROM landed_file").fetchall()[0][0] == 1


def test_who_is_erased_meanwhile_stops_the_landing(settings: Settings) -> None:
    with connect(settings, autocommit=True) as connection:
        with connection.transaction():
            known = salts(connection, ["somebody"])
        with pytest.raises(IngestError, match="erased"):
            fail(settings, connection, "DELETE FROM account_salt", known)
        assert not bulk.has_landed(connection, "one")
    assert found(settings) == []
