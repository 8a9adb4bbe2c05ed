"""What the gate judges is what serves: lists of a system made on each fold's past, masked for each viewer."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models.evaluation import lists
from models.evaluation.gate import measure
from models.evaluation.metrics import evaluate
from models.evaluation.splits import rolling, temporal
from models.interactions import Interactions, Ragged
from models.recommenders.content import TitleContent
from models.recommenders.marts import Marts
from models.recommenders.masks import allowed
from models.recommenders.promotion import Gate
from models.recommenders.recipe import Fits, Recipe
from models.recommenders.system import Asked
from models.recommenders.train import fit_system
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
    (rules,) = [check for check in judged.verdict.checks if check.name == "hard_rules"]
    assert rules.value == 0
    assert "already watched" in rules.text
    assert "children" in rules.text
    assert "licen" not in rules.text, "nothing is claimed of what is not known"
    assert "not judged here but on logged impressions" in judged.verdict.markdown
    assert "reproducible" not in judged.verdict.failed


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
