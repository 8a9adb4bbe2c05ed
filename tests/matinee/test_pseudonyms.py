import psycopg
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from matinee.db.viewers import Viewer, add_viewers
from matinee.pseudonyms import Salt, destroy, destroyed, erased, erased_keys, salts
from matinee.settings import Settings

SALT = Salt(bytes(range(32)))
OTHER = Salt(bytes(range(1, 33)))


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_is_stable_and_tells_ids_apart(one: str, two: str) -> None:
    assert len(SALT.key(one)) == 64
    assert SALT.key(one) == SALT.key(one)
    assert (SALT.key(one) == SALT.key(two)) == (one == two)
    assert SALT.key(one) != OTHER.key(one)


@given(st.binary(max_size=300))
def test_what_is_sealed_opens_only_with_its_own_salt(plain: bytes) -> None:
    sealed = SALT.seal(plain)
    assert SALT.open(sealed) == plain
    assert sealed != SALT.seal(plain)
    with pytest.raises(InvalidTag):
        OTHER.open(sealed)
    with pytest.raises(InvalidTag):
        SALT.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_salts_are_made_once_and_kept(settings: Settings) -> None:
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer(f"sim:{n}", "V", "simulate") for n in range(3)])
        first = salts(connection, ["sim:0", "sim:1", "sim:1"])
        again = salts(connection, ["sim:1", "sim:2"])
        assert set(first) == {"sim:0", "sim:1"}
        assert first["sim:1"] == again["sim:1"]
        assert len({salt.value for salt in (first | again).values()}) == 3
        assert salts(connection, []) == {}


def test_two_who_make_a_salt_at_once_get_the_same(settings: Settings) -> None:
    with psycopg.connect(settings.database(), autocommit=True) as one:
        add_viewers(one, [Viewer("sim:1", "V", "simulate")])
        with psycopg.connect(settings.database(), autocommit=True) as two:
            assert salts(one, ["sim:1"]) == salts(two, ["sim:1"])


def test_who_was_erased_gets_no_other_salt_nor_a_second_life(settings: Settings) -> None:
    keys = {"account_key": ["k1"], "session_id": ["v1", "v2"]}
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer(f"sim:{n}", "V", "simulate") for n in range(2)])
        before = salts(connection, ["sim:0", "sim:1"])
        destroy(connection, ["sim:0"], keys)
        assert destroyed(connection, before) == {"sim:0"}
        assert salts(connection, ["sim:0", "sim:1"]) == {"sim:1": before["sim:1"]}
        assert erased(connection, ["sim:0", "sim:1", "never here"]) == {"sim:0"}
        assert erased_keys(connection) == erased_keys(connection, swept=False) == keys
        connection.execute("DELETE FROM account WHERE account_id = 'sim:0'")
        assert add_viewers(connection, [Viewer(f"sim:{n}", "V", "simulate") for n in range(3)]) == 1
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (2,)


def test_a_salt_cannot_be_destroyed_while_a_file_with_its_keys_is_being_made_to_count(settings: Settings) -> None:
    with psycopg.connect(settings.database()) as one, psycopg.connect(settings.database()) as two:
        used = salts(one, ["sim:0"])
        one.commit()
        assert destroyed(one, used) == set()
        two.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            destroy(two, ["sim:0"], {})
        two.rollback()
        one.commit()
        destroy(two, ["sim:0"], {})
        two.commit()
        assert destroyed(one, used) == {"sim:0"}
