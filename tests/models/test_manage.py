"""What people decide about versions, by the commands: who serves, past the gate only with a reason, and back."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from matinee.settings import Settings
from models.commands import app
from models.errors import ModelError
from models.recommenders import export, manage, registry
from models.recommenders.follow import bring
from models.recommenders.train import train
from models.recommenders.trial import Plan
from warehouse.snapshot import pinned

Run = Callable[..., Result]


@pytest.fixture
def home(two_versions: Settings) -> Settings:
    """Version 1 is the champion and serves, version 2 the challenger."""
    registry.alias(two_versions, "1", promoted=True)
    registry.alias(two_versions, "2", promoted=False)
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
    for number, alias, verdict in ((1, "champion", "promoted"), (2, "challenger", "refused")):
        assert re.search(rf"{number}\W+{alias}\W+s{number}\W+{verdict}", said), said


def test_past_the_gate_only_by_force_with_a_reason_and_back_again(home: Settings, run: Run) -> None:
    refused = run("promote", "2")
    assert isinstance(refused.exception, ModelError)
    assert "what serves stays" in str(refused.exception)
    silent = run("promote", "2", "--force")
    assert "needs a reason" in str(silent.exception)
    assert serves(home) == "1"

    forced = run("promote", "2", "--force", "--reason", "the newer snapshot")
    assert forced.exit_code == 0, forced.output
    assert "matinee-recommender 2 " in forced.stdout
    assert serves(home) == "2"
    two, one = registry.versions(home)
    assert two.aliases == ("champion",)
    assert two.tags["promotion"] == "forced: the newer snapshot"
    assert registry.RETIRED in one.tags
    assert pinned(home.lake) == {"s2"}

    back = run("rollback")
    assert back.exit_code == 0, back.output
    assert serves(home) == "1"
    assert registry.by_version(home, "champion").tags["promotion"] == "rolled back from 2"


def test_the_gate_lets_the_champion_stand_and_says_of_a_challenger_why_not(run: Run) -> None:
    champion = run("gate", "1")
    assert champion.exit_code == 0, champion.output
    assert "reproducible" in champion.stdout
    challenger = run("gate", "challenger")
    assert isinstance(challenger.exception, ModelError)
    assert str(challenger.exception).startswith("refused: ")
    assert "NO" in challenger.stdout


def test_a_version_is_fitted_again_from_its_record(run: Run) -> None:
    again = run("rebuild", "1")
    assert again.exit_code == 0, again.output
    (furthest,) = re.findall(r"the same within (\d\.\d+), from snapshot s1", again.stdout)
    assert float(furthest) <= manage.WITHIN


def test_what_cannot_be_done_names_what_is_there(home: Settings, run: Run) -> None:
    assert "has no version '9' (there are: 2, 1)" in str(run("gate", "9").exception)
    api, version = registry.client(home), registry.by_version(home, "2")
    api.set_model_version_tag(registry.MODEL, "2", "snapshot_id", "s0")
    try:
        assert "a snapshot that is gone" in str(run("rebuild", "2").exception)
    finally:
        api.set_model_version_tag(registry.MODEL, "2", "snapshot_id", version.tags["snapshot_id"])


def test_other_metrics_than_recorded_are_no_rebuild(home: Settings) -> None:
    version = registry.by_version(home, "2")
    name = min(manage.fold_metrics(registry.recorded(home, version)))
    right = registry.recorded(home, version)[name]
    api = registry.client(home)
    api.log_metric(version.run_id, name, right + 2 * manage.WITHIN, step=1)
    try:
        with pytest.raises(ModelError, match="cannot be rebuilt within"):
            manage.rebuild(home, "2")
    finally:
        api.log_metric(version.run_id, name, right, step=2)


def test_a_champion_whose_recipe_nobody_can_read_does_not_stop_training(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    version = registry.by_version(home, "champion")
    artifacts = registry.client(home).get_run(version.run_id).info.artifact_uri or ""
    recipe = Path(artifacts.removeprefix("file://")) / "recipe.json"
    text = recipe.read_text()
    recipe.write_text('{"of": "another time"}')
    try:
        made = train(home, plan=Plan(resamples=150))
        assert made.version == "3"
        assert "competes with no challenger" in capsys.readouterr().out.replace("\n", " ")
    finally:
        recipe.write_text(text)
        for name in (registry.CHAMPION, registry.CHALLENGER):
            registry.client(home).delete_registered_model_alias(registry.MODEL, name)
        registry.client(home).delete_model_version(registry.MODEL, "3")
