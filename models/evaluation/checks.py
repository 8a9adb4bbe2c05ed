"""What a challenger must pass before it serves: pure comparisons of what the gate measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, paired_bootstrap
from models.interactions import Ints

MIN_USERS = 20  # fewer viewers say nothing
RECORDED = "ndcg_at_10_fold_{}"  # the metric that a run logs for each fold of the gate, counted from 1


@dataclass(frozen=True)
class Bars:
    """The promotion bars; shares are of the reference (the champion; without one, the strongest baseline).

    `looks`: how many challengers one data set may be asked for; what is sure is sure for all of them (Bonferroni).
    """

    level: float = 0.95
    looks: int = 1
    resamples: int = 2000
    seeds: tuple[int, ...] = (0, 1, 2)
    fold_loss: float = 0.01
    coverage: float = 0.95
    popularity: float = 1.05
    calibration: float = 1.05
    cold_loss: float = 0.02
    cold_rows: int = 20  # fewer rows without a history say nothing,
    cold_sure: int = 1000  # fewer than this can only refute: the interval of few rows is always wider than the bar
    reproduced: float = 0.002
    from_elsewhere: float = 0.5
    drift: float = 0.2
    p95_ms: float = 50.0
    viewers: int = MIN_USERS


@dataclass(frozen=True)
class Measured:
    """One contender on every fold. `ndcg`: NDCG@10 of each row, an array a fold; the rest over all folds.

    `coverage`: share of the offered titles that are in a list; `popularity`: mean interactions of what is listed;
    `calibration`: mean KL divergence, NaN without genres; `violations`: listed titles that a hard rule
    forbids, None where the lists are the best of masked scores, which cannot break one;
    `p95_ms`: processor time for one viewer.
    """

    name: str
    ndcg: tuple[NDArray[np.float64], ...]
    coverage: float
    popularity: float
    calibration: float
    violations: int | None
    p95_ms: float

    @property
    def pooled(self) -> NDArray[np.float64]:
        return np.concatenate(self.ndcg)

    @property
    def mean(self) -> float:
        return float(self.pooled.mean())

    def record(self) -> dict[str, float]:
        """What a training run logs, for the gate to reproduce."""
        return {RECORDED.format(number): float(fold.mean()) for number, fold in enumerate(self.ndcg, 1)}


@dataclass(frozen=True)
class Check:
    """One question of the gate. `value` is what was measured (None: it could not be, and `text` says why)."""

    name: str
    passed: bool
    value: float | None
    bar: str
    text: str


def enough_viewers(users: Ints, bars: Bars) -> Check:
    """`users` [rows of all folds]: a viewer who is asked on every fold is one."""
    found = len(np.unique(users))
    text = f"{found} viewers in all folds together; fewer than {bars.viewers} say nothing"
    return Check("enough_viewers", found >= bars.viewers, found, f">= {bars.viewers}", text)


def beats_baselines(challenger: Measured, champion: Measured | None, baselines: Sequence[Measured]) -> Check:
    best = max(baselines, key=lambda made: made.mean)
    text = f"NDCG@10 {challenger.mean:.4f}, the strongest baseline {best.name} {best.mean:.4f}"
    if champion is not None and champion.mean <= best.mean:
        text += f"; {champion.name} does not beat it either ({champion.mean:.4f})"
    return Check("beats_baselines", challenger.mean > best.mean, challenger.mean, f"> {best.mean:.4f}", text)


def surely_better(
    challenger: Measured, reference: Measured, users: Ints, bars: Bars, *, refresh: bool = False
) -> Check:
    """The lowest of the seeds' bounds counts. `users` [rows of all folds]: a viewer is drawn with all their rows.

    A `refresh`, the champion's own recipe on newer data, reaches the same on every fold and cannot be surely better:
    it serves because it is newer, if no fold is worse.
    """
    bars = replace(bars, level=1 - (1 - bars.level) / bars.looks)
    found = [_difference(challenger.pooled, reference.pooled, users, bars, seed) for seed in bars.seeds]
    low = min(interval.low for interval in found)
    text = (
        f"NDCG@10 differs from {reference.name} by {found[0].mean:+.4f}, {100 * bars.level:.3g}% interval "
        f"[{low:+.4f}, {max(interval.high for interval in found):+.4f}] over {len(np.unique(users))} viewers, "
        f"{bars.resamples} resamples, {len(bars.seeds)} seeds"
    )
    if refresh:
        return Check("surely_better", True, low, "a refresh", f"the champion's recipe on newer data; {text}")
    return Check("surely_better", low > 0, low, "> 0", text)


def no_fold_worse(challenger: Measured, reference: Measured, bars: Bars) -> Check:
    changes = [
        _relative(ours.mean(), theirs.mean()) for ours, theirs in zip(challenger.ndcg, reference.ndcg, strict=True)
    ]
    told = ", ".join(f"{change:+.1%}" for change in changes)
    worst = min(changes)
    return Check(
        "no_fold_worse",
        worst >= -bars.fold_loss,
        worst,
        f">= {-bars.fold_loss:.0%}",
        f"NDCG@10 against {reference.name}, fold by fold: {told}",
    )


def not_surely_worse(challenger: Measured, reference: Measured, users: Ints, bars: Bars) -> Check:
    """The upper bound of the change, against the loss that a fold may have. `users` [rows of all folds].

    For an order that logged pages have judged: what viewers took later they took from what they were shown, so lists of
    the whole catalogue reward whoever repeats what was shown, and refute such an order only where they are sure.
    """
    found = [_difference(challenger.pooled, reference.pooled, users, bars, seed) for seed in bars.seeds]
    base = reference.mean
    change, bound = (_relative(base + of, base) for of in (found[0].mean, max(one.high for one in found)))
    text = f"NDCG@10 {challenger.mean:.4f}, {reference.name} {base:.4f}: {change:+.1%}, upper bound {bound:+.1%}"
    return Check("not_surely_worse", bound >= -bars.fold_loss, bound, f">= {-bars.fold_loss:.0%}", text)


def coverage(challenger: Measured, reference: Measured, bars: Bars) -> Check:
    return _ratio("coverage", challenger.coverage, reference.coverage, bars.coverage, reference.name, least=True)


def popularity(challenger: Measured, reference: Measured, bars: Bars) -> Check:
    return _ratio("popularity", challenger.popularity, reference.popularity, bars.popularity, reference.name)


def calibration(challenger: Measured, reference: Measured, bars: Bars) -> Check:
    if np.isnan(challenger.calibration) or np.isnan(reference.calibration):
        return Check("calibration", True, None, f"<= {bars.calibration:.0%}", "not measured: no genres are known")
    return _ratio("calibration", challenger.calibration, reference.calibration, bars.calibration, reference.name)


def cold_viewers(challenger: Measured, reference: Measured, users: Ints, cold: NDArray[np.bool_], bars: Bars) -> Check:
    """Rows without a history (`cold` [rows of all folds]): the bound of the change relative to the reference.

    The lower one where there are enough rows; of fewer rows the upper one, so that they refuse what is surely worse and
    nobody is refused for a chance of some dozen viewers.
    """
    bar, rows = f">= {-bars.cold_loss:.0%}", int(cold.sum())
    if rows < bars.cold_rows:
        told = f"not measured: {rows} rows without a history, fewer than {bars.cold_rows}, say nothing"
        return Check("cold_viewers", True, None, bar, told)
    ours, theirs = challenger.pooled[cold], reference.pooled[cold]
    found = [_difference(ours, theirs, users[cold], bars, seed) for seed in bars.seeds]
    base, sure = float(theirs.mean()), rows >= bars.cold_sure
    edge = min(interval.low for interval in found) if sure else max(interval.high for interval in found)
    change, bound = _relative(ours.mean(), base), _relative(base + edge, base)
    text = (
        f"viewers without a history: NDCG@10 {ours.mean():.4f}, {reference.name} {base:.4f}, change {change:+.1%}, "
        f"{'lower' if sure else 'upper'} bound {bound:+.1%} over {rows} rows"
    )
    return Check("cold_viewers", bound >= -bars.cold_loss, bound, bar, text)


def hard_rules(challenger: Measured, rules: str) -> Check:
    """`rules`: what the masks stand for, in words; that a title is not in the viewer's history is always one."""
    if challenger.violations is None:
        told = "not checked: it has no lists of its own, only scores that are masked before they are ranked"
        return Check("hard_rules", True, None, "0", told)
    text = f"{challenger.violations} titles in its own lists break a rule (already watched, or not {rules})"
    return Check("hard_rules", challenger.violations == 0, challenger.violations, "0", text)


