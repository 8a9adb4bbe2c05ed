"""What a build knows of viewers, into the live state: histories, what is done with, playbacks of the last 90 days.

What came live since is kept: playbacks and statements merge by the rules of `features.live`, and of what they say
together the history and, where it is more than the build knew, the online rows are made anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import redis
from redis.client import Pipeline

from features import live
from features.catalogue import read_catalogue
from features.erase import forget_online
from features.keys import DONE, HISTORY, HISTORY_KEPT, MATCHES, PLAYS, SEEDED, VERSION, profile_of
from features.live import Catalogue, Play, Said, State
from features.push import Pusher
from features.turns import building, turn
from features.views import PROFILE, pushed
from matinee import pseudonyms
from matinee.console import progress
from matinee.db.connect import connect
from matinee.settings import Settings
from warehouse.snapshot import Snapshot, hold

_SQL = Path(__file__).with_name("seed.sql")
_CHUNK = 500
_SCAN = 1_000


@dataclass(frozen=True)
class SeedSummary:
    """`viewers` are in the snapshot, `changed` of them got another state, `ahead` knew more than the snapshot,
    `removed` are nobody's any more."""

    viewers: int
    changed: int
    ahead: int
    removed: int


@dataclass(frozen=True)
class Viewer:
    """What is known of a profile; `liked`: item -> first moment, epoch seconds."""

    profile_key: str
    liked: dict[str, float]
    done: set[str]
    state: State


