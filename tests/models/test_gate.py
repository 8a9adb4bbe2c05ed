"""Poisoned challengers on simulated viewing with structure: each refused for its own reason, a better one let in."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from models.errors import ModelError
from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.checks import (
    Bars,
    Measured,
    cold_viewers,
    drift,
    enough_viewers,
    not_surely_worse,
    surely_better,
)
from models.evaluation.gate import Contender, Verdict, judge, measure
from models.evaluation.metrics import evaluate
from models.evaluation.splits import DAY_S, Rolling, Task, rolling
from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.base import Fitted, standardised
from models.recommenders.ease import Ease
from models.recommenders.popularity import Popularity

GENRES, SIZE, VIEWERS, WEEKS = 6, 20, 320, 12
TITLES = GENRES * SIZE
FORBIDDEN = 0  # the genre that children may not see


def viewing(seed: int = 0) -> Interactions:
    """Viewers take turns between two genres: mostly they go on to the next title, else they take one of the titles
    that everybody talks about in these weeks. A fifth of them come in the last weeks only."""
    rng = np.random.default_rng(seed)
    talked_about = rng.permutation(np.arange(SIZE, TITLES))  # fit for children, too
    rows = []
    for viewer in range(VIEWERS):
        genres = rng.choice(np.arange(1 if is_child(viewer) else 0, GENRES), size=2, replace=False)
        last, seen = rng.integers(SIZE, size=2), set()
        for step, week in enumerate(np.sort(rng.uniform(WEEKS - 3 if viewer % 5 == 0 else 0, WEEKS, size=14))):
            turn = step % 2
            if rng.random() < 0.75:
                last[turn] = (last[turn] + 1) % SIZE
                title = int(genres[turn] * SIZE + last[turn])
            else:
                title = int(talked_about[int(week / 3) * 8 + rng.integers(8)])
            if title not in seen:
                seen.add(title)
                rows.append((viewer, title, week * 7 * DAY_S))
    users, items, times = zip(*rows, strict=True)
    return Interactions.sorted(users, items, times, VIEWERS, TITLES)


def is_child(viewer: int) -> bool:
    return viewer % 7 == 0


@dataclass(frozen=True)
class Mixed:
    """The sum of models; popularity for viewers whom they do not know; some titles `never` for those whom they do."""

    parts: tuple[Fitted, ...]
    popular: Fitted
    never: tuple[int, ...] = ()

    def score(self, histories: Ragged) -> Floats:
        made = sum((standardised(part.score(histories)) for part in self.parts), np.float32(0))
        known = made.any(axis=1)
        made[np.ix_(known, self.never)] = made.min() - 1
        return np.where(known[:, None], made, self.popular.score(histories))

    def arrays(self) -> dict:
        return {}


def plain(past: Interactions) -> Fitted:
    return Mixed((Ease(penalty=3000, decay=1.0).fit(past),), Popularity(14).fit(past))


def better(past: Interactions, never: tuple[int, ...] = ()) -> Fitted:
    parts = (Ease(penalty=20, decay=1.0).fit(past),)
    return Mixed(parts, Popularity(14).fit(past), never)


def shuffled(past: Interactions) -> Fitted:
    titles = np.random.default_rng(0).permutation(past.items)
    return better(replace(past, items=titles))


def careless(fitted: Fitted, task: Task, allowed: np.ndarray) -> Ints:
    """The best of what is allowed, and for a try some unseen title in the last place, whoever is watching."""
    top = evaluate(fitted.score, task, allowed=allowed).top
    rng = np.random.default_rng(0)
    top[:, -1] = evaluate(lambda rows: rng.random((len(rows), TITLES), np.float32), task, k=1).top[:, 0]
    return top


@dataclass(frozen=True)
class World:
    data: Interactions
    folds: Rolling
    allowed: list[np.ndarray]
    genres: Floats

    def judge(self, name: str, fit, *, recorded: dict[str, float] | None = None, champion=plain, **given) -> Verdict:
        challenger = Contender(name, fit, recommend=given.pop("recommend", None), recipe=given.pop("recipe", ""))
        made = measure(challenger, self.folds.tasks, allowed=self.allowed).record() if recorded is None else recorded
        return judge(
            replace(challenger, recorded=made),
            Contender("ease", champion, recipe=given.pop("reigning", "ease")) if champion else None,
            [Contender(f"popularity_{days}d", Popularity(days).fit) for days in (7, 14, 30)],
            self.folds,
            **{"allowed": self.allowed, "genres": self.genres, **given},
        )


@pytest.fixture(scope="module")
def world() -> World:
    data = viewing()
    folds = rolling(data)
    genre = np.arange(TITLES) // SIZE
    children = np.array([is_child(viewer) for viewer in range(VIEWERS)])
    allowed = [~(children[task.users][:, None] & (genre == FORBIDDEN)[None, :]) for task in folds.tasks]
    return World(data, folds, allowed, np.eye(GENRES, dtype=np.float32)[genre])


def test_a_truly_better_challenger_is_promoted_with_a_report(world: World) -> None:
    def careful(fitted: Fitted, task: Task, allowed: np.ndarray) -> Ints:
        return evaluate(fitted.score, task, allowed=allowed).top

    verdict = world.judge("blend", better, drift={"profile_activity__plays": 0.03}, recommend=careful)
    assert verdict.promoted, verdict.text
    assert verdict.reference == "ease"
    assert all(check.value is not None for check in verdict.checks), "everything was measured"
    told = json.loads(verdict.json)
    assert told["promoted"]
    assert len(told["checks"]) == len(verdict.checks) == 13
    for check in verdict.checks:
        assert f"| {check.name} | yes | {check.text} | {check.bar} |" in verdict.markdown
    again = world.judge("blend", better, note="its lists")
    assert abs((again.checks[1].value or 0) - (verdict.checks[1].value or 0)) < 1e-3, "lists of the same order"
    assert "its lists" in again.text
    (rules,) = [check for check in again.checks if check.name == "hard_rules"]
    assert rules.value is None, "scores that are masked cannot break a rule: then nothing is claimed"


def test_shuffled_labels_lose_to_popularity(world: World) -> None:
    verdict = world.judge("shuffled", shuffled)
    assert not verdict.promoted
    assert {"beats_baselines", "surely_better", "no_fold_worse"} <= set(verdict.failed)
    assert not {"reproducible", "learns_from_the_past", "hard_rules", "latency"} & set(verdict.failed), (
        "honest, but bad"
    )


def test_a_run_that_was_judged_on_what_it_was_fitted_to_cannot_be_reproduced(world: World) -> None:
    """The leak is in the run: the same model, measured there after a fit to everything."""
    leaking = Contender("leaking", lambda _: better(world.data))
    inflated = measure(leaking, world.folds.tasks, allowed=world.allowed).record()
    verdict = world.judge("leaking", better, recorded=inflated)
    assert verdict.failed == ("reproducible",), "all that the gate measures itself is honest"
    assert "has seen what it was asked to predict" in verdict.text


def test_a_fit_that_reaches_past_what_it_is_given_is_found_out(world: World) -> None:
    """The leak is in the fit: its metrics are reproduced, since it looks at the future each time."""
    verdict = world.judge("leaking", lambda _: better(world.data))
    assert verdict.failed == ("learns_from_the_past",)


def test_popularity_does_not_beat_popularity(world: World) -> None:
    verdict = world.judge("popular", Popularity(14).fit)
    assert {"beats_baselines", "surely_better", "no_fold_worse", "coverage"} <= set(verdict.failed)
    assert not {"reproducible", "learns_from_the_past", "hard_rules"} & set(verdict.failed)
    alone = world.judge("popular", Popularity(14).fit, champion=None)
    assert {"beats_baselines", "surely_better"} <= set(alone.failed), "without a champion, popularity is the reference"
    assert not {"reproducible", "learns_from_the_past", "hard_rules", "coverage"} & set(alone.failed)
    assert alone.reference.startswith("popularity")


def test_a_better_model_of_too_few_titles_is_refused_for_its_coverage(world: World) -> None:
    never = tuple(title for title in range(TITLES) if title % SIZE > 14)
    verdict = world.judge("narrow", lambda past: better(past, never))
    assert verdict.failed == ("coverage",), verdict.text


def test_a_better_model_that_shows_children_what_they_must_not_see_is_refused(world: World) -> None:
    verdict = world.judge("careless", better, recommend=careless)
    assert verdict.failed == ("hard_rules",), verdict.text
    assert next(check for check in verdict.checks if check.name == "hard_rules").value > 0


def test_what_a_run_did_not_record_cannot_be_reproduced(world: World) -> None:
    verdict = world.judge("unrecorded", better, recorded={"ndcg_at_10": 0.5})
    assert verdict.failed == ("reproducible",)
    assert "recorded no ndcg_at_10_fold_1" in verdict.text


def test_the_champions_recipe_on_newer_data_is_a_refresh(world: World) -> None:
    """Equal on every fold, so never surely better; but the same name does not excuse a worse model."""
    assert world.judge("ease", plain, recipe="ease").promoted
    for ours, reigning in (("other", "ease"), ("", "")):
        assert world.judge("ease", plain, recipe=ours, reigning=reigning).failed == ("surely_better",)
    worse = world.judge("ease", shuffled, recipe="ease")
    assert {"no_fold_worse", "beats_baselines"} <= set(worse.failed)
    assert "surely_better" not in worse.failed


@pytest.mark.parametrize("viewers", [2, 8, 19, 20])
def test_a_handful_of_viewers_promotes_nothing(world: World, viewers: int) -> None:
    chosen = np.unique(np.concatenate([task.users for task in world.folds.tasks]))[:viewers]
    rows = [np.flatnonzero(np.isin(task.users, chosen)) for task in world.folds.tasks]
    few = replace(world.folds, tasks=tuple(task.take(of) for task, of in zip(world.folds.tasks, rows, strict=True)))
    allowed = [mask[of] for mask, of in zip(world.allowed, rows, strict=True)]
    verdict = replace(world, folds=few, allowed=allowed).judge("blend", better)
    assert ("enough_viewers" in verdict.failed) == (viewers < 20)
    users = np.repeat(np.arange(viewers), 3)
    assert enough_viewers(users, Bars()).value == viewers, "three folds with the same viewers are no more viewers"


def test_nothing_to_judge_on_is_an_error_that_says_so(world: World) -> None:
    with pytest.raises(ModelError, match="0 baselines"):
        judge(Contender("x", better), None, [], world.folds)


def test_a_gain_that_may_be_chance_is_not_sure() -> None:
    """Thirteen viewers gain and seven lose; each has ten rows, which are no ten viewers."""
    viewers = np.repeat(np.arange(20), 10)
    gains = np.where(np.arange(20) < 13, 0.1, -0.1)[viewers]
    base = np.full(200, 0.5)
    ours, theirs = (Measured(name, (ndcg,), 1, 1, 1, 0, 1) for name, ndcg in (("a", base + gains), ("b", base)))
    made = surely_better(ours, theirs, viewers, Bars())
    assert not made.passed
    lows = [paired_bootstrap(ours.pooled, theirs.pooled, seed=seed, groups=viewers).low for seed in (0, 1, 2)]
    assert made.value == min(lows) < 0, "the least favourable seed decides"
    assert surely_better(ours, theirs, np.arange(200), Bars()).passed, "two hundred viewers would be enough"


def test_viewers_without_a_history_must_not_lose() -> None:
    """Few of them refuse only what is surely worse, many whatever is not surely as good."""
    rng = np.random.default_rng(0)
    for rows, expected in ((10, True), (400, True), (4000, False)):
        base = rng.uniform(0.2, 0.4, size=rows)
        ours, theirs = (Measured(name, (ndcg,), 1, 1, 1, 0, 1) for name, ndcg in (("a", base * 0.985), ("b", base)))
        noisy = replace(ours, ndcg=(ours.pooled + rng.normal(0, 0.3, size=rows) * (rows > 1000),))
        made = cold_viewers(noisy, theirs, np.arange(rows), np.ones(rows, dtype=np.bool_), Bars())
        assert made.passed == expected, made.text
        assert (made.value is None) == (rows < 20)
    worse = Measured("c", (np.full(400, 0.9),), 1, 1, 1, 0, 1)
    known = replace(worse, ndcg=(np.ones(400),))
    assert not cold_viewers(worse, known, np.arange(400), np.ones(400, dtype=np.bool_), Bars()).passed
    unlucky = replace(worse, ndcg=(known.pooled + rng.normal(-0.05, 0.3, size=400),))
    few = np.arange(61)
    first = [replace(made, ndcg=(made.pooled[:61],)) for made in (unlucky, known)]
    assert first[0].mean < 0.98
    assert cold_viewers(*first, few, np.ones(61, dtype=np.bool_), Bars()).passed, "a chance of some dozen viewers"
    assert not_surely_worse(*first, few, Bars()).passed
    assert not not_surely_worse(replace(unlucky, ndcg=(unlucky.pooled - 0.03,)), known, np.arange(400), Bars()).passed


def test_a_feature_that_moved_far_refuses() -> None:
    assert not drift({"a__b": 0.05, "c__d": 0.31}, Bars()).passed
    assert "c__d, PSI 0.310 of 2 stored features" in drift({"a__b": 0.05, "c__d": 0.31}, Bars()).text
