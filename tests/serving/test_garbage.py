"""What was loaded is looked through once; nothing that was frozen stays for ever."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving.garbage import Settling


class _Loaded:
    other: object = None


@pytest.fixture
def frozen() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _cycle() -> "weakref.ref[_Loaded]":
    one, other = _Loaded(), _Loaded()
    one.other, other.other = other, one
    return weakref.ref(one)


@pytest.mark.usefixtures("frozen")
def test_what_was_loaded_is_out_of_sight_and_goes_with_its_last_reference() -> None:
    settle, before = Settling(), gc.get_freeze_count()
    loaded, garbage = [_Loaded() for _ in range(1_000)], _cycle()
    settle()
    assert gc.get_freeze_count() >= before + 1_000
    assert garbage() is None  # was not frozen with the rest
    gone = weakref.ref(loaded[0])
    loaded.clear()
    assert gone() is None


@pytest.mark.usefixtures("frozen")
def test_a_cycle_that_was_frozen_in_use_goes_when_everything_is_looked_through() -> None:
    one = _Loaded()
    one.other = one
    seen, settle, later = weakref.ref(one), Settling(), Settling(everything_s=0.0)
    settle()
    del one
    settle()
    assert seen() is not None
    later()
    assert seen() is None


def test_a_process_that_froze_nothing_is_left_alone() -> None:
    assert gc.get_freeze_count() == 0
    Settling()()
    assert gc.get_freeze_count() == 0
