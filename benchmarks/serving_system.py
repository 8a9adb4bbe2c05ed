"""A system with everything that a trained one may hold: all sources, both networks, segments, and a ranker.

What the networks have learnt does not matter for how long they take: they have the product's sizes and train briefly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.interactions import Interactions
from models.ranking.served import Ranking
from models.recommenders.content import TitleContent
from models.recommenders.system import System

PARTS = {"popularity_14d": 0.2, "ease_decay": 1.0, "knn": 1.0, "ials": 0.5, "two_tower": 0.35, "sequence": 0.5}
TREES = 120  # the most that training tries
_PAGES, _ON_A_PAGE = 400, 20
_STEPS = 20  # of either network, about


@dataclass(frozen=True)
class Fitted:
    """What the system is fitted to. `content` [n_items]; `regions`, `kids` [n_users]."""

    data: Interactions
    content: Sequence[TitleContent]
    regions: Sequence[str | None]
    kids: NDArray[np.bool_]

    @property
    def genres(self) -> list[tuple[str, ...]]:
        return [of.genres for of in self.content]


def system_of(world: Fitted) -> System:
    """Every source of the product, its two networks, what is popular by segment, and trees that rank."""
    from models.recommenders.assemble import recent
    from models.recommenders.blend import Blend
    from models.recommenders.recipe import Fits
    from models.recommenders.segments import SegmentPopularity
    from models.recommenders.sequence.fit import SequenceModel
    from models.recommenders.similar import neighbours
    from models.recommenders.system import About, Asked, golden_of
    from models.recommenders.two_tower import TwoTower
    from models.recommenders.zoo import Side, Zoo

    whole, data = Zoo.whole(), world.data
    assert isinstance(whole.two_tower, TwoTower)
    assert isinstance(whole.sequence, SequenceModel)
    brief = replace(
        whole,
        two_tower=replace(whole.two_tower, examples=_STEPS * whole.two_tower.batch),
        sequence=replace(whole.sequence, steps=_STEPS),
    )
    parts = Fits(Side(world.content, world.regions, world.kids)).of(data, brief, tuple(PARTS))
    made = System(
        about=About("matinee-recommender", "1", "bench", "bench", "blend"),
        items=[of.title_id for of in world.content],
        titles=world.genres,
        created=np.zeros(len(world.content)),
        model=Blend(dict(parts), PARTS),
        recent=recent(data, 14),
        neighbours=neighbours(data, world.genres),
        segments=SegmentPopularity(14).fit(data, world.regions, world.kids),
    )
    ranked = replace(made, ranking=_ranking(made, world))
    known = {"profile_activity__plays_30d": 5, "profile_taste__top_genre": world.genres[0][0]}
    first = tuple(of.title_id for of in world.content[:2])
    requests = [Asked(first, now=1.0), Asked(first, (1.0, 2.0), world.regions[0], True, known, now=3.0)]
    return replace(ranked, golden=golden_of(ranked, requests))


def _ranking(system: System, world: Fitted) -> Ranking:
    """Trees fitted to invented impressions: titles of a viewer's history were played, others were not."""
    from models.ranking import gbdt
    from models.ranking.base import RankingSet
    from models.ranking.frame import FEATURES, TITLE_NUMBERS, TitleTable, candidate_frame, source_columns, taste_of
    from models.recommenders.blend import Blend

    random, blend = np.random.default_rng(2), system.model
    assert isinstance(blend, Blend)
    numbers = {name: random.integers(0, 100, len(world.content)).astype(np.float32) for name in TITLE_NUMBERS}
    titles = TitleTable.of(numbers, system.created, world.genres)
    histories, rows, labels = world.data.histories(), [], []
    for user in random.integers(0, world.data.n_users, _PAGES):
        history = histories.take([user]).asked([90 * 86_400.0])
        taken = history.values
        others = random.integers(0, len(world.content), _ON_A_PAGE - 6)
        chosen = np.concatenate((random.choice(taken, 6), others))
        before = history.without_newest(6)
        of = {name: source_columns(part.score(before)[0], chosen) for name, part in blend.parts.items()}
        of["blend"] = of["ease_decay"]
        user_row = {f"profile_activity__{name}": float(random.integers(0, 60)) for name in ("plays_7d", "plays_30d")}
        scores, ranks = ({name: pair[side] for name, pair in of.items()} for side in (0, 1))
        taste = taste_of([world.genres[item] for item in taken])
        place = np.arange(len(chosen))
        rows.append(candidate_frame(scores, ranks, titles.take(chosen), user_row, 90 * 86_400.0, place, taste=taste))
        labels.append(np.isin(chosen, taken))
    count = _PAGES * _ON_A_PAGE
    played = np.concatenate(labels).astype(np.float32)
    groups, ones = np.repeat(np.arange(_PAGES), _ON_A_PAGE), np.ones(count, dtype=np.float32)
    places = np.tile(np.arange(_ON_A_PAGE, dtype=np.float32), _PAGES)
    data = RankingSet(np.concatenate(rows), played, groups, ones, places, np.zeros(count))
    return Ranking(gbdt.train(data, FEATURES, 0, trees=TREES), titles)
