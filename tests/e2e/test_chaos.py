"""Nothing acknowledged is lost and nothing is counted twice, whatever is killed while events come in.

The bounded form of `matinee bench intake-chaos`: the long form kills every part once, the everyday one the API and a
build, and one other.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import intake_chaos as chaos
from matinee.errors import MatineeError
from matinee.settings import Settings

ALWAYS = ("api", "build")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Settings]:
    settings = chaos.home(tmp_path / "home")
    try:
        yield settings
    finally:
        with contextlib.suppress(MatineeError):
            chaos.matinee(settings, "down")


@pytest.mark.parametrize("others", [1, pytest.param(len(chaos.VICTIMS) - len(ALWAYS), marks=pytest.mark.slow)])
def test_the_marts_hold_each_acknowledged_event_once_after_parts_were_killed(home: Settings, others: int) -> None:
    seed = int(os.environ.get("MATINEE_CHAOS_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: repeat with MATINEE_CHAOS_SEED={seed}")
    luck = random.Random(seed)
    with chaos.raging(home) as (clients, builder):
        builder.start()
        victims = [*ALWAYS, *luck.sample([name for name in chaos.VICTIMS if name not in ALWAYS], others)]
        for victim in luck.sample(victims, len(victims)):
            print(chaos.kill(home, clients, builder, victim, luck.uniform(0.3, 2.0)))
    found = chaos.outcome(home, clients)
    print(f"{found}, {clients.repeats} repeated batches")
    assert clients.refused == []
    assert clients.repeats > 0
    assert found == chaos.Outcome(len(clients.acknowledged), 0, 0, 0, 0, found.surplus)
    assert found.acknowledged > 1_000
