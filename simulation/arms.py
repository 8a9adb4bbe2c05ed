"""Who is in which arm, and what each experiment truly does: potential outcomes of every viewer under both arms."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from models.experiments.assignment import Experiment, assign
from models.experiments.registry import ACTIVE
from simulation.behaviour import Plays, Visits, under
from simulation.choice import ROWS, examination
from simulation.parameters import Plan
from simulation.population import Population, account_id

METRICS = ("hours_per_account", "plays_per_account", "hours_per_play")
_MS_PER_HOUR = 3_600_000


@dataclass(frozen=True)
class Arms:
    """The running experiments and the variant of every viewer of a block: `variant[experiment][viewer]`."""

    experiments: tuple[Experiment, ...]
    variants: tuple[tuple[str, ...], ...]

    def treated(self, plan: Plan) -> np.ndarray:
        """Which viewers get the effect."""
        for experiment, variants in zip(self.experiments, self.variants, strict=True):
            if experiment.name == plan.effect.experiment + plan.experiment_suffix:
                return np.array([variant == plan.effect.variant for variant in variants])
        return np.zeros(len(self.variants[0]) if self.variants else 0, dtype=bool)

    def leads(self, plan: Plan) -> np.ndarray:
        """Of which viewers the row chosen for them stands first."""
        control, treatment = (under(plan, treated=t).for_you_lead > 0.5 for t in (False, True))
        return np.where(self.treated(plan), treatment, control)


def experiments(plan: Plan) -> tuple[Experiment, ...]:
    return tuple(replace(e, name=e.name + plan.experiment_suffix) for e in ACTIVE)


def arms(plan: Plan, run: str, people: Population) -> Arms:
    """The assignment that serving would make for these accounts."""
    running = experiments(plan)
    accounts = [account_id(run, int(number)) for number in people.number]
    return Arms(running, tuple(tuple(assign(e, account) for account in accounts) for e in running))


def factual(plan: Plan, visited: Visits, control: Plays, treated: Plays, chosen: Arms) -> Plays:
    """What really happens: of each viewer the plays of the arm that the viewer is in."""
    is_treated = chosen.treated(plan)
    in_control = control.where(~is_treated[visited.viewer[control.visit]])
    return Plays.concat([in_control, treated.where(is_treated[visited.viewer[treated.visit]])]).sorted()


def outcomes(
    people: Population,
    visited: Visits,
    control: Plays,
    treated: Plays,
    chosen: Arms,
    kept: np.ndarray,
    attempts: np.ndarray,
) -> pl.DataFrame:
    """One row a viewer who came at all (and so was exposed): hours and plays under control and under treatment.

    By number of the visit, `kept` says whether it took place, `attempts` whether it began with a play that showed
    nothing, which counts in both arms.
    """
    count = len(people.number)
    columns: dict[str, object] = {"viewer": people.number}
    failed = np.bincount(visited.viewer[kept & attempts], minlength=count)
    for name, made in (
        ("control", control.where(kept[control.visit])),
        ("treatment", treated.where(kept[treated.visit])),
    ):
        viewer = visited.viewer[made.visit]
        columns[f"plays_{name}"] = np.bincount(viewer, minlength=count) + failed
        columns[f"ms_{name}"] = np.bincount(viewer, weights=made.watched.played_ms, minlength=count).astype(np.int64)
    for experiment, variants in zip(chosen.experiments, chosen.variants, strict=True):
        columns[experiment.name] = list(variants)
    came = np.bincount(visited.viewer[kept], minlength=count) > 0
    return pl.DataFrame(columns).filter(pl.Series(came))


def sums(made: pl.DataFrame) -> Counter[str]:
    """Outcomes added up; those of other viewers can be added to them."""
    columns = [f"{name}_{arm}" for name in ("plays", "ms") for arm in ("control", "treatment")]
    return Counter({"units": made.height, **{name: int(made[name].sum()) for name in columns}})


def effects(plan: Plan, total: Mapping[str, int], running: Iterable[Experiment]) -> list[dict[str, object]]:
    """The finite-population effect, treatment minus control, of each experiment on each metric, from the `sums`.

    It is what the exposed viewers of this run would have done had all of them been treated, minus what they would
    have done had none: the quantity that a difference of means estimates.
    """
    changed = plan.effect.experiment + plan.experiment_suffix
    return [
        {
            "experiment": experiment.name,
            "metric": metric,
            "units": total["units"],
            "control": _metric(total, metric, "control"),
            "effect": _metric(total, metric, "treatment") - _metric(total, metric, "control")
            if experiment.name == changed
            else 0.0,
        }
        for experiment in running
        for metric in METRICS
    ]


def examination_of(plan: Plan) -> list[dict[str, object]]:
    """What a place on the page does: `odds` of a choice against the best place of all, the title being the same."""
    made: list[dict[str, object]] = []
    for treated in (False, True):
        behaviour = under(plan, treated=treated)
        added = examination(behaviour, behaviour.for_you_lead, behaviour.row_length)
        odds = np.exp(added - added.max())
        made += [
            {"is_treated": treated, "row": ROWS[row], "position": place, "odds": float(odds[row, place])}
            for row, place in np.ndindex(*odds.shape)
        ]
    return made


def _metric(total: Mapping[str, int], metric: str, arm: str) -> float:
    hours, plays = total[f"ms_{arm}"] / _MS_PER_HOUR, total[f"plays_{arm}"]
    if metric == "hours_per_play":
        return hours / plays if plays else 0.0
    return (hours if metric == "hours_per_account" else plays) / max(total["units"], 1)
