"""Behaviour as a frame of events: one row an event, times in Unix milliseconds, before anything goes wrong."""

import numpy as np
import polars as pl
import pyarrow as pa

from matinee.ids import content_uuid7
from simulation.behaviour import Plays, Visits
from simulation.parameters import Plan
from simulation.population import Population
from simulation.streams import stream
from simulation.world import World

HEARTBEAT_MS = 30_000

Columns = dict[str, np.ndarray]
Part = dict[str, object]  # name -> array, or one value for all rows

_SCHEMA = {
    "viewer": pl.Int32,
    "visit": pl.Int32,
    "session_id": pl.String,
    "playback_id": pl.String,
    "seq": pl.Int32,
    "type": pl.String,
    "at": pl.Int64,
    "title_id": pl.String,
    "position_ms": pl.Int64,
    "played_ms": pl.Int64,
    "stall_ms": pl.Int64,
    "stalls": pl.Int64,
    "paused_ms": pl.Int64,
    "startup_ms": pl.Int64,
    "bits": pl.Int64,
    "rendition": pl.Int8,
    "row": pl.Int8,
    "place": pl.Int16,
    "propensity": pl.Float64,
    "value": pl.Float64,
    "experiment": pl.Int8,
    "is_failed": pl.Boolean,
}


def event_frame(
    plan: Plan,
    world: World,
    people: Population,
    visited: Visits,
    made: Plays,
    leads: np.ndarray,
    block: int,
    experiments: int,
) -> pl.DataFrame:
    """All events of a block in order of viewer and time, with their ids.

    `leads` says of each visit whether the row chosen for the viewer stands first on the page.
    """
    digest = plan.digest(world.fingerprint)
    viewer = people.number[visited.viewer]
    sessions = np.array(
        [content_uuid7(int(ms), digest, "visit", str(block), str(i)) for i, ms in enumerate(visited.start_ms)],
        dtype=object,
    )
    playbacks = np.array(
        [
            content_uuid7(int(ms), digest, "play", str(block), str(visit), str(slot))
            for ms, visit, slot in zip(made.first_frame_ms, made.visit, made.slot, strict=True)
        ],
        dtype=object,
    )
    title_ids = np.array([title.title_id for title in world.titles], dtype=object)
    played = {"playback_id": playbacks, "title_id": title_ids[made.title] if len(made) else title_ids[:0]}
    parts = [
        *_exposures(visited, experiments),
        *_impressions(world, visited, leads),
        *_playback(made, played),
        *_opinions(plan, world, made, played, block),
    ]
    frame = pl.concat([typed(part, viewer, sessions) for part in parts], how="vertical")
    frame = frame.sort("visit", "at", "seq", maintain_order=True)
    return frame.with_columns(event_id=event_ids(digest, "event ids", block, frame["at"].to_numpy()))


def typed(part: Part, viewer: np.ndarray, sessions: np.ndarray) -> pl.DataFrame:
    """A part as a frame; `viewer` and `sessions` say of each visit whose it is and what it is called."""
    visit = np.asarray(part["visit"])
    full = part | {"viewer": viewer[visit], "session_id": sessions[visit]}
    columns = []
    for name, dtype in _SCHEMA.items():
        value = full.get(name)
        if value is None or isinstance(value, str | int):
            columns.append(pl.Series(name, [value], dtype=dtype).new_from_index(0, len(visit)))
        else:
            array = np.asarray(value)
            columns.append(
                pl.Series(name, array.tolist() if array.dtype == object else array, dtype=dtype, strict=False)
            )
    return pl.DataFrame(columns)


def _exposures(visited: Visits, experiments: int) -> list[Part]:
    """Serving tells with each home page which experiments shaped it."""
    every = np.arange(len(visited))
    return [
        {"visit": every, "seq": number, "type": "exposure", "at": visited.start_ms, "experiment": number}
        for number in range(experiments)
    ]


def _impressions(world: World, visited: Visits, leads: np.ndarray) -> list[Part]:
    """Numbered as they stand on the page, so that the order of the rows can be told."""
    items = np.array(world.items, dtype=object)
    shown = visited.shown
    parts = []
    for row, (line, chances) in enumerate([(shown.popular, None), (shown.for_you, shown.for_you_propensity)]):
        visit, place = np.nonzero(line >= 0)
        vertical = np.where(leads[visit], 1 - row, row)
        parts.append(
            {
                "visit": visit,
                "seq": 10 + vertical * line.shape[1] + place,
                "type": "impression",
                "at": visited.start_ms[visit] + 400,
                "title_id": items[line[visit, place]],
                "row": row,
                "place": place,
                "propensity": np.ones(len(visit)) if chances is None else chances[visit, place],
            }
        )
    return parts