def latency(challenger: Measured, bars: Bars) -> Check:
    text = f"one viewer takes {challenger.p95_ms:.1f} ms of processor time (95th percentile)"
    return Check("latency", challenger.p95_ms <= bars.p95_ms, challenger.p95_ms, f"<= {bars.p95_ms:g} ms", text)


def reproducible(challenger: Measured, recorded: Mapping[str, float], bars: Bars) -> Check:
    """Fitted again, from each fold's past alone, it must reach what its run recorded."""
    bar, measured = f"within ±{bars.reproduced:g}", challenger.record()
    missing = [name for name in measured if name not in recorded]
    if missing:
        return Check("reproducible", False, None, bar, f"its run recorded no {', '.join(missing)}")
    name = max(measured, key=lambda key: abs(recorded[key] - measured[key]))
    gap = recorded[name] - measured[name]
    text = f"{name}: recorded {recorded[name]:.4f}, measured again from the past alone {measured[name]:.4f}"
    if gap > bars.reproduced:
        text += ": the recorded model has seen what it was asked to predict, or other data"
    return Check("reproducible", abs(gap) <= bars.reproduced, gap, bar, text)


def learns_from_the_past(reached: float, on_noise: float, chance: float, bars: Bars) -> Check:
    """A contender fitted to random titles must lose what it knows; what stays was not learnt from what it was given.

    All three are NDCG@10 on the newest fold: fitted to its past, fitted to noise, and of random scores.
    """
    gained = reached - chance
    kept = (on_noise - chance) / gained if gained > 0 else 0.0
    text = (
        f"NDCG@10 {reached:.4f} fitted to the past, {on_noise:.4f} fitted to random titles, {chance:.4f} by chance: "
        f"{max(kept, 0):.0%} of the gain does not come from the past that it was given"
    )
    return Check("learns_from_the_past", kept <= bars.from_elsewhere, kept, f"<= {bars.from_elsewhere:.0%}", text)


