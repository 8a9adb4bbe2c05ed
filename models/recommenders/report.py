"""What a training run leaves for people and for the gate: metrics, curves, tables, pictures, card, golden requests."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.evaluation.checks import RECORDED
from models.evaluation.gate import Verdict
from models.ranking.learn import Learned
from models.recommenders.card import model_card, plot_comparison, plot_curves, plot_tradeoff
from models.recommenders.marts import Marts
from models.recommenders.promotion import Judged
from models.recommenders.system import System, golden_json
from models.recommenders.trial import Trial

if TYPE_CHECKING:
    import polars as pl

NONE = "none"  # what a run says where there is nothing: no ranker, nobody in whose place it stands


@dataclass(frozen=True)
class Report:
    """`segments`: the candidate by kind of viewer; `ranker`: the gate's verdict on it, None where there was none to
    judge; `curves`: series of a fit -> value after each epoch."""

    marts: Marts
    trial: Trial
    judged: Judged
    segments: "pl.DataFrame"
    learned: Learned
    ranker: Verdict | None = None
    curves: Mapping[str, list[float]] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """Everything that the recipe says, flat, and what it was compared with."""
        made = {
            "baseline": self.trial.baseline,
            "recipe": self.trial.tuned.mark,
            "ranker": self.learned.result.kind or NONE,
            "looks": self.judged.looks,
            "in_place_of": self.judged.in_place_of or NONE,
        }
        return made | dict(_flat(self.trial.tuned.data()))

    def gate(self) -> str:
        """What the gate says of the recipe, and of a ranker on top of it, as Markdown."""
        return self.judged.verdict.markdown + (f"\n{self.ranker.markdown}" if self.ranker else "")


def metrics(report: Report) -> Iterator[tuple[str, float]]:
    trial = report.trial
    yield from (("test_users", float(trial.users)), ("test_users_cold", float(trial.cold)))
    for row in trial.rows:
        for key, value in row.metrics.items():
            yield f"{row.model}.{key}", value
        for key, interval in (("ndcg_at_10", row.ndcg), ("against_baseline", row.against_baseline)):
            yield f"{row.model}.{key}_low", interval.low
            yield f"{row.model}.{key}_high", interval.high
    chosen = trial.row(trial.tuned.candidate)
    yield from (("ndcg_at_10", chosen.ndcg.mean), ("against_baseline", chosen.against_baseline.mean))
    for row in report.segments.iter_rows(named=True):
        name = row["segment"].replace(" ", "_")
        yield from ((f"segment.{name}.{key}", float(row[key])) for key in ("users", "ndcg", "recall", "mrr"))
    yield from report.judged.recorded.items()
    for who, own in report.learned.result.metrics.items():
        yield from ((f"ranker.{who}.{name}", float(value)) for name, value in own.items())
    for who, of in zip(("with", "without"), report.ranker.measured if report.ranker else (), strict=False):
        yield f"ranker.lists.{who}.ndcg_at_10", of.mean
        yield f"ranker.lists.{who}.coverage", of.coverage


def curves(report: Report) -> Iterator[tuple[str, int, float]]:
    """(series, epoch from 1, value)"""
    for name, values in _series(report).items():
        yield from ((name, epoch, float(value)) for epoch, value in enumerate(values, 1))


def tables(report: Report) -> "dict[str, pl.DataFrame]":
    """By name: what MLflow shows as tables, and `metrics.csv` holds."""
    import polars as pl

    comparison = [
        {
            "model": row.model,
            "low": row.ndcg.low,
            "high": row.ndcg.high,
            "difference": row.against_baseline.mean,
            "difference_low": row.against_baseline.low,
            "difference_high": row.against_baseline.high,
            **row.metrics,
        }
        for row in report.trial.rows
    ]
    verdicts = [report.judged.verdict, *([report.ranker] if report.ranker else [])]
    checks = [
        {"challenger": of.challenger, "check": c.name, "passed": c.passed, "measured": c.text, "bar": c.bar}
        for of in verdicts
        for c in of.checks
    ]
    return {"comparison": pl.DataFrame(comparison), "segments": report.segments, "gate": pl.DataFrame(checks)}


def write_artifacts(folder: Path, system: System, report: Report) -> None:
    folder.mkdir()
    made = tables(report)
    (folder / "model_card.md").write_text(
        model_card(report.trial, report.marts, report.judged, report.segments, report.learned, report.ranker)
    )
    (folder / "golden.json").write_text(json.dumps(golden_json(system.golden), indent=1))
    (folder / "recipe.json").write_text(report.trial.tuned.json())
    (folder / "gate.md").write_text(report.gate())
    (folder / "gate.json").write_text(report.judged.verdict.json)
    made["comparison"].write_csv(folder / "metrics.csv")
    made["segments"].write_csv(folder / "segments.csv")
    plot_comparison(report.trial, folder / "comparison.png")
    plot_tradeoff(report.trial, folder / "coverage_accuracy.png")
    if series := _series(report):
        plot_curves(series, folder / "curves.png")


def _series(report: Report) -> dict[str, list[float]]:
    ranker = {f"ranker.{kind}.ndcg": list(curve) for kind, curve in report.learned.result.curves.items()}
    return {**report.curves, **ranker}


def fold_metrics(recorded: Mapping[str, float]) -> dict[str, float]:
    """Of a run's metrics those of the gate's folds."""
    prefix = RECORDED.format("")
    return {name: value for name, value in recorded.items() if name.startswith(prefix)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
