"""What the gate judges is what serves: lists of a system made on each fold's past, masked for each viewer."""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest

from models.evaluation import lists
from models.evaluation.checks import Check
from models.evaluation.gate import Verdict, measure
from models.evaluation.metrics import evaluate
from models.evaluation.splits import rolling, temporal
from models.interactions import Floats, Interactions, Ragged
from models.ranking.base import RankerResult
from models.ranking.frame import FEATURES, TitleTable
from models.ranking.learn import Learned
from models.ranking.served import Ranking
from models.recommenders import ranked
from models.recommenders.content import TitleContent
from models.recommenders.marts import Marts
from models.recommenders.masks import allowed
from models.recommenders.promotion import Gate
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.reigning import Reigning
from models.recommenders.system import Asked
from models.recommenders.train import challenge, fit_system
from models.recommenders.trial import Plan, run_trial
from models.recommenders.two_tower import TwoTower
from models.recommenders.zoo import Zoo

ITEMS, VIEWERS, DAY_S = 30, 90, 86_400.0
ADULT = 5  # the first five titles are not for children
FUTURE = ITEMS - 1  # comes out in the newest part of time


@pytest.fixture(scope="module")
def marts() -> Marts:
    """Viewers go round a ring of titles; those of Germany have just come and all begin with the same one."""
    rng = np.random.default_rng(0)
    rows = []
    for viewer in range(VIEWERS):
        german = viewer % 3 == 0
        begin, start = (rng.uniform(40, 60), 20) if german else (rng.uniform(0, 40), rng.integers(ITEMS))
        for step in range(8):
            title = (start + step) % (ITEMS - 1)
            rows.append((viewer, title, (begin + step * (0.4 if german else 2.3)) * DAY_S))
    rows.append((0, FUTURE, 58 * DAY_S))
    users, items, times = zip(*rows, strict=True)
    names = [f"t{item:02d}" for item in range(ITEMS)]
    genres = [["drama"] if item % 2 else ["comedy"] for item in range(ITEMS)]
    created = np.zeros(ITEMS)
    created[FUTURE] = 54 * DAY_S
    return Marts(
        snapshot_id="s1", data_hash="hash-s1", profiles=[f"p{row}" for row in range(VIEWERS)], items=names,
        created=created, genres=genres, data=Interactions.sorted(users, items, times, VIEWERS, ITEMS),
        content=[
            TitleContent(name, genres=tuple(of), maturity=18 if item < ADULT else 6)
            for item, (name, of) in enumerate(zip(names, genres, strict=True))
        ],
        regions=["DE" if row % 3 == 0 else "RU" for row in range(VIEWERS)],
        kids=np.arange(VIEWERS) % 4 == 0,
    )  # fmt: skip


RECIPE = Recipe(Zoo(), "blend", {"knn": 1.0, "ease": 0.5})


@pytest.fixture(scope="module")
def gate(marts: Marts) -> Gate:
    return Gate(marts, rolling(marts.data, folds=2, days=6), Fits(marts.side), Zoo())


def test_a_fold_is_asked_of_the_system_that_would_serve(gate: Gate, marts: Marts) -> None:
    contender = gate.contender("blend", RECIPE)
    task, may = gate.folds.tasks[-1], gate.allowed()[-1]
    top = gate.lists(contender.fit(task.train), task, may)
    system = fit_system(replace(marts, data=task.train), RECIPE, Fits(marts.side))
    assert task.cold, "some have no history, and are answered by where they live"
    for row, user in enumerate(task.users):
        own = task.histories[row]
        mask = may[row].copy()
        mask[own] = False
        asked = Asked(
            tuple(marts.items[item] for item in own), region=marts.regions[user], kids=bool(marts.kids[user]),
            now=float(task.histories.at[row]),
        )  # fmt: skip
        assert [marts.items[item] for item in top[row] if item >= 0] == [
            pick.title_id for pick in system.rank(asked, mask, 10)
        ]
    assert lists.violations(top, may, task.histories) == 0
    noise = gate.contender("blend", RECIPE).fit(replace(task.train, items=task.train.items[::-1].copy()))
    assert (gate.lists(noise, task, may) != top).any(), "another past makes another system"