def drift(found: Mapping[str, float] | None, bars: Bars) -> Check:
    """`found`: population stability index of each feature that the challenger reads (`evaluation.drift.moved`), None:
    it reads none."""
    bar = f"< {bars.drift:g}"
    if not found:
        told = (
            "it reads no features"
            if found is None
            else "its stored features have too few values, or windows still filling"
        )
        return Check("drift", True, None, bar, f"not measured: {told}")
    name = max(found, key=lambda key: found[key])
    text = f"the feature that moved most is {name}, PSI {found[name]:.3f} of {len(found)} stored features"
    return Check("drift", found[name] < bars.drift, found[name], bar, text)


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], users: Ints, bars: Bars, seed: int) -> Interval:
    return paired_bootstrap(ours, theirs, resamples=bars.resamples, level=bars.level, seed=seed, groups=users)


def _ratio(name: str, ours: float, theirs: float, bar: float, against: str, *, least: bool = False) -> Check:
    share = 1 + _relative(ours, theirs)
    passed = share >= bar if least else share <= bar
    text = f"{name} {ours:.4g}, {against} {theirs:.4g}: {share:.1%} of it"
    return Check(name, passed, share, f"{'>=' if least else '<='} {bar:.0%}", text)


def _relative(ours: float, theirs: float) -> float:
    """The change as a share of `theirs`; from nothing, any gain is infinite."""
    if theirs == 0:
        return 0.0 if ours == 0 else float(np.copysign(np.inf, ours))
    return float(ours / theirs - 1)
