"""What a person reads about a training run: the model card and its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models.evaluation.gate import Verdict
from models.ranking.learn import Learned
from models.recommenders.marts import Marts
from models.recommenders.promotion import Judged
from models.recommenders.trial import Trial

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

COLUMNS = ("model", "NDCG@10", "95 % interval", "against baseline", "first", "last", "hit@10", "coverage@10")


def table(trial: Trial) -> str:
    """The comparison as a Markdown table, best model first."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in sorted(trial.rows, key=lambda row: -row.ndcg.mean):
        against = row.against_baseline
        cells = (
            row.model,
            f"{row.ndcg.mean:.4f}",
            f"{row.ndcg.low:.4f} .. {row.ndcg.high:.4f}",
            "baseline" if row.model == trial.baseline else f"{against.low:+.4f} .. {against.high:+.4f}",
            f"{row.metrics['ndcg_at_10_first']:.4f}",
            f"{row.metrics['ndcg_at_10_last']:.4f}",
            f"{row.metrics['hit_rate_at_10']:.4f}",
            f"{row.metrics['coverage_at_10']:.4f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def model_card(
    trial: Trial, marts: Marts, judged: Judged, segments: "pl.DataFrame", learned: Learned, ranker: Verdict | None
) -> str:
    """Markdown: what the model is, what it was fitted to, how it was judged, what it must not be used for."""
    used = ", ".join(f"{name} {trial.tuned.weights[name]:g}" for name in trial.tuned.used) or "it is no blend"
    return f"""# matinee-recommender: {trial.tuned.candidate}

**{judged.text}**

## Data
Fitted to the {len(marts.data):,} positive interactions ({len(marts.profiles):,} profiles, {len(marts.items):,} titles)
of snapshot `{marts.snapshot_id}` (data hash `{marts.data_hash}`). Blend weights: {used}. Viewers without a history
that the model knows get `{trial.tuned.fallback}`. The recipe (`recipe.json`, mark `{trial.tuned.mark}`) makes it anew:
`matinee models rebuild`.

## How it was judged
Global temporal split: everything after a moment is test, everything tuned was tuned before it. {trial.users:,} profiles
took something new in the test part, {trial.cold:,} of them had no history before it and get the fallback from every
personal model. All titles are ranked, those already taken excluded, ties count half. Intervals: 95 %, bootstrap over
profiles; the one against the baseline is paired. NDCG@10 counts all later titles; `first` and `last` one title each.
{_stands_in(trial, judged)}
{table(trial)}

## Slices
{_segments(segments)}

## The gate
{judged.verdict.markdown.partition("**")[2].partition("**")[2].strip()}

## The ranker
{_ranker(learned, ranker)}

## Limits
Trained on what people took, so it inherits what they were shown. What nobody has taken is known by its content alone,
if at all. Accuracy says nothing about rights: serving masks what is not licensed before anything is ranked.
"""


def _stands_in(trial: Trial, judged: Judged) -> str:
    if judged.in_place_of is None:
        return ""
    return (
        f"Not tuned before it: validation chose {judged.in_place_of}, and the test part itself put "
        f"{trial.tuned.candidate} in its place, which its row flatters.\n"
    )


def _ranker(learned: Learned, verdict: Verdict | None) -> str:
    result = learned.result
    if learned.ranking is None:
        told = f"None: {result.reason}."
    else:
        told = f"`{result.kind}` orders the candidates, judged on the newest fold: {result.reason}."
    return (
        told
        if verdict is None
        else f"{told}\n\n{verdict.markdown.partition('Judged on')[2].partition(chr(10))[2].strip()}"
    )


def _segments(segments: "pl.DataFrame") -> str:
    lines = ["| viewers | how many | NDCG@10 | 95 % interval | recall@10 |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['segment']} | {row['users']:,} | {row['ndcg']:.4f} | {row['low']:.4f} .. {row['high']:.4f} "
        f"| {row['recall']:.4f} |"
        for row in segments.iter_rows(named=True)
    ]
    return "\n".join(lines)


def plot_comparison(trial: Trial, path: Path) -> None:
    """A bar a model with its interval, as PNG."""
    rows = sorted(trial.rows, key=lambda row: row.ndcg.mean)
    means = [row.ndcg.mean for row in rows]
    with _Figure(path, 0.45 * len(rows) + 1.2) as axes:
        axes.barh(
            [row.model for row in rows],
            means,
            xerr=[
                [max(0.0, row.ndcg.mean - row.ndcg.low) for row in rows],
                [max(0.0, row.ndcg.high - row.ndcg.mean) for row in rows],
            ],
            color=["#9aa0a6" if row.model.startswith("popularity") else "#3367d6" for row in rows],
            capsize=3,
        )
        axes.set_xlabel("NDCG@10, all later titles, 95 % interval over profiles")


def plot_tradeoff(trial: Trial, path: Path) -> None:
    """Accuracy against the share of the catalogue that is in anybody's list, a point a model."""
    with _Figure(path, 4.2) as axes:
        for row in trial.rows:
            at = (row.metrics["coverage_at_10"], row.ndcg.mean)
            axes.scatter(*at, color="#d23f31" if row.model == trial.tuned.candidate else "#3367d6")
            axes.annotate(row.model, at, textcoords="offset points", xytext=(5, 4), fontsize=8)
        axes.set_xlabel("coverage@10: share of the catalogue in a list")
        axes.set_ylabel("NDCG@10")


def plot_curves(curves: Mapping[str, list[float]], path: Path) -> None:
    """A line a series, from its first epoch to its last."""
    with _Figure(path, 3.6) as axes:
        for name, values in sorted(curves.items()):
            axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
        axes.set_xlabel("epoch")
        axes.legend(fontsize=8)


class _Figure:
    """Axes of a picture that is saved as PNG at the end of the block."""

    def __init__(self, path: Path, height: float) -> None:
        from matplotlib.figure import Figure

        self._path, self._figure = path, Figure(figsize=(7, height), layout="constrained")

    def __enter__(self) -> "Axes":
        return self._figure.add_subplot()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._figure.savefig(self._path, dpi=110)
