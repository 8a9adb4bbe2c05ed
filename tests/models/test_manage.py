"""What people decide about versions, by the commands: who serves, past the gate only with a reason, and back."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from matinee.settings import Settings
from models.commands import app
from models.errors import ModelError
from models.evaluation.checks import Check, Measured
from models.evaluation.gate import Verdict
from models.recommenders import export, manage, registry
from models.recommenders.follow import bring
from models.recommenders.promotion import Judged
from models.recommenders.recipe import Recipe
from models.recommenders.reigning import Reigning, reigning
from models.recommenders.train import RECORD, recorded, train
from models.recommenders.trial import Plan
from models.recommenders.zoo import Zoo
from warehouse.snapshot import pinned

Run = Callable[..., Result]


@pytest.fixture
def home(two_versions: Settings) -> Settings:
    """Version 2 is the champion and serves, version 1 the challenger."""
    registry.alias(two_versions, "2", promoted=True)
    registry.alias(two_versions, "1", promoted=False)
    bring(two_versions)
    return two_versions


@pytest.fixture
def run(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("promote", "2")` as a person does it."""
    for name, value in home.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, ["models", *arguments])


def serves(settings: Settings) -> str:
    folder = export.current(settings.home)
    assert folder is not None
    return json.loads((folder / "model.json").read_text())["about"]["version"]


def test_the_list_names_versions_aliases_snapshots_and_verdicts(run: Run) -> None:
    said = run("list").stdout
    for number, alias, verdict in ((2, "champion", "promoted"), (1, "challenger", "refused")):
        assert re.search(rf"{number}\W+{alias}\W+s{number}\W+{verdict}", said), said


def test_past_the_gate_only_by_force_with_a_reason_and_back_again(home: Settings, run: Run) -> None:
    refused = run("promote", "1")
    assert isinstance(refused.exception, ModelError)
    assert "what serves stays" in str(refused.exception)
    silent = run("promote", "1", "--force")
    assert "needs a reason" in str(silent.exception)
    assert serves(home) == "2"

    forced = run("promote", "1", "--force", "--reason", "to look at it")
    assert forced.exit_code == 0, forced.output
    assert "matinee-recommender 1 " in forced.stdout
    assert serves(home) == "1"
    two, one = registry.versions(home)
    assert one.aliases == ("champion",)
    assert one.tags["promotion"] == "forced: to look at it"
    assert registry.RETIRED in two.tags
    assert pinned(home.lake) == {"s1"}

    back = run("rollback")
    assert back.exit_code == 0, back.output
    assert serves(home) == "2"
    assert registry.by_version(home, "champion").tags["promotion"] == "rolled back from 1"
    again = run("rollback")
    assert "nothing to go back to" in str(again.exception), "what was left is not come back to"
    assert serves(home) == "2"
    assert run("promote", "1", "--force", "--reason", "after all").exit_code == 0
    assert registry.REJECTED not in registry.by_version(home, "1").tags


def test_the_gate_lets_the_champion_stand_and_says_of_a_challenger_why_not(run: Run) -> None:
    champion = run("gate", "2")
    assert champion.exit_code == 0, champion.output
    assert "reproducible" in champion.stdout
    challenger = run("gate", "challenger")
    assert isinstance(challenger.exception, ModelError)
    assert str(challenger.exception).startswith("refused: ")
    assert "NO" in challenger.stdout


def test_a_version_is_fitted_again_from_its_record(run: Run) -> None:
    again = run("rebuild", "2")
    assert again.exit_code == 0, again.output
    (furthest,) = re.findall(r"the same within (\d\.\d+), from snapshot s2", again.stdout)
    assert float(furthest) <= manage.WITHIN


def test_what_cannot_be_done_names_what_is_there(home: Settings, run: Run) -> None:
    assert "has no version '9' (there are: 2, 1)" in str(run("gate", "9").exception)
    api, tags = registry.client(home), registry.by_version(home, "1").tags
    for tag, value, said in (
        ("snapshot_id", "s0", "a snapshot that is gone"),
        ("data_hash", "hash-s0", "holds other data than version 1"),
    ):
        api.set_model_version_tag(registry.MODEL, "1", tag, value)
        try:
            assert said in str(run("rebuild", "1").exception)
            assert said in str(run("gate", "1").exception)
        finally:
            api.set_model_version_tag(registry.MODEL, "1", tag, tags[tag])


def test_other_metrics_than_recorded_are_no_rebuild(home: Settings) -> None:
    version = registry.by_version(home, "1")
    name = min(manage.fold_metrics(registry.recorded(home, version)))
    right = registry.recorded(home, version)[name]
    api = registry.client(home)
    api.log_metric(version.run_id, name, right + 2 * manage.WITHIN, step=1)
    try:
        with pytest.raises(ModelError, match="cannot be rebuilt within"):
            manage.rebuild(home, "1")
    finally:
        api.log_metric(version.run_id, name, right, step=2)


