"""MetricFlow over the snapshot against the marts in it: every metric, the same numbers."""

import csv
import io
import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from matinee.lake import NoSnapshotError
from matinee.settings import Settings
from warehouse.ask import ask
from warehouse.commands import app
from warehouse.errors import WarehouseError
from warehouse.metrics import measure, metrics
from warehouse.publish import publish

PARITY = [
    parity
    for path in sorted((Path(__file__).parent / "metrics").glob("*.yml"))
    for parity in yaml.safe_load(path.read_text())
]


@pytest.fixture(scope="module")
def published(built, tmp_path_factory) -> Settings:
    own = Settings.load(home=tmp_path_factory.mktemp("metrics"))
    own.home.create()
    own.lake.build_file.parent.mkdir(parents=True)
    shutil.copyfile(built.lake.build_file, own.lake.build_file)
    with pytest.raises(NoSnapshotError):
        measure(own, "mrr")
    publish(own)
    own.lake.build_file.unlink()  # the snapshot is all that is asked
    return own


def told(rows, parity):
    kept = (row for row in rows if row[-1] or not parity.get("nonzero"))
    return sorted(([str(cell) for cell in row[:-1]], row[-1]) for row in kept)


def test_every_metric_gives_the_marts_numbers(published):
    assert {parity["metric"] for parity in PARITY} == {metric.name for metric in metrics(published)}
    for parity in PARITY:
        found = measure(published, parity["metric"], by=parity.get("by", ()), grain=parity.get("grain"))
        numbers, expected = told(found.rows, parity), told(ask(published, parity["sql"]).rows, parity)
        assert expected, parity
        assert [keys for keys, _ in numbers] == [keys for keys, _ in expected], parity
        for (keys, value), (_, right) in zip(numbers, expected, strict=True):
            assert value == (right if right is None else pytest.approx(right, rel=1e-12)), (parity, keys)


def test_every_metric_is_described_and_money_is_never_added_over_currencies(published):
    for metric in metrics(published):
        assert metric.description, metric.name
        assert metric.grains, metric.name
        assert metric.unit, metric.name
        if metric.unit == "minor":
            assert any(name.endswith("__currency") for name in metric.by), metric.name


def test_a_range_of_days_counts_both_ends(published):
    every = measure(published, "subscribers", grain="day", since=date(2025, 12, 3), until=date(2025, 12, 4)).rows
    assert every == [(date(2025, 12, 3), 2), (date(2025, 12, 4), 3)]


def test_the_command_lists_metrics_and_answers_as_csv(published, monkeypatch):
    for name, value in published.environment().items():
        monkeypatch.setenv(name, value)
    listed = CliRunner().invoke(app, ["metric"]).output
    assert "gross_churn" in listed
    answered = CliRunner().invoke(
        app, ["metric", "mrr", "--grain", "month", "--by", "plan", "--from", "2026-01-01", "--csv"]
    )
    rows = list(csv.DictReader(io.StringIO(answered.output)))
    assert {
        "month": "2026-01-01",
        "subscription__currency": "RUB",
        "subscription__plan": "basic",
        "mrr": "49900",
    } in rows
    wrong = [
        (["no_such"], "no metric"),
        (["mrr", "--by", "colour"], "divided by"),
        (["cancels", "--grain", "day"], "month"),
    ]
    for arguments, said in wrong:
        error = CliRunner().invoke(app, ["metric", *arguments]).exception
        assert isinstance(error, WarehouseError)
        assert said in str(error)
