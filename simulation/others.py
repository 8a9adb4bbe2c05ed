"""What is sent besides viewing: attempts that never show a frame, and crawlers that look at everything."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from matinee.ids import content_uuid7
from simulation.behaviour import Visits
from simulation.events import Part, event_ids, typed
from simulation.parameters import Plan
from simulation.population import BLOCK, COUNTRIES, Population
from simulation.streams import stream
from simulation.world import World

BOT_DEVICE = "web"
_CRAWL_MS = 1_800_000  # no crawl begins in the last half hour
# What a crawler says it has played: nothing, a little, or enough to pass for a viewer.
_CLAIMS_MS = np.array([0, 1_200, 45_000])


@dataclass(frozen=True)
class Crawlers:
    """The bots of a block. `viewer`: below zero, one for the viewer of that number; some are signed in."""

    viewer: np.ndarray
    signed_in: np.ndarray
    country: np.ndarray


def crawlers(plan: Plan, people: Population, block: int) -> Crawlers:
    """Who crawls. Draws are made for a whole block, as those of the population."""
    random = stream(plan.seed, "crawlers", block)
    chosen = random.random(BLOCK) < plan.business.bots
    signed_in, country = random.random(BLOCK) < 0.5, random.integers(0, len(COUNTRIES), BLOCK)
    chosen[len(people.number) :] = False
    index = np.flatnonzero(chosen)
    return Crawlers(-1 - people.number[index], signed_in[index], country[index])


def other_events(
    plan: Plan, world: World, people: Population, visited: Visits, kept: np.ndarray, bots: Crawlers, block: int
) -> pl.DataFrame:
    """The events of both, in the columns of `event_frame`; visits of crawlers are numbered after the viewers' own."""
    digest = plan.digest(world.fingerprint)
    starts = _false_starts(plan, world, visited, kept, digest, block)
    crawls, of_bot, began = _crawls(plan, world, bots, len(visited), digest, block)
    viewer = np.r_[people.number[visited.viewer], bots.viewer[of_bot]]
    sessions = np.empty(len(viewer), dtype=object)
    for visit in np.asarray(starts[0]["visit"]):
        sessions[visit] = content_uuid7(int(visited.start_ms[visit]), digest, "visit", str(block), str(visit))
    for number, moment in enumerate(began):
        sessions[len(visited) + number] = content_uuid7(int(moment), digest, "crawl", str(block), str(number))
    frame = pl.concat([typed(part, viewer, sessions) for part in (*starts, *crawls)])
    frame = frame.sort("visit", "at", "seq", maintain_order=True)
    return frame.with_columns(event_id=event_ids(digest, "other event ids", block, frame["at"].to_numpy()))


def false_starts(plan: Plan, visited: Visits, block: int) -> np.ndarray:
    """Of each visit, whether it begins with an attempt that shows nothing: the same under every arm."""
    shown = visited.shown.popular[:, 0] >= 0
    return shown & (stream(plan.seed, "false starts", block).random(len(visited)) < plan.business.false_starts)


def _false_starts(plan: Plan, world: World, visited: Visits, kept: np.ndarray, digest: str, block: int) -> list[Part]:
    """`play` without a first frame, then an error and `stop`, or `stop` alone where the viewer had no patience."""
    random = stream(plan.seed, "false start", block)
    fails, waited = random.random(len(visited)) < 0.4, random.integers(800, 9_000, len(visited))
    visit = np.flatnonzero(false_starts(plan, visited, block) & kept)
    at = visited.start_ms + 2_000
    titles = np.array([title.title_id for title in world.titles], dtype=object)
    title = titles[world.first_title[visited.shown.popular[:, 0]]]
    playback = np.empty(len(visited), dtype=object)
    for v in visit:
        playback[v] = content_uuid7(int(at[v]), digest, "false start", str(block), str(v))

    def part(kind: str, seq: int, of: np.ndarray, moment: np.ndarray) -> Part:
        known = {"title_id": title[of], "playback_id": playback[of], "is_failed": fails[of]}
        return {"visit": of, "seq": seq, "type": kind, "at": moment[of], **known}

    return [
        part("play", 30, visit, at),
        part("error", 31, visit[fails[visit]], at + waited),
        part("stop", 32, visit, at + waited),
    ]


def _crawls(
    plan: Plan, world: World, bots: Crawlers, first_visit: int, digest: str, block: int
) -> tuple[list[Part], np.ndarray, np.ndarray]:
    """Hundreds of impressions at the speed of a machine, every twelfth followed by a play.

    Returns the events, whose crawl each is, and when each begins.
    """
    random = stream(plan.seed, "crawl", block)
    of_bot = np.repeat(np.arange(len(bots.viewer)), random.integers(1, 4, len(bots.viewer)))
    began = random.integers(plan.start_ms, plan.end_ms - _CRAWL_MS, len(of_bot))
    looks = random.integers(120, 420, len(of_bot))
    crawl = np.repeat(np.arange(len(of_bot)), looks)
    first = np.repeat(np.cumsum(looks) - looks, looks)
    place = np.arange(len(crawl)) - first
    step = np.cumsum(random.integers(15, 90, len(crawl)))
    at = began[crawl] + step - step[first]
    titles = np.array([t.title_id for t in world.titles], dtype=object)
    title = titles[random.integers(0, len(world.titles), len(crawl))]
    claimed = _CLAIMS_MS[random.integers(0, len(_CLAIMS_MS), len(crawl))]
    plays = np.flatnonzero(place % 12 == 11)
    playback = np.array([content_uuid7(int(at[i]), digest, "crawled", str(block), str(i)) for i in plays], dtype=object)

    def part(kind: str, of: np.ndarray, after: int) -> Part:
        return {
            "visit": first_visit + crawl[of],
            "seq": 3 * place[of] + after,
            "type": kind,
            "at": at[of] + 3 * after,
            "title_id": title[of],
        }

    def counters(played: np.ndarray) -> Part:
        return {"playback_id": playback, "startup_ms": 1, "position_ms": played, "played_ms": played}

    parts = [
        part("impression", np.arange(len(crawl)), 0),
        part("play", plays, 1) | counters(np.zeros(len(plays), dtype=np.int64)),
        part("stop", plays, 2) | counters(claimed[plays]),
    ]
    return parts, of_bot, began
