"""From a snapshot to a ranker: sources fitted to the first part of time, learned from what was shown later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.training import training_set
from features.views import EVENT_TIMESTAMP
from matinee.settings import Settings
from models.interactions import Interactions
from models.ranking.base import RankerResult
from models.ranking.fit import fit_ranker
from models.ranking.frame import TitleTable
from models.ranking.pages import learned_rows
from models.ranking.served import Ranking
from models.ranking.sets import ranking_set
from models.ranking.titles import title_table
from models.recommenders.base import Fitted
from models.recommenders.marts import Marts
from warehouse.snapshot import named

Fit = Callable[[Interactions], Mapping[str, Fitted]]


@dataclass(frozen=True)
class Learned:
    """`ranking` None: the blend ranks, `result.reason` says why. `rows`: worth of kinds of rows, {} where unknown."""

    result: RankerResult
    ranking: Ranking | None
    rows: dict[str, float]


def learn(
    settings: Settings,
    marts: Marts,
    fit: Fit,
    *,
    kids: Mapping[str, bool] | None = None,
    kinds: Sequence[str] = ("gbdt", "mlp"),
    seed: int = 0,
) -> Learned:
    """Learn an order of candidates and the worth of rows from the impressions of the snapshot behind `marts`.

    `fit` gives the sources by name, `blend` among them. It is called with what happened before half of the impressions,
    which are left out; those after it teach. `kids`: by profile_key.

    Raises:
        NoSnapshotError: the snapshot was cleared away since.
        FeatureError: it has impressions, but a mart of features is missing.
    """
    snapshot = named(settings.lake, marts.snapshot_id)
    if not snapshot.parquet("fct_impression").exists():
        return _nothing("the snapshot has no impressions")
    shown = training_set(settings, snapshot_id=marts.snapshot_id)
    if shown.is_empty():
        return _nothing("nothing was shown yet whose outcome is known")
    created = np.where(marts.created > 0, marts.created, np.nan)
    titles = title_table(snapshot.path / "marts", marts.items, created, marts.genres, snapshot.created_at)
    result = _fitted(shown, marts, titles, fit, kids, kinds, seed)
    return Learned(result, None if result.ranker is None else Ranking(result.ranker, titles), learned_rows(shown))


def _fitted(
    shown: pl.DataFrame,
    marts: Marts,
    titles: TitleTable,
    fit: Fit,
    kids: Mapping[str, bool] | None,
    kinds: Sequence[str],
    seed: int,
) -> RankerResult:
    seconds = shown[EVENT_TIMESTAMP].dt.epoch("us").to_numpy() / 1e6
    start = float(np.median(seconds))
    past = marts.data.where(marts.data.times < start)
    if not len(past):
        return _nothing("nothing was watched before the impressions, so no source could be fitted").result
    users = {profile: row for row, profile in enumerate(marts.profiles)}
    later = shown.filter(pl.Series(seconds >= start))
    regions = dict(zip(marts.profiles, marts.regions, strict=True))
    made = ranking_set(later, fit(past), marts.data, users, marts.items, titles, start, kids, regions)
    return fit_ranker(made, seed, kinds)


def _nothing(reason: str) -> Learned:
    return Learned(RankerResult(None, None, {}, {}, np.ones((1, 1)), reason), None, {})
