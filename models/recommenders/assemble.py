"""From marts and a fitted model to the system that serves."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.interactions import Interactions
from models.ranking.served import Ranking
from models.recommenders.base import Fitted
from models.recommenders.marts import Marts
from models.recommenders.popularity import Popularity
from models.recommenders.segments import SegmentPopularity
from models.recommenders.similar import neighbours
from models.recommenders.system import HISTORY, About, Asked, Popular, System, golden_of

WINDOWS = (7, 14, 30)
DEFAULT_DAYS = 14  # where no training has chosen one
_GOLDEN = 5
_GOLDEN_HISTORY = 20


def assemble(
    marts: Marts,
    about: About,
    model: Fitted | None,
    *,
    days: int = DEFAULT_DAYS,
    rows: Mapping[str, float] | None = None,
    ranking: Ranking | None = None,
) -> System:
    """A system with its golden requests: nobody's history, an empty one and the longest ones, without anybody's key."""
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
        name="popularity",
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
    histories = marts.data.histories()
    longest = np.argsort(-histories.lengths, kind="stable")[:_GOLDEN]
    cut = histories.take(longest).newest(min(_GOLDEN_HISTORY, HISTORY))
    now = until(marts.data)
    requests = [Asked(now=now)]
    for row in range(len(cut)):
        one = cut.part(row, row + 1)
        times = () if one.times is None else tuple(float(time) for time in one.times)
        requests.append(Asked(tuple(marts.items[item] for item in one.values), times, now=now))
    return requests
