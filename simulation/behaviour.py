"""A block of viewers over the whole time: visits, then plays in each visit, under given arms of the experiments."""

from dataclasses import dataclass, fields, replace

import numpy as np

from simulation.choice import Shown, attention, choose, show
from simulation.parameters import MS_PER_DAY, Behaviour, Plan
from simulation.population import BLOCK, Population
from simulation.streams import stream
from simulation.watching import DRAWS, Watched, watch
from simulation.world import World

# Local time, 0 to 23 h: evenings are long, nights are not.
_HOURS = np.array([5, 3, 2, 1, 1, 1, 2, 3, 4, 4, 4, 5, 6, 6, 6, 6, 7, 9, 12, 15, 17, 16, 12, 8], dtype=float)
_WEEKDAYS = np.array([0.85, 0.85, 0.9, 0.95, 1.1, 1.25, 1.2])  # Monday first
_LONGEST_TAIL_MS = 120_000  # what is sent in the last two minutes would be received after the end


@dataclass(frozen=True)
class Visits:
    """Visits of a block in order of viewer and time, with what was on the screen; the same under every arm."""

    viewer: np.ndarray  # position in the block
    start_ms: np.ndarray
    shown: Shown
    match: np.ndarray  # visits x items, 0 to 1
    log_popularity: np.ndarray  # visits x items

    def __len__(self) -> int:
        return len(self.viewer)


@dataclass(frozen=True)
class Plays:
    """Plays in order of visit and slot. `row` -1: found by browsing; `first_frame_ms`: Unix milliseconds."""

    visit: np.ndarray
    slot: np.ndarray
    title: np.ndarray
    first_frame_ms: np.ndarray
    row: np.ndarray
    place: np.ndarray
    propensity: np.ndarray
    match: np.ndarray
    watched: Watched

    def __len__(self) -> int:
        return len(self.visit)

    def where(self, keep: np.ndarray) -> "Plays":
        own = {f.name: getattr(self, f.name)[keep] for f in fields(self) if f.name != "watched"}
        return Plays(**own, watched=Watched(**{f.name: getattr(self.watched, f.name)[keep] for f in fields(Watched)}))

    @staticmethod
    def concat(parts: "list[Plays]") -> "Plays":
        own = {
            f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Plays) if f.name != "watched"
        }
        watched = {f.name: np.concatenate([getattr(p.watched, f.name) for p in parts]) for f in fields(Watched)}
        return Plays(**own, watched=Watched(**watched))

    def sorted(self) -> "Plays":
        return self.where(np.lexsort((self.slot, self.visit)))


