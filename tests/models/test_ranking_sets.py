"""From simulated impressions to a ranker: rows as serving makes them, freed of place, better than the blend."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from features.views import TITLE, VIEWS
from matinee.settings import Settings
from models.errors import ModelError
from models.evaluation.splits import rolling
from models.interactions import Interactions, Ragged
from models.ranking.base import RankerResult, RankingSet
from models.ranking.frame import (
    FEATURES,
    TITLE_FEATURES,
    TITLE_NUMBERS,
    TitleTable,
    candidate_frame,
    source_columns,
    taste_of,
)
from models.ranking.learn import Learned
from models.ranking.pages import learned_rows, paged
from models.ranking.served import Ranking
from models.ranking.sets import ranking_set
from models.ranking.titles import title_table
from models.recommenders import ranked
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend
from models.recommenders.marts import Marts, read_marts
from models.recommenders.promotion import Gate
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.system import Asked, System
from models.recommenders.train import fit_system
from models.recommenders.zoo import Zoo
from simulation.parameters import Business, Dirt, Plan
from simulation.viewers import Generated, generate
from simulation.world import SimTitle, World

GENRES = [f"genre{number}" for number in range(12)]
PLAN = Plan(end=date(2026, 11, 1), viewers=400, days=24, seed=3, dirt=Dirt.none(), business=Business.none())
HALF = (PLAN.start_ms + PLAN.end_ms) / 2e3
WEIGHTS = {"popularity_7d": 0.5, "ease_decay": 1.0, "knn": 0.5}
RECIPE = Recipe(Zoo(), "blend", WEIGHTS)


def a_world(titles: int = 100) -> World:
    rng = np.random.default_rng(0)
    return World.of(
        SimTitle(f"t{number:03d}", f"t{number:03d}", tuple(rng.choice(GENRES, rng.integers(1, 3), False)), 12, 90_000)
        for number in range(titles)
    )


@dataclass(frozen=True)
class Simulated:
    """What a run left, in the columns of `features.training_set`, and models of its first half."""

    world: World
    made: Generated

    @cached_property
    def plays(self) -> pl.DataFrame:
        moment = pl.col("at").cast(pl.Datetime("ms")).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return self.made.deliveries.filter((pl.col("type") == "play") & (pl.col("viewer") >= 0)).select(
            "title_id", profile_key="account_id", event_timestamp=moment, played_at=moment
        )

    @cached_property
    def impressions(self) -> pl.DataFrame:
        moment = pl.col("at").cast(pl.Datetime("ms")).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        shown = self.made.deliveries.filter((pl.col("type") == "impression") & (pl.col("viewer") >= 0)).select(
            "event_id", "session_id", "title_id", "seq", "propensity",
            profile_key="account_id", event_timestamp=moment, surface_position="place",
            surface_row=pl.col("row").replace_strict([0, 1], ["popular", "for_you"], return_dtype=pl.String),
        )  # fmt: skip
        keys = ["profile_key", "title_id"]
        joined = shown.sort(*keys, "event_timestamp").join_asof(
            self.plays.sort(*keys, "event_timestamp"), on="event_timestamp", by=keys, strategy="forward",
            tolerance="24h", check_sortedness=False,
        )  # fmt: skip
        return joined.with_columns(is_played=pl.col("played_at").is_not_null()).sort("event_timestamp", "event_id")

    @cached_property
    def users(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.impressions["profile_key"].unique().sort())}

    @cached_property
    def data(self) -> Interactions:
        rows = [self.users[name] for name in self.plays["profile_key"]]
        items = [self.world.items.index(title) for title in self.plays["title_id"]]
        times = self.plays["played_at"].dt.epoch("ms").to_numpy() / 1e3
        return Interactions.sorted(rows, items, times, len(self.users), len(self.world.items))

    @cached_property
    def sources(self) -> dict[str, Fitted]:
        return self.fit(self.data.where(self.data.times < HALF))

    def fit(self, past: Interactions) -> dict[str, Fitted]:
        fitted = Zoo().fit(past, ("popularity_7d", "ease_decay", "knn"))
        return fitted | {"blend": Blend(fitted, WEIGHTS)}

    @cached_property
    def titles(self) -> TitleTable:
        genres = [self.world.titles[first].genres for first in self.world.first_title]
        return TitleTable.of({"runtime_s": [90.0] * len(genres)}, np.full(len(genres), HALF - 9e6), genres)

    @cached_property
    def later(self) -> pl.DataFrame:
        return self.impressions.filter(pl.col("event_timestamp").dt.epoch("ms") >= HALF * 1e3)

    def ranking_set(self, impressions: pl.DataFrame) -> RankingSet:
        kids = {name: number % 2 == 0 for name, number in self.users.items()}
        items = self.world.items
        return ranking_set(impressions, self.sources, self.data, self.users, items, self.titles, HALF, kids)


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    world = a_world()
    return Simulated(world, generate(PLAN, world))


def test_a_row_at_serving_is_the_row_of_training(simulated: Simulated) -> None:
    known = {"profile_activity__plays_30d": 7, "profile_taste__top_genre": "genre3"}
    then = {"title_popularity__plays_7d": 11, "title_content__year": 1999}
    columns = [pl.lit(value).alias(name) for name, value in (known | then).items()]
    shown = simulated.later.with_columns(columns)
    page = paged(shown).filter(pl.col("page") == 40)
    made = simulated.ranking_set(shown)
    trained = made.X[made.group == 40]
    assert len(trained) == len(page) > 5
    assert made.weight.max() > made.weight.min() > 0

    at = page["event_timestamp"][0].timestamp()
    rows, number = simulated.data, simulated.users[page["profile_key"][0]]
    history = rows.where((rows.users == number) & (rows.times < at))
    asked = Ragged(np.array([0, len(history)]), history.items, history.times, np.array([at]))
    chosen = np.array([simulated.world.items.index(title) for title in page["title_id"]])
    of = {name: source_columns(model.score(asked)[0], chosen) for name, model in simulated.sources.items()}
    served = candidate_frame(
        {name: scores for name, (scores, _) in of.items()},
        {name: ranks for name, (_, ranks) in of.items()},
        simulated.titles.take(chosen).known({"plays_7d": 11, "year": 1999}),
        known | {"kids": float(number % 2 == 0)},
        at,
        page["surface_position"].to_numpy(),
        taste=taste_of([simulated.titles.genres[item] for item in history.items]),
        row=page["surface_row"].to_list(),
        vertical=page["vertical"].to_numpy(),
    )
    np.testing.assert_allclose(trained, served, rtol=1e-5, atol=1e-6)  # pages are scored in batches
    told = {name: trained[:, FEATURES.index(name)] for name in FEATURES}
    assert np.isfinite(told["score_blend"]).all()
    assert np.isnan(told["score_sequence"]).all()
    assert set(told["vertical"]) == {0, 1}
    assert set(told["plays_7d"]) == {11}


def test_rows_stand_in_the_order_of_the_experiment_and_what_says_no_place_is_left_out(simulated: Simulated) -> None:
    pages = paged(simulated.later)
    lead = pages.filter(pl.col("vertical") == 0).group_by("page").agg(pl.col("surface_row").unique().sort())
    assert lead["surface_row"].list.len().max() == 1
    assert set(lead["surface_row"].list.first()) == {"popular", "for_you"}
    lost = simulated.later.with_columns(surface_position=pl.lit(None, pl.Int16))
    assert len(simulated.ranking_set(lost)) == 0


def test_what_viewers_resumed_or_searched_for_teaches_nothing_of_candidates(simulated: Simulated) -> None:
    row = pl.when(pl.col("surface_row") == "popular").then(pl.lit("continue")).otherwise("surface_row")
    mixed = simulated.later.with_columns(surface_row=row)
    left = simulated.ranking_set(mixed)
    assert len(left) == (mixed["surface_row"] == "for_you").sum()


def test_an_impression_that_the_sources_have_learned_from_is_refused(simulated: Simulated) -> None:
    with pytest.raises(ModelError, match="older than the fit of its sources"):
        simulated.ranking_set(simulated.impressions)


def test_the_row_chosen_for_viewers_is_worth_more_than_it_seems(simulated: Simulated) -> None:
    values = learned_rows(simulated.impressions)
    assert set(values) == {"popular", "for_you"}
    assert sum(values.values()) == pytest.approx(0)
    assert learned_rows(simulated.impressions.clear()) == {}


def publish(settings: Settings, simulated: Simulated, make: SimpleNamespace) -> Path:
    """A snapshot of what a run left, with the marts that learning reads."""
    world, plays, shown = simulated.world, simulated.plays, simulated.impressions
    rows = plays.select(profile="profile_key", item="title_id", at="played_at").sort("at").to_dicts()
    genres = [list(map(str, simulated.titles.genres[number])) for number in range(len(world.items))]
    folder = make.publish(settings, make.titles(list(world.items), genres=genres), make.interactions(rows))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(make.start.isoformat(), "2026-11-03T00:00:00+00:00"))
    nothing = {"request_id": None, "experiments": None, "model": None, "version": None, "source": None}
    shown.select(
        "event_id", "session_id", "seq", "propensity", "profile_key", "title_id", "is_played",
        item_id="title_id", shown_at="event_timestamp", row_id="surface_row", position="surface_position",
        origin=pl.lit("simulate"), is_bot=pl.lit(value=False),
        **{name: pl.lit(value, pl.String) for name, value in nothing.items()},
    ).write_parquet(folder / "marts" / "fct_impression.parquet")  # fmt: skip
    kinds = {"string": pl.String, "int32": pl.Int32, "int64": pl.Int64, "double": pl.Float64}
    for view in VIEWS:
        key = shown[view.entity.join_key].unique().sort()
        columns = [pl.lit(None, kinds[kind]).alias(name) for name, kind in view.columns]
        begin = datetime.fromtimestamp(PLAN.start_ms / 1e3, UTC)
        known = pl.DataFrame({view.entity.join_key: key}).with_columns(*columns, event_timestamp=begin)
        if "plays_30d" in view.names:
            known = known.with_columns(plays_30d=pl.int_range(pl.len()))
        known.write_parquet(folder / "marts" / f"{view.mart}.parquet")
    return folder


class Watched(Fits):
    """`seen`: the shares of the data that were fitted to."""

    seen: list[Interactions]

    def of(self, data: Interactions, zoo: Zoo, names: Collection[str] | None = None) -> dict[str, Fitted]:
        self.seen.append(data)
        return super().of(data, zoo, names)


def test_a_snapshot_teaches_a_ranking_that_the_gate_lets_in_and_is_stored_and_serves(
    settings: Settings, simulated: Simulated, make: SimpleNamespace
) -> None:
    folder = publish(settings, simulated, make)
    marts, fits = read_marts(settings), Watched()
    fits.seen = seen = []
    gate = Gate(marts, rolling(marts.data, folds=1), fits, Zoo())
    made, verdict = ranked.learned(settings, gate, RECIPE)
    assert verdict is not None, made.result.reason
    assert verdict.promoted, verdict.text
    assert len(verdict.checks) == 10
    assert made.ranking is not None
    assert made.judged is not None
    assert made.judged.ranker is not made.ranking.ranker, "what was judged did not learn from the fold"
    known = ranked.features(settings, gate)
    assert set(known) == set(gate.folds.tasks[-1].users)
    assert {marts.profiles[user]: of["profile_activity__plays_30d"] for user, of in known.items()}.items() <= (
        simulated.users.items()
    ), "each their own, as they were then"
    assert made.result.metrics["gbdt"]["ndcg"] > 1.05 * made.result.metrics["blend"]["ndcg"]
    # As in the truth: the row that stands first is looked at more, and of it the first place.
    truth = np.array([r["odds"] for r in simulated.made.documents["examination"][:10]]).reshape(2, 5)
    effect = made.result.position_effect
    assert effect.shape == (2, 5)
    assert (effect[1] < effect[0]).all()
    assert spearmanr(effect.ravel(), truth.ravel()).statistic > 0.9
    assert set(made.rows) == {"popular", "for_you"}
    assert 0.2 < len(seen[0]) / len(marts.data) < 0.6

    again = Ranking.restored(made.ranking.ranker.kind, made.ranking.arrays(), marts.genres)
    rows = np.argsort(-marts.data.histories().lengths, kind="stable")[:20]
    fitted, chosen, alike = simulated.fit(marts.data), np.arange(len(marts.items)), []
    for row in rows.tolist():
        history = marts.data.histories().take([row])
        scores_of = {name: model.score(history)[0] for name, model in fitted.items()}
        sources = {name: source_columns(scores, chosen) for name, scores in scores_of.items()}
        asked = (chosen, sources, history.values, {"profile_activity__plays_30d": 5}, False, 1.8e9)
        scores = again.scores(*asked)
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(scores, made.ranking.scores(*asked))
        alike.append(spearmanr(scores, scores_of["blend"]).statistic)
    assert np.mean(alike) > 0.1, "it corrects the blend and does not forget it"
    system_keeps_its_ranking(marts, made.ranking, made.rows, folder.parents[1] / "exported")
    # A title of this minute is known by its genres, to no source.
    grown = again.with_titles([("genre1",)])
    everything = np.arange(len(marts.items) + 1)
    unknown = {name: np.append(values, np.float32(np.nan)) for name, values in scores_of.items()}
    columns = {name: source_columns(values, everything) for name, values in unknown.items()}
    of_all = grown.scores(everything, columns, history.values, {}, False, 1.8e9)
    assert np.isfinite(of_all).all()
    with pytest.raises(ValueError, match="unpack"):
        grown.scores(everything, unknown, history.values, {}, False, 1.8e9)  # pyright: ignore[reportArgumentType]
    older = again.arrays() | {"ranker/names": again.arrays()["ranker/names"][:-1]}
    with pytest.raises(ModelError, match="other features"):
        Ranking.restored("gbdt", older, marts.genres)

    (folder / "marts" / "fct_impression.parquet").unlink()
    without, verdict = ranked.learned(settings, gate, RECIPE)
    assert without.ranking is verdict is None
    assert "no impressions" in without.result.reason


def system_keeps_its_ranking(marts: Marts, ranking: Ranking, rows: dict[str, float], folder: Path) -> None:
    """What serves with a ranker puts titles into the same order after a way through files, another than without."""
    system = fit_system(marts, RECIPE, ranker=Learned(RankerResult(None, None, {}, {}, np.ones((1, 1))), ranking, rows))
    system.save(folder)
    loaded = System.load(folder)
    loaded.check()
    assert loaded.about.ranker == "gbdt"
    assert loaded.rows == rows
    history = marts.data.histories()[int(np.argmax(marts.data.histories().lengths))]
    items, features = tuple(marts.items[item] for item in history), {"profile_activity__plays_30d": 5}
    everything = system.mask(system.items)
    for asked in (Asked(items, now=1.8e9), Asked(items[:2], features=features, kids=True, now=1.8e9), Asked()):
        assert loaded.rank(asked, everything) == system.rank(asked, everything)
    plain = replace(system, ranking=None)
    orders = [[pick.title_id for pick in one.rank(Asked(items, now=1.8e9), everything)] for one in (loaded, plain)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_titles_are_served_as_they_would_be_trained_on(tmp_path: Path) -> None:
    day = datetime(2026, 10, 1, tzinfo=UTC)
    for view in (view for view in VIEWS if view.entity == TITLE):
        kinds = {"string": pl.String, "int32": pl.Int32, "int64": pl.Int64, "double": pl.Float64}
        columns = {name: pl.Series([None, None], dtype=kinds[kind]) for name, kind in view.columns}
        frame = pl.DataFrame({"title_id": ["a", "a"], "event_timestamp": [day, day.replace(day=5)], **columns})
        if "plays_7d" in view.names:
            frame = frame.with_columns(plays_7d=pl.Series([3, 9], dtype=pl.Int64))
        frame.write_parquet(tmp_path / f"{view.mart}.parquet")
    made = title_table(tmp_path, ["b", "a"], [0.0, 1.0], [(), ("drama",)], day.replace(day=2))
    assert made.numbers[1, TITLE_NUMBERS.index("plays_7d")] == 3
    assert set(TITLE_FEATURES) == set(TITLE_NUMBERS)
    assert np.isnan(made.numbers[0]).all()
    assert made.genres[1] == ("drama",)
