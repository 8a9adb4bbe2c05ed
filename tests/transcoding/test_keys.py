"""Content keys: wrapped in the database, made once, and opened again after the key-encryption key was changed."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from matinee.db.connect import connect
from matinee.secrets import secret
from matinee.settings import Settings
from transcoding import keys
from transcoding.errors import TranscodingError, TransientError


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection]:
    with connect(settings, autocommit=True) as connection:
        for title in ("one", "two"):
            connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (title,))
        yield connection


def test_a_key_is_made_once_for_each_tier_and_period(connection: psycopg.Connection, settings: Settings) -> None:
    made = keys.content_key(connection, settings, "one", "hd", 0)
    assert len(made.secret) == 16
    assert keys.content_key(connection, settings, "one", "hd", 0) == made
    others = [("two", "hd", 0), ("one", "sd", 0), ("one", "hd", 1)]
    all_of_them = [made, *(keys.content_key(connection, settings, *where) for where in others)]
    assert len({key.secret for key in all_of_them}) == len({key.key_id for key in all_of_them}) == 4
    assert keys.open_key(connection, settings, made.key_id) == made.secret
    with pytest.raises(TranscodingError, match="no content key nobody"):
        keys.open_key(connection, settings, "nobody")


def test_the_database_alone_has_no_key_and_no_print_shows_one(
    connection: psycopg.Connection, settings: Settings
) -> None:
    made = [keys.content_key(connection, settings, "one", "sd", period) for period in range(20)]
    stored = connection.execute("SELECT key_id, wrapped, kek FROM content_key").fetchall()
    assert len(stored) == 20
    for key in made:
        assert all(key.secret not in wrapped for _, wrapped, _ in stored)
        assert key.secret.hex() not in repr(key)
        assert repr(key.secret) not in f"{key} {key!r}"
    assert len({wrapped[:12] for _, wrapped, _ in stored}) == 20, "a nonce was used twice"


def test_of_two_who_race_both_get_the_same_key(connection: psycopg.Connection, settings: Settings) -> None:
    """The second one must wait for the first one's commit, and then take its key."""
    late: list[keys.Key] = []

    def ask() -> None:
        with connect(settings, autocommit=True) as own:
            late.append(keys.content_key(own, settings, "one", "hd", 7))

    with connect(settings) as first:
        early = keys.content_key(first, settings, "one", "hd", 7)
        second = threading.Thread(target=ask)
        second.start()
        second.join(0.3)
        assert second.is_alive(), "it should wait for who came first"
        first.commit()
        second.join(10)
    assert late == [early]


def test_another_homes_secrets_open_nothing(connection: psycopg.Connection, settings: Settings) -> None:
    made = keys.content_key(connection, settings, "one", "hd", 0)
    path = settings.home.secrets / "kek"
    path.write_bytes(bytes(32))
    with pytest.raises(TranscodingError, match="cannot be opened by key-encryption key 1"):
        keys.open_key(connection, settings, made.key_id)
    path.unlink()
    with pytest.raises(TranscodingError, match="key-encryption key 1, which is not in"):
        keys.open_key(connection, settings, made.key_id)
    assert not path.exists(), "a lost key-encryption key must not be made anew in silence"


def test_a_wrapped_key_belongs_to_its_name(connection: psycopg.Connection, settings: Settings) -> None:
    one, two = (keys.content_key(connection, settings, "one", tier, 0) for tier in ("sd", "uhd"))
    connection.execute(
        "UPDATE content_key SET wrapped = (SELECT wrapped FROM content_key WHERE key_id = %s) WHERE key_id = %s",
        (one.key_id, two.key_id),
    )
    with pytest.raises(TranscodingError, match="cannot be opened"):
        keys.open_key(connection, settings, two.key_id)