def visits(plan: Plan, world: World, people: Population, block: int) -> Visits:
    """When everybody comes, and what the home page shows them then."""
    random = stream(plan.seed, "visits", block)
    first_weekday = (plan.start_ms // MS_PER_DAY + 3) % 7  # 1 January 1970 was a Thursday
    weekday = _WEEKDAYS[(first_weekday + np.arange(plan.days)) % 7]
    everyone = np.zeros(BLOCK)
    everyone[: len(people.number)] = people.rate
    counts = random.poisson(everyone[:, None] * weekday[None, :])
    viewer, day = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    hour = random.choice(24, len(viewer), p=_HOURS / _HOURS.sum()) - people.utc_offset_h[viewer]
    start = plan.start_ms + day * MS_PER_DAY + (hour % 24) * 3_600_000 + random.integers(0, 3_600_000, len(viewer))
    kept = start < plan.end_ms - _LONGEST_TAIL_MS
    order = np.lexsort((start[kept], viewer[kept]))
    viewer, day, start = viewer[kept][order], day[kept][order], start[kept][order]

    match = (people.taste @ world.item_genres.T)[viewer]
    match = match / np.maximum(match.max(axis=1, keepdims=True), 1e-6)
    popularity = world.log_popularity(plan)[day]
    popularity[world.item_maturity[None, :] > people.maturity[viewer, None]] = -np.inf
    shown = show(match, popularity, random.gumbel(size=match.shape).astype(np.float32), plan.behaviour)
    return Visits(viewer, start, shown, match, popularity)


def plays(plan: Plan, world: World, people: Population, visited: Visits, block: int, behaviour: Behaviour) -> Plays:
    """What is watched in each visit. The random numbers depend on visit and slot alone: they are common to all arms."""
    bonus = attention(visited.shown, len(world.items), behaviour, behaviour.for_you_lead)
    utility = behaviour.match_weight * visited.match + behaviour.popularity_weight * visited.log_popularity + bonus
    open_, clock = np.isfinite(utility).any(axis=1), visited.start_ms.copy()
    title = np.full(len(visited), -1)
    parts = []
    for slot in range(behaviour.plays_per_visit):
        random = stream(plan.seed, f"slot{slot}", block)
        draws = random.random((len(visited), DRAWS + 4))
        noise = random.gumbel(size=utility.shape).astype(np.float32)
        item = choose(utility, noise)
        fresh = world.first_title[item] + _times_before(visited.viewer, item) % world.episodes[item]
        follows = (title >= 0) & _has_next(world, title) & (draws[:, DRAWS] < 0.8)
        title = np.where(follows, title + 1, fresh)
        part = _play(world, people, visited, title, follows, slot, clock, draws, behaviour)
        part = part.where(open_ & (part.first_frame_ms + part.watched.wall_ms < plan.end_ms - _LONGEST_TAIL_MS))
        parts.append(part)
        open_ = np.zeros(len(visited), dtype=bool)
        open_[part.visit] = _goes_on(part, draws[part.visit, DRAWS + 2])
        clock[part.visit] = part.first_frame_ms + part.watched.wall_ms
        # Only a completed episode leads to the next one.
        ended = np.zeros(len(visited), dtype=bool)
        ended[part.visit] = part.watched.completed
        title = np.where(ended, title, -1)
    return Plays.concat(parts).sorted()


def under(plan: Plan, *, treated: bool) -> Behaviour:
    """The behaviour of the world in one arm of the experiment that has an effect."""
    if not treated:
        return plan.behaviour
    return replace(plan.behaviour, **{plan.effect.parameter: plan.effect.value})


def _play(
    world: World,
    people: Population,
    visited: Visits,
    title: np.ndarray,
    follows: np.ndarray,
    slot: int,
    clock: np.ndarray,
    draws: np.ndarray,
    behaviour: Behaviour,
) -> Plays:
    item = world.title_item[title]
    match = np.take_along_axis(visited.match, item[:, None], axis=1)[:, 0]
    watched = watch(match, world.runtime_ms[title], people.mbps[visited.viewer], draws[:, :DRAWS], behaviour)
    pause_before = (4_000 + 90_000 * draws[:, DRAWS + 1] ** 2).astype(np.int64)
    row, place, propensity = _where_shown(visited.shown, item, follows, behaviour.for_you_lead)
    return Plays(
        visit=np.arange(len(visited)),
        slot=np.full(len(visited), slot),
        title=title,
        first_frame_ms=clock + pause_before + watched.startup_ms,
        row=row,
        place=place,
        propensity=propensity,
        match=match,
        watched=watched,
    )


def _times_before(viewer: np.ndarray, item: np.ndarray) -> np.ndarray:
    """How often this viewer chose this item in an earlier visit: the episode to go on with."""
    order = np.lexsort((np.arange(len(viewer)), item, viewer))
    starts = np.r_[True, (np.diff(viewer[order]) != 0) | (np.diff(item[order]) != 0)][: len(order)]
    first = np.flatnonzero(starts)
    before = np.empty(len(viewer), dtype=np.int64)
    before[order] = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    return before


def _has_next(world: World, title: np.ndarray) -> np.ndarray:
    following = np.minimum(title + 1, len(world.titles) - 1)
    return (following > title) & (world.title_item[following] == world.title_item[title])


def _goes_on(part: Plays, draw: np.ndarray) -> np.ndarray:
    """Whether another title follows: likelier after one that was liked and seen to its end."""
    appetite = -1.5 + 1.1 * part.match + 0.9 * part.watched.completed
    return (draw < 1 / (1 + np.exp(-appetite))) & ~part.watched.failed


def _where_shown(
    shown: Shown, item: np.ndarray, follows: np.ndarray, for_you_lead: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, place and propensity of the chosen item; of an item in both rows, those of the row that stands first."""
    row, place, propensity = np.full(len(item), -1), np.full(len(item), -1), np.full(len(item), np.nan)
    lines = [(0, shown.popular, np.ones(shown.popular.shape)), (1, shown.for_you, shown.for_you_propensity)]
    # The row that stands first is written last, so it wins.
    for number, items, chances in sorted(lines, key=lambda line: line[0] if for_you_lead > 0.5 else -line[0]):
        found = (items == item[:, None]) & ~follows[:, None]
        present = np.flatnonzero(found.any(axis=1))
        where = found[present].argmax(axis=1)
        row[present], place[present], propensity[present] = number, where, chances[present, where]
    return row, place, propensity
