from datetime import UTC, datetime, timedelta

from matinee import pseudonyms
from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.db.viewers import Viewer, add_viewers
from warehouse.export import export_tables


def test_exports_keys_in_place_of_ids_and_nothing_personal(settings, add_catalogue, rows):
    add_catalogue(settings)
    with connect(settings) as connection:
        add_viewers(connection, [Viewer("ml:1", "One", "import", "DE"), Viewer("ml:2", "Two", "import")])
        key = pseudonyms.salts(connection, ["ml:1"])["ml:1"].key("ml:1")
    export_tables(settings)
    assert (key, "import", "DE", "viewer", 1) in rows(
        settings, "SELECT account_key, origin, country, role, profiles FROM raw.account"
    )
    assert rows(settings, f"SELECT account_key FROM raw.profile WHERE profile_key = '{key}'") == [(key,)]
    for name in ("account", "profile"):
        assert "ml:" not in str(rows(settings, f"SELECT * FROM raw.{name}"))
    assert rows(settings, "SELECT title_id, genres FROM raw.title WHERE title_id = 't1'") == [
        ("t1", ["drama", "crime"])
    ]


def test_unchanged_content_writes_no_new_file_and_changed_content_replaces_the_old(settings, add_catalogue, rows):
    clock = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))
    add_catalogue(settings)
    first = {t.name: t for t in export_tables(settings, clock=clock)}
    assert all(table.changed for table in first.values())
    clock.advance(timedelta(hours=1))
    assert not any(table.changed for table in export_tables(settings, clock=clock))
    with connect(settings) as connection:
        connection.execute("DELETE FROM title WHERE title_id = 't3'")
    clock.advance(timedelta(hours=1))
    third = {t.name: t for t in export_tables(settings, clock=clock)}
    assert {name for name, table in third.items() if table.changed} == {"title"}
    assert len(list((settings.lake.landing_tables / "title").glob("as_of=*/*.parquet"))) == 2
    assert rows(settings, "SELECT count(*) FROM raw.title") == [(3,)]


def test_a_new_build_file_gets_the_tables_again(settings, add_catalogue, rows):
    add_catalogue(settings)
    export_tables(settings)
    settings.lake.build_file.unlink()
    assert not any(table.changed for table in export_tables(settings))
    assert rows(settings, "SELECT count(*) FROM raw.title") == [(4,)]