def test_masks_know_children_and_what_had_not_come_out(gate: Gate, marts: Marts) -> None:
    for mask, task, start in zip(gate.allowed(), gate.folds.tasks, gate.folds.starts, strict=True):
        children = marts.kids[task.users]
        assert not mask[children][:, :ADULT].any()
        assert mask[~children][:, :ADULT].all()
        assert mask[:, FUTURE].any() == (start > 54 * DAY_S)


def test_a_system_that_ignores_its_masks_breaks_the_hard_rules(gate: Gate) -> None:
    """Not a claim: it fails once the lists hold what the mask forbids or what was watched."""
    contender = gate.contender("blend", RECIPE)
    careless = replace(contender, recommend=lambda fitted, task, may: gate.lists(fitted, task, np.ones_like(may)))
    forgetful = replace(
        contender,
        recommend=lambda fitted, task, may: gate.lists(
            fitted, replace(task, histories=Ragged.of([[] for _ in range(len(task))])), may
        ),
    )
    found = [
        measure(one, gate.folds.tasks, allowed=gate.allowed()).violations for one in (contender, careless, forgetful)
    ]
    assert found[0] == 0 < min(found[1:])


def test_the_verdict_says_what_was_checked_and_what_was_not(gate: Gate) -> None:
    judged = gate.judge(RECIPE, None)
    assert judged.verdict.folds == gate.folds.text
    checks = {check.name: check for check in judged.verdict.checks}
    rules, told = checks["hard_rules"], checks["beats_baselines"].text
    assert "; popularity_" in told
    assert "champion" not in told, "there is none yet"
    assert rules.value == 0
    assert "already watched" in rules.text
    assert "children" in rules.text
    assert "licen" not in rules.text, "nothing is claimed of what is not known"
    assert "reproducible" not in judged.verdict.failed


@dataclass(frozen=True)
class ByColumn:
    """A ranker that believes one feature; `seen`: the frames that it was asked with."""

    column: str
    sign: float = 1.0
    seen: list[Floats] = field(default_factory=list)
    kind: str = "gbdt"
    features: tuple[str, ...] = FEATURES

    def score(self, X: Floats) -> Floats:  # noqa: N803  the field's name for a feature matrix
        self.seen.append(X)
        return self.sign * np.nan_to_num(X[:, FEATURES.index(self.column)])

    def arrays(self) -> dict:
        return {}


SURE = Check("surely_better", True, 0.01, "> 0", "as logged pages say")


def test_a_poisoned_ranker_is_refused_for_what_is_wrong_with_it(gate: Gate, marts: Marts) -> None:
    gate = replace(gate, folds=rolling(marts.data, folds=1, days=12))
    task = gate.folds.tasks[-1]
    plays = np.bincount(task.train.items, minlength=ITEMS)
    titles = TitleTable.of({"plays_30d": plays}, marts.created, marts.genres)
    known = {int(user): {"profile_activity__plays_7d": 100.0 + user} for user in task.users}

    def refused(ranker: ByColumn, better: Check = SURE, drift: float = 0.05) -> set[str]:
        verdict = gate.ranker(RECIPE, Ranking(ranker, titles), better, known, {"profile_activity__plays_7d": drift})
        assert verdict.promoted == (not verdict.failed)
        assert verdict.markdown.count("| gbdt over blend |") == 1
        return set(verdict.failed)

    honest = ByColumn("score_blend")
    assert refused(honest) == set(), "the order of the recipe itself"
    plays_7d = FEATURES.index("profile_activity__plays_7d")
    warm = task.users[task.histories.lengths > 0]
    assert {frame[0, plays_7d] for frame in honest.seen} == {100.0 + user for user in warm}, "each their own"
    assert refused(ByColumn("plays_30d")) >= {"not_surely_worse", "popularity"}, "popularity only"
    backwards = refused(ByColumn("score_blend", -1))
    assert "not_surely_worse" in backwards
    assert "popularity" not in backwards
    unsure = replace(SURE, passed=False, value=-0.02)
    assert refused(ByColumn("score_blend"), better=unsure) == {"surely_better"}, "shuffled labels"
    assert refused(ByColumn("score_blend"), drift=0.31) == {"drift"}