def _playback(made: Plays, played: Columns) -> list[Part]:
    """`play` with the first frame, a heartbeat every 30 s of wall time, an error where it fails, `stop` at the end."""
    watched, wall = made.watched, made.watched.wall_ms
    beats = np.maximum((wall - 1) // HEARTBEAT_MS, 0)
    index = np.repeat(np.arange(len(made)), beats)
    number = np.arange(len(index)) - np.repeat(np.cumsum(beats) - beats, beats) + 1
    share = number * HEARTBEAT_MS / np.maximum(wall[index], 1)
    whole = np.arange(len(made))
    failed = np.flatnonzero(watched.failed)
    surface = {"row": np.where(made.row < 0, 2, made.row), "place": made.place, "propensity": made.propensity}
    return [
        _at(made, played, whole, "play", 0, made.first_frame_ms, np.zeros(len(made))) | surface,
        _at(made, played, index, "heartbeat", number, made.first_frame_ms[index] + number * HEARTBEAT_MS, share),
        _at(made, played, failed, "error", beats[failed] + 1, (made.first_frame_ms + wall)[failed], None),
        _at(made, played, whole, "stop", beats + 2, made.first_frame_ms + wall, np.ones(len(made)))
        | {"is_failed": watched.failed},
    ]


def _at(
    made: Plays,
    played: Columns,
    index: np.ndarray,
    kind: str,
    seq: object,
    at: np.ndarray,
    share: np.ndarray | None,
) -> Part:
    """Events of plays: the counters have reached `share` of their end values; none where `share` is None."""
    part: Part = {name: np.asarray(column)[index] for name, column in played.items()}
    part |= {"visit": made.visit[index], "type": kind, "seq": seq, "at": at}
    if share is None:
        return part
    watched = made.watched
    for name in ("played_ms", "stall_ms", "stalls", "paused_ms", "bits"):
        part[name] = np.floor(getattr(watched, name)[index] * share + 1e-9).astype(np.int64)
    return part | {
        "position_ms": part["played_ms"],
        "startup_ms": watched.startup_ms[index],
        "rendition": watched.rendition[index],
    }


def _opinions(plan: Plan, world: World, made: Plays, played: Columns, block: int) -> list[Part]:
    """Ratings, favourites and searches: sometimes, and according to taste."""
    random = stream(plan.seed, "opinions", block)
    draws = random.random((len(made), 3))
    noise = random.normal(0, 0.7, len(made))
    over = made.first_frame_ms + made.watched.wall_ms
    rated = np.flatnonzero((draws[:, 0] < 0.09) & (made.watched.played_ms * 2 > world.runtime_ms[made.title]))
    liked = np.flatnonzero((draws[:, 1] < 0.08 * made.match) & made.watched.completed)
    searched = np.flatnonzero((draws[:, 2] < 0.3) & (made.row < 0) & (made.slot == 0))
    title = np.asarray(played["title_id"])
    stars = np.clip(np.round((2.2 + 2.2 * made.match + noise) * 2) / 2, 0.5, 5.0)
    search_at = made.first_frame_ms - made.watched.startup_ms - 1_000
    chosen = [
        ("rate", 50, rated, over + 2_000, stars),
        ("favourite", 51, liked, over + 1_000, np.ones(len(made))),
        ("search", 40, searched, search_at, 1.0 + np.arange(len(made)) % 7),
    ]
    return [
        {"visit": made.visit[i], "type": kind, "seq": seq, "at": at[i], "title_id": title[i], "value": value[i]}
        for kind, seq, i, at, value in chosen
    ]


def event_ids(digest: str, component: str, block: int, at: np.ndarray) -> pl.Series:
    """UUIDv7 for each event: its time, then 74 random bits of the run's own stream."""
    random = stream(int(digest[:15], 16), component, block)
    high = random.integers(0, 1 << 12, len(at), dtype=np.uint64)
    low = random.integers(0, 1 << 62, len(at), dtype=np.uint64)
    words = np.empty((len(at), 2), dtype=">u8")
    words[:, 0] = (at.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000) | high
    words[:, 1] = low | np.uint64(0b10 << 62)
    raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(at), [None, pa.py_buffer(words.tobytes())])
    digits = pl.Series("event_id", raw.cast(pa.binary()), dtype=pl.Binary).bin.encode("hex")
    parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.select(pl.concat_str(parts, separator="-").alias("event_id")).to_series()