def seed(settings: Settings) -> SeedSummary:
    """Bring histories, finished titles and recent playbacks of the current snapshot into Redis, once for its content.

    To run after `apply_and_materialise`, which writes what the snapshot says over what came live.

    Raises:
        NoSnapshotError: nothing is published yet.
        FeatureError: the features were never applied, or by a newer version of this code.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(connect(settings, autocommit=True))
        stack.enter_context(building(connection))
        snapshot = stack.enter_context(hold(settings.lake))
        client = redis.Redis.from_url(settings.redis())
        stack.callback(client.close)
        if client.get(SEEDED) == snapshot.data_hash.encode():
            return SeedSummary(0, 0, 0, 0)
        seeding = _Seeding(client, Pusher(settings, client), read_catalogue(connection))
        bar = stack.enter_context(progress())
        task = bar.add_task("viewers", total=None)
        seen: set[str] = set()
        for chunk in _built(snapshot.marts):
            with turn(connection):
                alive = pseudonyms.not_erased(connection, [viewer.profile_key for viewer in chunk])
                seeding.write([viewer for viewer in chunk if viewer.profile_key in alive])
            seen |= alive
            bar.advance(task, len(chunk))
        removed = _remove_others(client, connection, seen | _featured(snapshot))
        client.set(SEEDED, snapshot.data_hash)
    return SeedSummary(len(seen), seeding.changed, seeding.ahead, removed)


@dataclass
class _Seeding:
    client: redis.Redis
    pusher: Pusher
    catalogue: Catalogue
    changed: int = 0
    ahead: int = 0

    def write(self, viewers: Sequence[Viewer]) -> None:
        """Merge what was built with what is there."""
        pipeline, rows = self.client.pipeline(), {}
        for built, there in zip(viewers, _there(self.client, viewers), strict=True):
            now = _merged(built, there, self.catalogue)
            if now.state != built.state:
                rows[now.profile_key] = live.rows(now.profile_key, now.state, self.catalogue)
            self.changed += _queue(pipeline, there, now)
        pipeline.execute()
        self.pusher.push(rows)
        self.ahead += len(rows)


def _merged(built: Viewer, there: Viewer, catalogue: Catalogue) -> Viewer:
    state = {**there.state, **built.state}
    for name in there.state.keys() & built.state.keys():
        state[name] = live.merged(built.state[name], there.state[name])
    for name in live.stale(state):
        del state[name]
    liked = dict(built.liked)
    for item, moment in live.liked(state, state, catalogue).items():
        liked[item] = min(moment, liked.get(item, moment))
    newest = sorted(liked.items(), key=lambda found: (-found[1], found[0]))[:HISTORY_KEPT]
    done = built.done | live.done(state, state, catalogue)
    return Viewer(built.profile_key, dict(newest), done, state)


def _queue(pipeline: Pipeline, old: Viewer, new: Viewer) -> bool:
    """Queue what makes the new state of the old; whether a page may change by it."""
    key = new.profile_key
    if fresh := {name: live.packed(entry) for name, entry in new.state.items() if old.state.get(name) != entry}:
        pipeline.hset(PLAYS + key, mapping=fresh)
    if gone := old.state.keys() - new.state.keys():
        pipeline.hdel(PLAYS + key, *gone)
    if old.liked != new.liked:
        pipeline.delete(HISTORY + key)
        if new.liked:
            pipeline.zadd(HISTORY + key, new.liked)
    if old.done != new.done:
        pipeline.delete(DONE + key)
        if new.done:
            pipeline.sadd(DONE + key, *new.done)
    is_other = old.liked != new.liked or old.done != new.done
    if is_other:
        pipeline.incr(VERSION + key)
    return is_other


def _there(client: redis.Redis, viewers: Sequence[Viewer]) -> list[Viewer]:
    pipeline = client.pipeline(transaction=False)
    for viewer in viewers:
        pipeline.hgetall(PLAYS + viewer.profile_key)
        pipeline.zrange(HISTORY + viewer.profile_key, 0, -1, withscores=True)
        pipeline.smembers(DONE + viewer.profile_key)
    answers: list[Any] = pipeline.execute()
    return [
        Viewer(
            viewer.profile_key,
            {item.decode(): moment for item, moment in history},
            {item.decode() for item in done},
            live.state_of(plays),
        )
        for viewer, plays, history, done in zip(viewers, answers[::3], answers[1::3], answers[2::3], strict=True)
    ]


def _built(marts: Path) -> Iterator[list[Viewer]]:
    import duckdb

    asked = {"days": live.DAYS, "keep": live.KEEP, "history": HISTORY_KEPT, "finished": live.FINISHED_SHARE}
    with duckdb.connect() as connection:
        path = str(marts).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS marts (READ_ONLY)")
        connection.execute("USE marts")
        found = connection.execute(_SQL.read_text(), asked)
        while rows := found.fetchmany(_CHUNK):
            yield [_viewer(*row) for row in rows]


def _viewer(
    profile_key: str,
    liked: list[dict[str, Any]],
    done: list[str],
    plays: list[dict[str, Any]],
    statements: list[dict[str, Any]],
) -> Viewer:
    state: State = {f"p{p['id']}": _play(p) for p in plays}
    state |= {f"s{s['id']}": Said(s["ts"], s["title"], s["positive"], s["rated"]) for s in statements}
    for name in live.stale(state):
        del state[name]
    return Viewer(profile_key, {item["id"]: item["ts"] / 1e6 for item in liked}, set(done), state)


def _play(row: Mapping[str, Any]) -> Play:
    told = None if row["title"] is None else (row["ts"], 0, "")
    return Play(row["ts"], row["title"], told, row["played"], row["position"], row["bot"])


def _featured(snapshot: Snapshot) -> set[str]:
    """Who has features: also of whom only what is older than the live state is known."""
    key = PROFILE.join_key
    frames = [pl.scan_parquet(snapshot.parquet(view.mart)).select(key).unique().collect() for view in pushed()]
    return {name for frame in frames for name in frame[key]}


def _remove_others(client: redis.Redis, connection: psycopg.Connection, seen: set[str]) -> int:
    """Remove what is online of whom neither the snapshot nor PostgreSQL knows; returns how many profiles that were."""
    there = {profile_of(name) for match in MATCHES for name in client.scan_iter(match=match, count=_SCAN)}
    with turn(connection):  # who came since has a salt by now
        others = there - seen - pseudonyms.profile_keys(connection)
        forget_online(client, others)
    return len(others)
