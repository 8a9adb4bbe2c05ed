"""From a snapshot to a ranker: sources fitted to the first part of time, learned from what was shown later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from features.asof import asof_join
from features.checks import sides
from features.training import WINDOW, training_set
from features.views import EVENT_TIMESTAMP, PROFILE, VIEWS, full_name
from matinee.settings import Settings
from models.evaluation.drift import moved
from models.interactions import Interactions
from models.ranking.base import RankerResult
from models.ranking.fit import fit_ranker
from models.ranking.frame import TITLE_FEATURES, TOP_GENRE, VIEWER_NUMBERS, TitleTable
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
    """`ranking` None: the blend ranks, `result.reason` says why. `rows`: worth of kinds of rows, {} where unknown.

    `judged`: the ranking as it was judged, of which nothing knows what came from the judged moment on; `drift`:
    population stability index of the features that it reads, then against before.
    """

    result: RankerResult
    ranking: Ranking | None
    rows: dict[str, float]
    judged: Ranking | None = None
    drift: Mapping[str, float] = field(default_factory=dict)


def learn(
    settings: Settings,
    marts: Marts,
    fit: Fit,
    judged_from: float,
    *,
    kids: Mapping[str, bool] | None = None,
    kinds: Sequence[str] = ("gbdt", "mlp"),
    seed: int = 0,
) -> Learned:
    """Learn an order of candidates and the worth of rows from the impressions of the snapshot behind `marts`.

    `fit` gives the sources by name, `blend` among them. It is called with what happened before half of the impressions
    that came before `judged_from` (epoch seconds), which are left out; those after it teach, and from `judged_from` on
    they judge, before all of them teach what serves. `kids`: by profile_key.

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
    since = datetime.fromtimestamp(judged_from, UTC)
    now, then = (
        title_table(snapshot.path / "marts", marts.items, created, marts.genres, at)
        for at in (snapshot.created_at, since)
    )
    result, rows = _fitted(shown, marts, now, fit, judged_from, kids, kinds, seed), learned_rows(shown)
    if result.ranker is None or result.judged is None:
        return Learned(result, None, rows)
    read = {TOP_GENRE, *VIEWER_NUMBERS, *TITLE_FEATURES.values()}
    drift = moved({name: both for name, both in sides(shown, since).items() if name in read})
    return Learned(result, Ranking(result.ranker, now), rows, Ranking(result.judged, then), drift)


def viewers_at(
    settings: Settings, marts: Marts, users: Sequence[int], at: ArrayLike
) -> list[dict[str, float | str | None]]:
    """What the features say of each of these `users` (rows of `marts.profiles`) at its moment `at` (epoch seconds), by
    `<view>__<feature>`: what serving would have read then.

    Raises:
        NoSnapshotError: the snapshot was cleared away since.
        FeatureError: a mart of features is missing.
    """
    views = [view for view in VIEWS if view.entity == PROFILE]
    moments = pl.from_epoch(pl.Series(np.asarray(at) * 1e6, dtype=pl.Int64), "us").dt.replace_time_zone("UTC")
    keys = [marts.profiles[user] for user in users]
    asked = pl.DataFrame({PROFILE.join_key: keys, EVENT_TIMESTAMP: moments})
    known = asof_join(asked, named(settings.lake, marts.snapshot_id).path / "marts", views)
    return known.select(full_name(view, name) for view in views for name in view.names).to_dicts()


def _fitted(
    shown: pl.DataFrame,
    marts: Marts,
    titles: TitleTable,
    fit: Fit,
    judged_from: float,
    kids: Mapping[str, bool] | None,
    kinds: Sequence[str],
    seed: int,
) -> RankerResult:
    seconds = shown[EVENT_TIMESTAMP].dt.epoch("us").to_numpy() / 1e6
    before = seconds[seconds < judged_from]
    start = float(np.median(before)) if len(before) else judged_from
    past = marts.data.where(marts.data.times < start)
    if not len(past):
        return _nothing("nothing was watched before the impressions, so no source could be fitted").result
    users = {profile: row for row, profile in enumerate(marts.profiles)}
    later = shown.filter(pl.Series(seconds >= start))
    regions = dict(zip(marts.profiles, marts.regions, strict=True))
    made = ranking_set(later, fit(past), marts.data, users, marts.items, titles, start, kids, regions)
    return fit_ranker(made, seed, kinds, judged_from=judged_from, decided_s=WINDOW.total_seconds())


def _nothing(reason: str) -> Learned:
    return Learned(RankerResult(None, None, {}, {}, np.ones((1, 1)), reason), None, {})
