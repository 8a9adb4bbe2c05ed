from datetime import UTC, timedelta

from matinee.clock import ManualClock, SystemClock


def test_the_machines_clock_is_in_utc_and_moves() -> None:
    clock = SystemClock()
    first = clock.now()
    assert first.tzinfo is UTC
    assert clock.now() >= first


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    assert clock.now() == start
    clock.advance(timedelta(hours=2))
    assert clock.now() - start == timedelta(hours=2)
