import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import psycopg
import pytest
import redis

from matinee.backup import BackupError, backup, restore
from matinee.errors import MatineeError
from matinee.secrets import secret
from matinee.settings import Settings
from matinee.stack.session import services

# A payment in the ledger, whose guards let nothing be changed afterwards.
FACT = """
    WITH made AS (INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('payment', %(source)s, now())
                  RETURNING transaction_id)
    INSERT INTO posting SELECT made.transaction_id, p.* FROM made, (VALUES
        (1, 'clearing', 'sandbox', 'EUR', %(amount)s), (2, 'receivable', 'c', 'EUR', -%(amount)s)) AS p"""


@pytest.fixture
def lived_in(tmp_path: Path) -> Settings:
    """A home in which something happened: rows, events, landed files, a snapshot, a model, media, secrets."""
    settings = Settings.load(home=tmp_path / "home")
    with services(settings), psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("INSERT INTO account (account_id, origin) VALUES ('ml:1', 'import')")
        connection.execute("INSERT INTO customer (customer_id, created_at) VALUES ('c', now())")
        connection.execute(FACT, {"source": "p1", "amount": 500})
        with psycopg.connect(settings.database("mlflow"), autocommit=True) as neighbour:
            neighbour.execute("CREATE TABLE runs AS SELECT 'r1' AS run")
        redis.Redis.from_url(settings.redis()).xadd("events", {"e": "waits"})
    lake = settings.lake
    for path, text in {
        lake.landing_events / "date=2026-01-01" / "part-1-2.parquet": "landed",
        lake.published / "s1" / "manifest.json": "{}",
        lake.root / "build" / "warehouse.duckdb": "made again",
        settings.home.mlflow / "1" / "model.bin": "weights",
        settings.media / "film" / "seg.m4s": "moving pictures",
    }.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    lake.current.symlink_to("s1")
    secret(settings.home, "token")
    return settings


def test_a_lost_home_comes_back(lived_in: Settings, tmp_path: Path) -> None:
    token, file = secret(lived_in.home, "token"), tmp_path / "saved.tar.zst"
    with services(lived_in):  # beside a running stack
        made = backup(lived_in, file)
        same = backup(lived_in, tmp_path / "saved.tar.gz")
    assert (set(made.databases), made.media) == ({"", "dagster", "mlflow"}, 1)
    assert (same.files, same.media) == (made.files, made.media)
    with tarfile.open(tmp_path / "saved.tar.gz") as other:
        assert len(other.getnames()) == made.files + 2  # the manifest and the list of media
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("saved*")} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved.tar.gz", "saved.tar.zst"]

    shutil.rmtree(lived_in.home_path)
    assert restore(lived_in, file) == made

    assert secret(lived_in.home, "token") == token
    assert {p.stat().st_mode & 0o777 for p in lived_in.home.secrets.iterdir()} == {0o600}
    assert lived_in.home.secrets.stat().st_mode & 0o777 == 0o700
    assert (lived_in.lake.landing_events / "date=2026-01-01" / "part-1-2.parquet").read_text() == "landed"
    assert (lived_in.lake.current / "manifest.json").read_text() == "{}"
    assert (lived_in.home.mlflow / "1" / "model.bin").read_text() == "weights"
    assert not (lived_in.lake.root / "build").exists()
    assert not (lived_in.media / "film").exists()
    with services(lived_in):
        with psycopg.connect(lived_in.database()) as connection:
            assert connection.execute("SELECT account_id FROM account").fetchall() == [("ml:1",)]
            migrations = connection.execute("SELECT count(*) FROM migration").fetchone()
            assert migrations
            assert migrations[0] > 0
            _ledger_goes_on(connection)
        with psycopg.connect(lived_in.database("mlflow")) as neighbour:
            assert neighbour.execute("SELECT run FROM runs").fetchall() == [("r1",)]
        entries = redis.Redis.from_url(lived_in.redis()).xrange("events")
        assert [fields for _, fields in entries] == [{b"e": b"waits"}]
    with pytest.raises(BackupError, match=r"is not empty .*: restore into a new home"):
        restore(lived_in, file)


