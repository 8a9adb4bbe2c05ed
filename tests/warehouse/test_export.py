from datetime import UTC, date, datetime, timedelta

from psycopg.types.json import Jsonb

from matinee import pseudonyms
from matinee.clock import ManualClock
from matinee.db.connect import connect
from matinee.db.subscriptions import Period, add_periods
from matinee.db.viewers import Viewer, add_viewers
from warehouse import build_file
from warehouse.export import export_tables
from warehouse.snapshot import MadeOf, Snapshot


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


def test_what_a_title_is_about_comes_with_it(settings, add_catalogue, rows):
    add_catalogue(settings)
    with connect(settings) as connection:
        connection.execute("INSERT INTO title_text VALUES ('t2', 'ru', 'Ёлка', 'Про ёлку.'), ('t2', 'de', 'Baum', 'x')")
        connection.execute("INSERT INTO title_person VALUES ('t2', 1, 'Anna', 'actor'), ('t2', 0, 'Bo', 'director')")
    export_tables(settings)
    columns = "synopsis_en, synopsis_ru, people, roles"
    assert rows(settings, f"SELECT {columns} FROM raw.title WHERE title_id IN ('t2', 't3') ORDER BY title_id") == [
        (None, "Про ёлку.", ["Bo", "Anna"], ["director", "actor"]),
        (None, None, [], []),
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


def test_old_exports_go_unless_a_snapshot_was_made_of_them(settings, add_catalogue):
    clock, paths = ManualClock(datetime(2026, 3, 2, tzinfo=UTC)), []
    add_catalogue(settings)
    for hour in range(6):
        with connect(settings) as connection:
            connection.execute("UPDATE title SET runtime_s = %s WHERE title_id = 't1'", (hour + 1,))
        paths.append({table.name: table.path for table in export_tables(settings, clock=clock)}["title"])
        if hour == 1:
            folder = settings.lake.published / "20260302T000000000000Z-0"
            folder.mkdir(parents=True)
            made_of = MadeOf(0, 0, "", {"title": str(paths[1].relative_to(settings.lake.root))}, "")
            (folder / "manifest.json").write_text(Snapshot("s", folder, clock.now(), "", {}, made_of).manifest())
        clock.advance(timedelta(hours=1))
    assert [path.exists() for path in paths] == [False, True, False, True, True, True]
    assert len(list((settings.lake.landing_tables / "account").iterdir())) == 1, "what never changed is never old"


def test_a_new_build_file_gets_the_tables_again(settings, add_catalogue, rows):
    add_catalogue(settings)
    export_tables(settings)
    settings.lake.build_file.unlink()
    assert not any(table.changed for table in export_tables(settings))
    assert rows(settings, "SELECT count(*) FROM raw.title") == [(4,)]


def test_packages_come_with_their_rungs_and_probes_of_the_newest_settings_only(settings, add_catalogue, rows):
    add_catalogue(settings)
    rung = {"name": "720p", "codec": "avc1.64001f", "height": 720, "average_bps": 2_000_000, "bytes": 9}
    with connect(settings) as connection:
        for master in ("old", "new"):
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, bytes, state, created_at) VALUES "
                "(%s, 't1', 'f', 1, 'accepted', CASE %s WHEN 'new' THEN now() ELSE now() - interval '1 day' END)",
                (master, master),
            )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, treatment, protection, rungs) "
            "VALUES ('a', 't1', 'old', 'published', 'premium', 'aes128', %s), "
            "('b', 't1', 'new', 'failed', NULL, 'clear', '[]')",
            (Jsonb([{**rung, "vmaf": {"mean": 93.5, "min": 90.0}}, {**rung, "name": "old"}]),),
        )
        connection.cursor().executemany(
            "INSERT INTO transcode_probe (master_id, settings, codec, height, crf, sample, start_s, "
            "kbps, vmaf, weight, created_at) VALUES (%s, %s, 'h264', 720, 28, 0, 0, %s, 95, 1, %s::timestamptz)",
            [("old", "s", 100, "2026-03-03"), ("new", "s1", 200, "2026-03-01"), ("new", "s2", 300, "2026-03-02")],
        )
    export_tables(settings)
    assert rows(settings, "SELECT package_id, treatment, protection, rungs FROM raw.package ORDER BY package_id") == [
        ("a", "premium", "aes128", 2),
        ("b", "fast", "clear", 0),
    ]
    ladder = rows(settings, "SELECT unnest(ladder, recursive := true) FROM raw.package WHERE package_id = 'a'")
    assert ladder == [("720p", "avc1.64001f", 720, 2_000_000, 9, 93.5), ("old", "avc1.64001f", 720, 2_000_000, 9, None)]
    assert rows(settings, "SELECT title_id, master_id, kbps FROM raw.probe") == [("t1", "new", 300.0)]
    assert not any(table.changed for table in export_tables(settings)), "the same rows give the same file"


