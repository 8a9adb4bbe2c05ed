"""The promotion gate: fits every contender itself, on each fold's past alone, and says which bars hold."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation import checks, lists
from models.evaluation.checks import Bars, Check, Measured
from models.evaluation.metrics import Scores, evaluate, of_lists
from models.evaluation.splits import Rolling, Task
from models.interactions import Floats, Interactions, Ints
from models.recommenders.base import Fitted

Allowed = NDArray[np.bool_]  # [n_items], or [rows, n_items]: what the hard rules let through at the fold's start
_TIMED_ROWS = 40


@dataclass(frozen=True)
class Contender:
    """A model that wants to serve (or does, or sets a bar).

    `fit` sees the interactions of one fold's past and nothing else. `recorded`: the metrics of its training run, of
    which `ndcg_at_10_fold_1`… must be reproduced (needed for the challenger only; `measure(…).record()` makes them).
    `recommend(fitted, task, allowed) -> [rows, 10]` item numbers, -1 for none: its own path to a list, where that is
    more than the best allowed scores (a ranker, a re-rank); then everything is measured on what it returns.
    `recipe`: kind and parameters; a challenger of the champion's recipe is a refresh with newer data, not a rival.
    """

    name: str
    fit: Callable[[Interactions], Fitted]
    recorded: Mapping[str, float] = field(default_factory=dict)
    recommend: Callable[[Fitted, Task, Allowed], Ints] | None = None
    recipe: str = ""


@dataclass(frozen=True)
class Verdict:
    """`reference`: what the challenger was compared with, the champion or, without one, the strongest baseline.

    `note`: what the gate has not judged.
    """

    challenger: str
    reference: str
    folds: str
    checks: tuple[Check, ...]
    measured: tuple[Measured, ...]
    note: str = ""

    @property
    def promoted(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def text(self) -> str:
        """One sentence: promoted or refused, and why."""
        if self.promoted:
            better = next(check for check in self.checks if check.name == "surely_better")
            return f"promoted: {self.challenger}: {better.text}" + (f"; {self.note}" if self.note else "")
        return f"refused: {self.challenger}: " + "; ".join(check.text for check in self.checks if not check.passed)

    @property
    def markdown(self) -> str:
        """The report: the verdict and its details."""
        return f"# Promotion gate: {self.challenger}\n\n**{self.text}**\n\n{self.details}"

    @property
    def details(self) -> str:
        """Every check with what was measured and the bar, then every contender, as Markdown."""
        lines = [f"Judged on {self.folds}."]
        lines += [f"Not judged here: {self.note}.", ""] if self.note else [""]
        lines += ["| check | passed | measured | bar |", "|---|---|---|---|"]
        lines += [f"| {c.name} | {'yes' if c.passed else '**no**'} | {c.text} | {c.bar} |" for c in self.checks]
        lines += [
            "",
            "| contender | NDCG@10 | by fold | coverage | popularity | calibration |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {m.name} | {m.mean:.4f} | {', '.join(f'{fold.mean():.4f}' for fold in m.ndcg)} | {m.coverage:.3f} "
            f"| {m.popularity:.1f} | {'-' if np.isnan(m.calibration) else f'{m.calibration:.3f}'} |"
            for m in self.measured
        ]
        return "\n".join(lines) + "\n"

    @property
    def json(self) -> str:
        contenders = [{"name": m.name, "ndcg_at_10": m.mean, **m.record()} for m in self.measured]
        made = {
            "challenger": self.challenger, "reference": self.reference, "promoted": self.promoted, "text": self.text,
            "note": self.note, "folds": self.folds, "checks": [_plain(check) for check in self.checks],
            "contenders": contenders,
        }  # fmt: skip
        return json.dumps(made, indent=2, allow_nan=False)


def judge(
    challenger: Contender,
    champion: Contender | None,
    baselines: Sequence[Contender],
    folds: Rolling,
    *,
    allowed: Sequence[Allowed] | None = None,
    genres: Floats | None = None,
    drift: Mapping[str, float] | None = None,
    bars: Bars | None = None,
    rules: str = "allowed by the mask",
    note: str = "",
) -> Verdict:
    """Whether the challenger may serve.

    Every contender is fitted once a fold, to that fold's `Task.train` itself; the challenger once more, to noise.
    `allowed`: one mask a fold (default: everything may be shown). `genres` [n_items, genres]: for calibration.
    `drift`: the population stability index of every feature that the challenger reads. `rules`: what the masks stand
    for, in words; `note`: what is not judged here.

    Raises:
        ModelError: no baselines, or no fold has viewers to judge on.
    """
    bars = bars or Bars()
    if not baselines or not folds.tasks:
        raise ModelError(
            f"the gate cannot judge {challenger.name!r}: {len(baselines)} baselines, {len(folds.tasks)} folds with "
            "viewers; give at least one of each (more history makes folds)"
        )
    ours, *others = (
        measure(contender, folds.tasks, allowed=allowed, genres=genres)
        for contender in (challenger, *baselines, *([champion] if champion else []))
    )
    bottom = others[: len(baselines)]
    reigning = others[-1] if champion else None
    reference = reigning or max(bottom, key=lambda made: made.mean)
    refresh = champion is not None and bool(challenger.recipe) and challenger.recipe == champion.recipe
    users = np.concatenate([task.users for task in folds.tasks])
    cold = np.concatenate([task.histories.lengths == 0 for task in folds.tasks])
    made = (
        checks.enough_viewers(users, bars),
        checks.beats_baselines(ours, reigning, bottom),
        checks.surely_better(ours, reference, users, bars, refresh=refresh),
        checks.no_fold_worse(ours, reference, bars),
        checks.coverage(ours, reference, bars),
        checks.popularity(ours, reference, bars),
        checks.calibration(ours, reference, bars),
        checks.cold_viewers(ours, reference, users, cold, bars),
        checks.hard_rules(ours, rules),
        checks.latency(ours, bars),
        checks.reproducible(ours, challenger.recorded, bars),
        probe(challenger, ours, folds.tasks[-1], bars, allowed[-1] if allowed else None),
        checks.drift(drift, bars),
    )
    return Verdict(challenger.name, reference.name, folds.text, made, (ours, *others), note)


def measure(
    contender: Contender,
    tasks: Sequence[Task],
    *,
    allowed: Sequence[Allowed] | None = None,
    genres: Floats | None = None,
) -> Measured:
    """Fit on each task's past, rank everything, make the lists."""
    ndcg, covered, popular, calibrated, times, violations = [], [], [], [], [], 0
    for number, task in enumerate(tasks):
        mask = allowed[number] if allowed else np.ones(task.train.n_items, dtype=np.bool_)
        model = contender.fit(task.train)
        scores = _scores(contender, model, task, mask)
        top = scores.top
        ndcg.append(scores.ndcg)
        offered = int(mask.any(axis=0).sum() if mask.ndim == 2 else mask.sum())
        covered.append(lists.coverage(top, offered))
        popular.append(lists.mean_popularity(top, np.bincount(task.train.items, minlength=task.train.n_items)))
        if genres is not None:
            calibrated.append(lists.calibration(top, task.histories, genres))
        if contender.recommend:
            violations += lists.violations(top, mask, task.histories)
        times += _seconds(contender, model, task, mask)
    kl = np.concatenate(calibrated) if calibrated else np.array([np.nan])
    return Measured(
        contender.name,
        tuple(ndcg),
        float(np.mean(covered)),
        float(np.mean(popular)),
        float("nan") if np.isnan(kl).all() else float(np.nanmean(kl)),
        violations if contender.recommend else None,
        float(np.quantile(times, 0.95)) * 1000,
    )