def _ledger_goes_on(connection: psycopg.Connection) -> None:
    """What was written is there and closed, and new facts come after it, held to the same rules."""
    connection.execute(FACT, {"source": "p2", "amount": 70})
    connection.commit()
    postings = "SELECT transaction_id, line, amount_minor FROM posting ORDER BY 1, 2"
    known = connection.execute(postings).fetchall()
    assert known == [(1, 1, 500), (1, 2, -500), (2, 1, 70), (2, 2, -70)]
    for cheat, says in {
        "UPDATE posting SET amount_minor = 1": "append-only",
        "DELETE FROM ledger_transaction": "append-only",
        "INSERT INTO posting VALUES (1, 3, 'bank', 'sandbox', 'EUR', 5), (1, 4, 'clearing', 'sandbox', 'EUR', -5)":
            "is closed",
        "INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('payment', 'p1', now())": "already exists",
    }.items():  # fmt: skip
        with pytest.raises(psycopg.Error, match=says):
            connection.execute(cheat.encode())
        connection.rollback()


def test_a_backup_goes_only_where_it_is_safe(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home")
    settings.home.create()
    (tmp_path / "there.tar.gz").write_text("precious")
    with pytest.raises(BackupError, match="exists: choose another name"):
        backup(settings, tmp_path / "there.tar.gz")
    with pytest.raises(BackupError, match="lies inside the home"):
        backup(settings, settings.home.media / "b.tar.gz")
    with pytest.raises(BackupError, match="there is no folder"):
        backup(settings, tmp_path / "absent" / "b.tar.gz")
    with pytest.raises(BackupError, match="there is no home at"):
        backup(Settings.load(home=tmp_path / "never"), tmp_path / "b.tar.gz")
    assert (tmp_path / "there.tar.gz").read_text() == "precious"


def archive(path: Path, members: list[tuple[str, bytes | str]]) -> Path:
    """A tar file; a member of text is a symbolic link to it."""
    manifest = {"format": 1, "created_at": "", "databases": [], "media": 0}
    with tarfile.open(path, "w:gz") as made:
        for name, content in [("manifest.json", json.dumps(manifest).encode()), *members]:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                made.addfile(member)
            else:
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("lake/../../outside", b"x")], "leads out of the home"),
        ([("lake//etc/outside", b"x")], "leads out of the home"),
        ([("lake/published/current", "../../outside")], "is no file"),
        ([("lake/link", "/etc")], "is no file"),
    ],
)
def test_a_backup_that_reaches_outside_is_refused(tmp_path: Path, members: list, says: str) -> None:
    settings = Settings.load(home=tmp_path / "home")
    with pytest.raises(BackupError, match=says):
        restore(settings, archive(tmp_path / "evil.tar.gz", [("lake/good", b"y"), *members]))
    assert not (tmp_path / "outside").exists()
    assert not settings.home_path.exists()


def test_what_is_no_backup_or_cut_short_is_one_line_and_leaves_the_home_empty(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home")
    whole = archive(tmp_path / "whole.tar.gz", [("lake/big", os.urandom(200_000))]).read_bytes()
    for name, content in {
        "text": b"dear diary",
        "empty": b"",
        "cut.tar.gz": whole[: len(whole) // 2],
        "zstd": b"\x28\xb5\x2f\xfd" + b"nonsense",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MatineeError) as error:
            restore(settings, tmp_path / name)
        assert "\n" not in str(error.value)
        assert name in str(error.value)
        assert not settings.home_path.exists()
    with pytest.raises(BackupError, match="there is no file"):
        restore(settings, tmp_path / "absent")
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.addfile(tarfile.TarInfo("README"))
    with pytest.raises(BackupError, match=r"does not begin with manifest\.json"):
        restore(settings, tmp_path / "other.tar")