def test_a_champion_that_cannot_be_fitted_again_is_met_by_its_record(home: Settings) -> None:
    version, api = registry.by_version(home, "champion"), registry.client(home)
    artifacts = api.get_run(version.run_id).info.artifact_uri or ""
    recipe = Path(artifacts.removeprefix("file://")) / "recipe.json"
    text = recipe.read_text()
    recipe.write_text('{"of": "another time"}')
    try:
        made = train(home, plan=Plan(resamples=150))
        assert not made.promoted
        assert "the champion, version 2, cannot be fitted again" in made.verdict
        assert "by at least +0.0000 on each fold" in made.verdict
        assert registry.by_version(home, "champion").version == "2"
        fingerprint = json.loads((home.home.mlflow / RECORD).read_text())["fingerprint"]
        assert recorded(home, fingerprint) == replace(made, skipped=True)
    finally:
        recipe.write_text(text)
        api.delete_registered_model_alias(registry.MODEL, registry.CHALLENGER)
        for found in registry.versions(home)[:-2]:
            api.delete_model_version(registry.MODEL, found.version)
    assert recorded(home, fingerprint) is None, "its version is gone, so nothing is recorded of it"


@contextmanager
def another(home: Settings, **parameters: str) -> Iterator[str]:
    """Version 2 once more, whose run says this of itself besides; gone afterwards."""
    version, api = registry.by_version(home, "2"), registry.client(home)
    of = api.get_run(version.run_id)
    run = api.create_run(of.info.experiment_id).info.run_id
    for name, value in parameters.items():
        api.log_param(run, name, value)
    for name, value in of.data.metrics.items():
        if name in manage.fold_metrics(of.data.metrics):
            api.log_metric(run, name, value)
    api.log_text(run, registry.artifact(home, version, "recipe.json"), "recipe.json")
    made = str(api.create_model_version(registry.MODEL, home.home.root.as_uri(), run, tags=version.tags).version)
    try:
        yield made
    finally:
        registry.alias(home, "2", promoted=True)
        api.delete_model_version(registry.MODEL, made)


def test_what_stands_in_another_s_place_is_judged_again_as_it_was(home: Settings) -> None:
    with another(home, looks="3", in_place_of="blend") as version:
        made = manage.gate(home, version)
    checks = {check.name: check for check in made.verdict.checks}
    assert "98.3% interval" in checks["surely_better"].text, "sure for three, as then"
    assert checks["in_place"].text.startswith("validation chose blend")
    assert (made.looks, made.in_place_of) == (3, "blend")


def test_where_a_champion_s_ranker_has_no_heir_the_verdict_says_so(home: Settings) -> None:
    with another(home, ranker="gbdt") as version:
        registry.alias(home, version, promoted=True)
        made = manage.gate(home, "2")
        assert made.promoted
        assert f"the champion, version {version}, ranks by its gbdt, the challenger has no ranker" in made.text
        assert reigning(home).without_ranker(judged(0.4, 0.2, 0.3), "gbdt").verdict.note == ""
    assert manage.gate(home, "1").verdict.note == ""


def judged(ours: float, theirs: float, baseline: float) -> Judged:
    """A refusal, as the gate words it, of a challenger that is not above the baseline."""
    measured = tuple(
        Measured(name, (np.full(3, value),), 1.0, 1.0, np.nan, None, 1.0)
        for name, value in (("new", ours), ("knn", baseline), ("champion old", theirs))
    )
    checks = (Check("beats_baselines", ours > baseline, ours, f"> {baseline}", "NDCG@10"),)
    return Judged(Verdict("new", "champion old", "one fold", checks, measured), measured[0].record())


def test_a_champion_below_the_baselines_may_be_refreshed_but_not_followed_by_another() -> None:
    old, other = Recipe(Zoo(), "knn"), Recipe(Zoo(), "ials")
    bad = judged(0.2, 0.2, 0.3)
    assert Reigning(old).settled(bad, old, "h").promoted
    assert not Reigning(old).settled(bad, other, "h").promoted
    assert not Reigning(old).settled(judged(0.2, 0.4, 0.3), old, "h").promoted, "the champion itself is above them"


def test_a_champion_of_unknown_worth_is_not_beaten() -> None:
    good = judged(0.4, 0.2, 0.3)
    (fold,) = good.recorded
    for recorded_before, data_hash, promoted in (({fold: 0.35}, "h", True), ({fold: 0.4}, "h", False),
                                                 ({fold: 0.1}, "other", False), ({}, "h", False)):  # fmt: skip
        met = Reigning(None, "7", data_hash, recorded_before, "no recipe")
        verdict = met.settled(good, Recipe(Zoo(), "knn"), "h").verdict
        assert verdict.promoted == promoted, verdict.checks[-1]
        assert "version 7, cannot be fitted again (no recipe)" in verdict.checks[-1].text
