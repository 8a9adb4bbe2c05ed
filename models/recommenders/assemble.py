"""From marts and a fitted model to the system that serves."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.interactions import Interactions, Ints
from models.ranking.served import Ranking
from models.recommenders.base import Fitted
from models.recommenders.marts import Marts
from models.recommenders.popularity import Popularity
from models.recommenders.segments import SegmentPopularity
from models.recommenders.similar import neighbours
from models.recommenders.system import About, Asked, Popular, System, golden_of

POPULARITY = "popularity"  # how a system is called that has no model
WINDOWS = (7, 14, 30)
DEFAULT_DAYS = 14  # where no training has chosen one
_GOLDEN = (1, 5, 10, 20, 20)  # how long the golden histories are
_POPULAR = 50
_DAY_S = 86_400.0


def assemble(
    marts: Marts,
    about: About,
    model: Fitted | None,
    *,
    days: int = DEFAULT_DAYS,
    rows: Mapping[str, float] | None = None,
    ranking: Ranking | None = None,
) -> System:
    """A system with its golden requests."""
    made = System(
        about=about,
        items=marts.items,
        titles=[tuple(genres) for genres in marts.genres],
        created=marts.created,
        model=model,
        recent=recent(marts.data, days),
        neighbours=neighbours(marts.data, marts.genres),
        rows=rows or {},
        segments=SegmentPopularity(days).fit(marts.data, marts.regions, marts.kids),
        ranking=ranking,
    )
    return replace(made, golden=golden_of(made, golden_requests(marts)))


def recent(data: Interactions, days: int) -> Popular:
    return Popular({window: Popularity(window).fit(data).counts for window in WINDOWS}, days)


def popularity_system(marts: Marts) -> System:
    """What serves while no model was promoted."""
    about = About(
        name=POPULARITY,
        version=f"popularity-{marts.snapshot_id}",
        snapshot_id=marts.snapshot_id,
        data_hash=marts.data_hash,
        kind=f"popularity_{DEFAULT_DAYS}d",
        fitted_until=until(marts.data),
    )
    return assemble(marts, about, None)


def until(data: Interactions) -> float:
    """The moment of the newest interaction, in seconds; 0 where there is none."""
    return float(data.times.max(initial=0.0))


def golden_requests(marts: Marts) -> list[Asked]:
    """An empty history and invented ones: popular titles and any others, a day apart at midnight (UTC).

    They are kept with every version of a model, which outlives the people it was fitted to: so they are nobody's.
    """
    now = until(marts.data) // _DAY_S * _DAY_S
    counts = np.bincount(marts.data.items, minlength=len(marts.items))
    popular = np.argsort(-counts, kind="stable")[:_POPULAR]
    return [Asked(now=now), *(_invented(marts, popular, length, seed, now) for seed, length in enumerate(_GOLDEN))]


def _invented(marts: Marts, popular: Ints, length: int, seed: int, now: float) -> Asked:
    """At most half of the catalogue, so that titles are left to answer with."""
    drawn = np.random.default_rng(seed)
    count = len(marts.items)
    order = dict.fromkeys([*drawn.permutation(popular)[: (length + 1) // 2], *drawn.permutation(count)])
    chosen = drawn.permutation(list(order)[: min(length, count // 2)])
    times = tuple(now - _DAY_S * ago for ago in range(len(chosen), 0, -1))
    return Asked(tuple(marts.items[item] for item in chosen), times, now=now)
