"""Who the viewers are: taste, how often they come, device, country, connection, clock."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from matinee.db.viewers import Viewer
from simulation.parameters import MS_PER_DAY, Plan
from simulation.streams import stream
from simulation.world import World

# The unit that regenerates alone.
BLOCK = 256

COUNTRIES = ("RU", "US", "DE", "GB", "KZ", "FR")
_COUNTRY_SHARE = (0.32, 0.22, 0.14, 0.12, 0.1, 0.1)
_UTC_OFFSET_H = np.array([3, -5, 1, 0, 5, 1])
_RUSSIAN = {"RU", "KZ"}
DEVICES = ("tv", "web", "phone", "tablet")
_DEVICE_SHARE = (0.38, 0.27, 0.25, 0.1)
_KIDS_SHARE = 0.06
_KIDS_LIMIT = 12
_MAX_SKEW_MS = 20 * 3_600_000  # the server refuses clocks that are a day ahead


@dataclass(frozen=True)
class Population:
    """One block of viewers; arrays by position in the block. `number` counts from 0 over the whole run."""

    number: np.ndarray
    taste: np.ndarray  # viewers x genres, rows sum to 1
    rate: np.ndarray  # visits a day
    country: np.ndarray
    device: np.ndarray
    maturity: np.ndarray
    mbps: np.ndarray
    skew_ms: np.ndarray

    @property
    def utc_offset_h(self) -> np.ndarray:
        return _UTC_OFFSET_H[self.country]


def blocks(viewers: int) -> range:
    return range(-(-viewers // BLOCK))


def population(plan: Plan, world: World, block: int) -> Population:
    """The viewers of a block. Draws are always made for a whole block: viewer 7 is the same in a run of 10 or 1,000."""
    random = stream(plan.seed, "population", block)
    count = min(BLOCK, plan.viewers - block * BLOCK)
    behaviour = plan.behaviour
    taste = random.dirichlet(np.full(len(world.genre_names), 0.25), BLOCK)
    rate = random.gamma(behaviour.activity_shape, behaviour.visits_per_day / behaviour.activity_shape, BLOCK)
    country = random.choice(len(COUNTRIES), BLOCK, p=_COUNTRY_SHARE)
    device = random.choice(len(DEVICES), BLOCK, p=_DEVICE_SHARE)
    kids = random.random(BLOCK) < _KIDS_SHARE
    mbps = random.lognormal(np.log(8.0), 0.8, BLOCK)
    skewed = random.random(BLOCK) < plan.dirt.skewed_viewers
    skew = random.integers(-_MAX_SKEW_MS, _MAX_SKEW_MS, BLOCK)
    return Population(
        number=block * BLOCK + np.arange(count),
        taste=taste[:count].astype(np.float32),
        rate=rate[:count],
        country=country[:count],
        device=device[:count],
        maturity=np.where(kids, _KIDS_LIMIT, 18)[:count],
        mbps=mbps[:count],
        skew_ms=np.where(skewed, skew, 0)[:count],
    )


def account_id(run: str, number: int) -> str:
    return f"sim-{run}-{number}"


def bot_account_id(run: str, number: int) -> str:
    return f"sim-{run}-bot-{number}"


def joined_ms(plan: Plan, people: Population, block: int) -> np.ndarray:
    """When each viewer of a block signed up: some within the simulated time, the others up to a year before.

    One in ten at midnight sharp, where days and months meet.
    """
    random = stream(plan.seed, "joined", block)
    within, share, sharp = (random.random(BLOCK)[: len(people.number)] for _ in range(3))
    inside = within < plan.business.joins_within
    length = np.where(inside, 0.9 * (plan.end_ms - plan.start_ms), 365 * MS_PER_DAY)
    joined = (plan.start_ms + np.where(inside, share, -share) * length).astype(np.int64)
    return np.where(sharp < 0.1, joined // MS_PER_DAY * MS_PER_DAY, joined)


def viewers(run: str, people: Population, joined: np.ndarray) -> list[Viewer]:
    """The block as accounts."""
    return [
        Viewer(
            account_id=account_id(run, int(number)),
            name=f"Viewer {int(number) + 1}",
            origin="simulate",
            country=COUNTRIES[country],
            maturity=int(maturity),
            language="ru" if COUNTRIES[country] in _RUSSIAN else "en",
            created_at=datetime.fromtimestamp(moment / 1000, UTC),
        )
        for number, country, maturity, moment in zip(
            people.number, people.country, people.maturity, joined, strict=True
        )
    ]


def bot_viewers(plan: Plan, run: str, bots: np.ndarray) -> list[Viewer]:
    """Accounts of crawlers (below zero, see `others`), which were there when the simulated time began."""
    began = datetime.fromtimestamp(plan.start_ms / 1000, UTC)
    return [
        Viewer(
            account_id=bot_account_id(run, -1 - int(bot)),
            name="Crawler",
            origin="simulate",
            country=COUNTRIES[0],
            created_at=began,
        )
        for bot in bots
    ]
