from datetime import date

import pytest

from simulation.catalogue import demo_feed
from simulation.parameters import Plan
from simulation.viewers import Generated, generate
from simulation.world import SimTitle, World, world_of_feed

END = date(2026, 11, 1)


@pytest.fixture(scope="session")
def world() -> World:
    return world_of_feed(demo_feed())


@pytest.fixture(scope="session")
def long_world(world: World) -> World:
    """The same titles at the length of a cinema: heartbeats matter."""
    return World.of(
        SimTitle(t.title_id, t.item_id, t.genres, t.maturity, 3_600_000 + 60_000 * i, t.order)
        for i, t in enumerate(world.titles)
    )


@pytest.fixture(scope="session")
def made(world: World) -> Generated:
    return generate(Plan(end=END, viewers=400, days=20, seed=5), world)