def test_rotating_wraps_anew_and_changes_no_key(connection: psycopg.Connection, settings: Settings) -> None:
    made = [keys.content_key(connection, settings, "one", "sd", period) for period in range(3)]
    before = dict(connection.execute("SELECT key_id, wrapped FROM content_key").fetchall())
    assert keys.rotate(connection, settings) == (2, 3)
    after = dict(connection.execute("SELECT key_id, wrapped FROM content_key WHERE kek = 2").fetchall())
    assert all(after[key.key_id] != before[key.key_id] for key in made)
    assert [keys.open_key(connection, settings, key.key_id) for key in made] == [key.secret for key in made]
    made.append(keys.content_key(connection, settings, "two", "sd", 0))
    assert keys.rotate(connection, settings) == (3, 4)
    assert [keys.open_key(connection, settings, key.key_id) for key in made] == [key.secret for key in made]
    assert sorted(path.name for path in settings.home.secrets.glob("kek*")) == ["kek.2", "kek.3"]
    assert (settings.home.secrets / "kek.3").stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_opened_stops_the_rotation(connection: psycopg.Connection, settings: Settings) -> None:
    made = [keys.content_key(connection, settings, "one", "sd", period) for period in range(3)]
    connection.execute("UPDATE content_key SET wrapped = 'nothing of ours' WHERE period = 1")
    with pytest.raises(TranscodingError, match=made[1].key_id):
        keys.rotate(connection, settings)
    assert connection.execute("SELECT DISTINCT kek FROM content_key").fetchall() == [(1,)]
    assert keys.open_key(connection, settings, made[0].key_id) == made[0].secret


async def test_serving_learns_what_a_key_opens(connection: psycopg.Connection, settings: Settings) -> None:
    made = keys.content_key(connection, settings, "one", "audio", 2)
    async with await psycopg.AsyncConnection.connect(settings.database()) as asynchronous:
        found = await keys.find_key(asynchronous, settings, made.key_id)
        assert found is not None
        assert (found.title_id, found.tier, found.secret) == ("one", "audio", made.secret)
        assert made.secret.hex() not in repr(found)
        assert await keys.find_key(asynchronous, settings, "nobody") is None


def test_a_key_made_under_an_older_version_is_opened_by_it(connection: psycopg.Connection, settings: Settings) -> None:
    """Another process that read the old version just before the rotation writes its key after it."""
    old = secret(settings.home, "kek")
    keys.rotate(connection, settings)
    connection.execute(
        "INSERT INTO content_key (key_id, title_id, tier, period, wrapped, kek) VALUES ('late', 'one', 'sd', 0, %s, 1)",
        (keys._wrap(old, "late", bytes(16)),),
    )
    assert keys.open_key(connection, settings, "late") == bytes(16)


def test_the_command_rotates_and_says_what_to_do_next(connection: psycopg.Connection, settings: Settings) -> None:
    from typer.testing import CliRunner

    from orchestration.commands import app

    made = keys.content_key(connection, settings, "one", "hd", 0)
    told = CliRunner().invoke(app, ["secrets", "rotate"], env=settings.environment())
    assert (told.exit_code, "1 content keys are wrapped by key-encryption key 2" in told.output) == (0, True)
    assert "matinee backup" in told.output
    assert made.secret.hex() not in told.output
    assert keys.open_key(connection, settings, made.key_id) == made.secret


def test_a_second_home_with_a_secret_of_its_own_makes_no_key(
    connection: psycopg.Connection, settings: Settings, tmp_path: Path
) -> None:
    """What it published would play nowhere; and no master is to blame, so it is no verdict."""
    keys.content_key(connection, settings, "one", "hd", 0)
    second = settings.model_copy(update={"home_path": tmp_path / "second"})
    for legacy in (False, True):
        with pytest.raises(TransientError, match="`secrets` of the home that"):
            keys.content_key(connection, second, "two", "hd", 0)
        if not legacy:
            connection.execute("DELETE FROM secret_check")  # as a database that was there before them
    assert connection.execute("SELECT count(*) FROM content_key").fetchone() == (1,)
    shutil.copytree(settings.home.secrets, second.home.secrets, dirs_exist_ok=True)
    made = keys.content_key(connection, second, "two", "hd", 0)
    assert keys.content_key(connection, settings, "two", "hd", 0) == made


def test_a_home_that_missed_a_rotation_makes_no_key(
    connection: psycopg.Connection, settings: Settings, tmp_path: Path
) -> None:
    keys.content_key(connection, settings, "one", "hd", 0)
    second = settings.model_copy(update={"home_path": tmp_path / "second"})
    shutil.copytree(settings.home.secrets, second.home.secrets)
    assert keys.rotate(connection, settings) == (2, 1)
    with pytest.raises(TransientError, match="version 2 of it is not here"):
        keys.content_key(connection, second, "two", "hd", 0)


def test_the_watermarks_secret_belongs_to_a_database_too(
    connection: psycopg.Connection, settings: Settings, tmp_path: Path
) -> None:
    assert keys.confirmed(connection, settings, "watermark") == (1, secret(settings.home, "watermark"))
    second = settings.model_copy(update={"home_path": tmp_path / "second"})
    with pytest.raises(TransientError, match=r"'watermark' .* does not belong"):
        keys.confirmed(connection, second, "watermark")
