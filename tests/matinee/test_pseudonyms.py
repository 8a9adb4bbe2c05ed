import psycopg
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from matinee.db.viewers import Viewer, add_viewers
from matinee.pseudonyms import Salt, salts
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
