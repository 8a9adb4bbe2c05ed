"""What a person reads about a training run: the model card and the picture of the comparison."""

from pathlib import Path

from models.recommenders.marts import Marts
from models.recommenders.trial import Trial

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


def model_card(trial: Trial, marts: Marts, verdict: str) -> str:
    """Markdown: what the model is, what it was fitted to, how it was judged, what it must not be used for."""
    used = ", ".join(f"{name} {weight:g}" for name, weight in trial.tuned.weights.items() if weight > 0)
    return f"""# matinee-recommender: {trial.tuned.candidate}

**{verdict}**

Fitted to the {len(marts.data):,} positive interactions ({len(marts.profiles):,} profiles, {len(marts.items):,} titles)
of snapshot `{marts.snapshot_id}` (data hash `{marts.data_hash}`). Blend weights: {used}. Viewers without a history
that the model knows get `{trial.tuned.fallback}`.

## How it was judged
Global temporal split: everything after a moment is test, everything tuned was tuned before it. {trial.users:,} profiles
took something new in the test part, {trial.cold:,} of them had no history before it and get the fallback from every
personal model. All titles are ranked, those already taken excluded, ties count half. Intervals: 95 %, bootstrap over
profiles; the one against the baseline is paired. NDCG@10 counts all later titles; `first` and `last` one title each.

{table(trial)}

## Limits
Trained on what people took, so it inherits what they were shown; propensities are logged but not used yet. Blind to
titles that nobody has taken. Accuracy says nothing about children's profiles or rights: serving masks those.
"""


def plot(trial: Trial, path: Path) -> None:
    """A bar a model with its interval, as PNG."""
    from matplotlib.figure import Figure

    rows = sorted(trial.rows, key=lambda row: row.ndcg.mean)
    means = [row.ndcg.mean for row in rows]
    figure = Figure(figsize=(7, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
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
    figure.savefig(path, dpi=110)