def test_what_the_gate_refuses_to_a_ranker_it_does_not_refuse_to_the_recipe() -> None:
    result = RankerResult(ByColumn("score_blend"), "gbdt", {}, {}, np.ones((1, 1)), "better on pages")
    titles = TitleTable.of({}, [], [])
    made = Learned(result, Ranking(ByColumn("score_blend"), titles), {"trending": 0.1})
    bad = Verdict("gbdt", "blend", "", (Check("coverage", False, 0.5, ">= 95%", "coverage fell"),), ())
    kept, gone = (ranked.allowed(made, replace(bad, checks=checks)) for checks in ((SURE,), bad.checks))
    assert kept is made
    assert gone.ranking is None
    assert gone.result.kind is None
    assert gone.rows == made.rows
    assert "better on pages; but the gate: refused: gbdt: coverage fell: the blend ranks" in gone.result.reason
    assert not ranked.check(gone, bad).passed


def test_where_a_baseline_outdoes_what_validation_chose_it_is_judged_in_its_place(gate: Gate, marts: Marts) -> None:
    trial = run_trial(marts.data, Zoo(), Plan(folds=2, fold_days=6, resamples=50), gate.fits)
    assert trial is not None
    chosen = Recipe(Zoo(), "blend", {"ials": 1.0}, "popularity_7d")
    for reigning, bars in ((Reigning(), "> 0"), (Reigning(Recipe(Zoo(), "knn", {}, "popularity_7d")), "a refresh")):
        made, judged = challenge(gate, replace(trial, tuned=chosen), reigning)
        assert judged.promoted, judged.text
        assert made.tuned == Recipe(Zoo(), "knn", {}, "popularity_7d")
        assert made.scores is trial.every["knn"]
        checks = {check.name: check for check in judged.verdict.checks}
        assert "98.3% interval" in checks["surely_better"].bar + checks["surely_better"].text, "sure for three"
        assert checks["surely_better"].bar.startswith(bars)
        assert "validation chose blend, which knn outdoes" in checks["in_place"].text
        assert (judged.looks, judged.in_place_of) == (3, "blend")
    made, judged = challenge(gate, replace(trial, tuned=replace(chosen, candidate="knn")), Reigning())
    assert judged.promoted
    assert "95% interval" in judged.text, "one look"
    assert (judged.looks, judged.in_place_of) == (1, None)
    best = Recipe(Zoo(), "blend", {"knn": 1.0, "ease": 0.1})
    made, judged = challenge(gate, replace(trial, tuned=chosen), Reigning(best))
    assert not judged.promoted
    assert made.tuned is chosen, "a baseline that is not surely better than the champion does not stand in"


def test_the_trial_fits_what_it_kept_and_ranks_what_the_gate_ranks(marts: Marts) -> None:
    """The champion's recipe has parameters, and parts, that the given zoo lacks."""
    other = replace(Zoo(), ease=replace(Zoo().ease, penalty=7.0), two_tower=TwoTower(dim=2, epochs=1, examples=64))
    reigning = Recipe(other, "ease", {"two_tower": 0.2, "ease": 0.5}, "popularity_7d")
    plan, fits = Plan(folds=2, fold_days=6, resamples=50, least_gain=9.0), Fits(marts.side)
    made = run_trial(marts.data, Zoo(), plan, fits, reigning, may=partial(allowed, marts))
    assert made is not None
    assert made.tuned is reigning
    start = made.boundaries[1]
    may = allowed(marts, temporal(marts.data, start, "all"), start)
    kept, given = (
        evaluate(fits.complete(recipe, made.test.train).score, made.test, allowed=may).ndcg.mean()
        for recipe in (reigning, replace(reigning, zoo=Zoo()))
    )
    assert made.row("ease").ndcg.mean == made.scores.ndcg.mean() == kept != given
    assert lists.violations(made.scores.top, may, made.test.histories) == 0
    assert FUTURE not in made.scores.top
