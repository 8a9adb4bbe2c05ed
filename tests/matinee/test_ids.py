from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from matinee.clock import ManualClock
from matinee.contracts.feed import TitleId
from matinee.ids import TITLE_ID, content_uuid7, uuid7

MS = st.integers(0, 2**48 - 1)


def test_a_fresh_id_is_a_version_7_uuid_of_its_moment() -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 654_000, tzinfo=UTC)
    made = UUID(uuid7(ManualClock(moment)))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(moment.timestamp() * 1000)


def test_fresh_ids_differ_and_sort_by_time() -> None:
    clock = ManualClock()
    assert len({uuid7(clock) for _ in range(2_000)}) == 2_000
    earlier = uuid7(clock)
    clock.advance(timedelta(milliseconds=1))
    assert earlier < uuid7(clock)


@given(MS, st.lists(st.text(), min_size=1, max_size=4))
def test_content_always_gets_the_same_id(ms: int, parts: list[str]) -> None:
    made = UUID(content_uuid7(ms, *parts))
    assert (made.version, made.variant, made.int >> 80) == (7, "specified in RFC 4122", ms)
    assert str(made) == content_uuid7(ms, *parts)


@given(MS, st.text(alphabet="ab", min_size=1), st.text(alphabet="ab", min_size=1))
def test_the_border_between_parts_counts(ms: int, left: str, right: str) -> None:
    assert content_uuid7(ms, left, right) != content_uuid7(ms, left + right)


def test_a_title_id_is_a_short_plain_word() -> None:
    good = ("a", "tt0111161", "ml:1", "s1.e2-x_y", "x" * 64, ".x", "..x", "...", "." * 64, ".x" * 32)
    bad = ("", "x" * 65, "a b", "a/b", "~masters", "фильм", "a\n", ".", "..", ".\n", "." * 65, ".x" + "x" * 63)
    assert [word for word in good if not TITLE_ID.match(word)] == []
    assert [word for word in bad if TITLE_ID.match(word)] == []
    contract = TypeAdapter(TitleId)
    for word in good:
        assert contract.validate_python(word) == word
    for word in bad:
        with pytest.raises(ValidationError):
            contract.validate_python(word)