def probe(
    contender: Contender, ours: Measured, task: Task, bars: Bars, allowed: Allowed | None, seed: int = 0
) -> Check:
    """Fit once to a past of random titles: whoever brings knowledge of the future along still knows it then."""
    rng = np.random.default_rng(seed)
    past = task.train
    titles = rng.integers(0, past.n_items, size=len(past))
    noise = Interactions(past.users, titles, past.times, past.n_users, past.n_items)
    mask = np.ones(past.n_items, dtype=np.bool_) if allowed is None else allowed
    blind = _scores(contender, contender.fit(noise), task, mask).ndcg.mean()
    chance = evaluate(lambda rows: rng.random((len(rows), past.n_items), np.float32), task, allowed=mask).ndcg.mean()
    return checks.learns_from_the_past(float(ours.ndcg[-1].mean()), float(blind), float(chance), bars)


def _plain(check: Check) -> dict[str, object]:
    """For JSON, which knows no infinite gains."""
    finite = check.value is not None and np.isfinite(check.value)
    return {**asdict(check), "value": check.value if finite else None}


def _scores(contender: Contender, model: Fitted, task: Task, allowed: Allowed) -> Scores:
    """Of its own lists where it makes them, of its full ranking otherwise."""
    if contender.recommend:
        return of_lists(contender.recommend(model, task, allowed), task)
    return evaluate(model.score, task, allowed=allowed)


def _seconds(contender: Contender, model: Fitted, task: Task, allowed: Allowed) -> list[float]:
    """Of one viewer at a time; processor time, so that a busy machine refuses nobody."""
    made = []
    for row in range(min(len(task), _TIMED_ROWS)):
        alone = task.take([row])
        mask = allowed if allowed.ndim == 1 else allowed[row : row + 1]
        started = time.process_time()
        if contender.recommend:
            contender.recommend(model, alone, mask)
        else:
            model.score(alone.histories)
        made.append(time.process_time() - started)
    return made