def test_a_build_file_of_before_gains_the_columns(settings, add_catalogue, rows):
    add_catalogue(settings)
    export_tables(settings)
    with build_file.writing(settings) as warehouse:
        warehouse.execute("ALTER TABLE raw.package DROP COLUMN ladder")
        warehouse.execute("DROP TABLE raw.probe")
    assert not any(table.changed for table in export_tables(settings))
    assert rows(settings, "SELECT ladder FROM raw.package UNION ALL SELECT NULL FROM raw.probe") == []


def test_subscriptions_come_with_keys_and_contracts_as_far_as_they_can_be_read(settings, add_catalogue, rows):
    add_catalogue(settings)
    terms = {"amount_minor": 100, "currency": "EUR", "from": "2026-01-01", "until": "2026-02-01"}
    wrong = [
        "free",
        {**terms, "amount_minor": 1.5, "currency": "euro"},
        {**terms, "amount_minor": True, "from": "2026-02-30", "until": "20260201"},
        {**terms, "amount_minor": 10**30, "from": None},
    ]
    with connect(settings) as connection:
        add_viewers(connection, [Viewer("sim-9", "Nine", "simulate")])
        add_periods(
            connection,
            [Period("sim-9-p", "sim-9-s", "sim-9", "basic", "active", 999, "EUR", datetime(2026, 3, 1, tzinfo=UTC))],
        )
        for title, costs in [("t1", [terms, *wrong]), ("t2", {"amount_minor": 1}), ("t3", [])]:
            told = Jsonb({"costs": costs})
            connection.execute("UPDATE title SET extra = %s WHERE title_id = %s", (told, title))
    export_tables(settings)
    told = rows(settings, "SELECT s.*, a.account_key FROM raw.subscription s JOIN raw.account a USING (account_key)")
    assert len(told) == 1
    assert (999, "EUR", datetime(2026, 3, 1, tzinfo=UTC), None) == told[0][5:9]
    assert "sim-9" not in str(told)
    day = date(2026, 1, 1), date(2026, 2, 1)
    assert rows(settings, "SELECT * FROM raw.title_cost ORDER BY contract") == [
        ("t1", 1, 100, "EUR", *day),
        ("t1", 2, None, None, None, None),
        ("t1", 3, None, None, *day),
        ("t1", 4, None, "EUR", None, None),
        ("t1", 5, None, "EUR", None, day[1]),
    ]


def test_what_is_longer_than_a_chunk_comes_whole_and_leaves_no_draft(settings, add_catalogue, rows, monkeypatch):
    monkeypatch.setattr("warehouse.export.CHUNK", 3)
    add_catalogue(settings)
    export_tables(settings)
    assert rows(settings, "SELECT title_id FROM raw.title ORDER BY title_id") == [("t0",), ("t1",), ("t2",), ("t3",)]
    assert not any(table.changed for table in export_tables(settings)), "the same rows give the same file"
    assert list(settings.lake.landing_tables.glob(".*")) == []
