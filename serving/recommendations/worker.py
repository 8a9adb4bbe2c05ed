"""`matinee worker recommendations`: what a viewer does is known to the next page, within a second.

Reads along the event log from a place of its own, folds events into the live state of profiles (`features.live`),
pushes the rows of the live views to the online store, and raises the version by which pages are kept. The place is
saved in the transaction that writes the state: a crash at any moment loses nothing, and what is read twice changes
nothing.
"""

import logging
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
import pyarrow as pa
import redis
from redis.client import Pipeline

from features import live
from features.catalogue import read_catalogue
from features.errors import FeatureError
from features.keys import DONE, HISTORY, HISTORY_KEPT, PLAYS, POSITION, VERSION
from features.live import Catalogue, Happened, State
from features.push import Pusher
from features.turns import turn
from ingest import log
from ingest.follow import Followed, follow, landed_until
from matinee import pseudonyms
from matinee.db.connect import connect
from matinee.errors import StackError
from matinee.settings import Settings

LOCK = 7_228_120  # any constant: it names the lock of the only worker in the database
CHUNK = 2_000
GATHER_S = 0.01  # what comes within is taken together: a push costs about as much for one row as for ten
CATALOGUE_S, UNKNOWN_S, REGISTRY_S = 30.0, 2.0, 5.0
_READY_MS = 2_000
_COLUMNS = (
    "event_id", "type", "seq", "playback_id", "title_id", "played_ms", "position_ms", "rate_value",
    "favourite_on", "bot",
)  # fmt: skip
_SAYING = ("rate", "favourite")
_log = logging.getLogger(__name__)

Events = Mapping[str, list[Happened]]


@dataclass(frozen=True)
class LiveSummary:
    """What a run took in: events that say something of a viewer, and how many profiles they changed."""

    events: int
    profiles: int
    last_id: str


@dataclass
class _Change:
    """A profile with new events folded in; `before`: the changed entries as they were; `gone`: those not to be kept."""

    state: State
    changed: set[str]
    before: State
    gone: set[str]

    @property
    def kept(self) -> State:
        return {name: entry for name, entry in self.state.items() if name not in self.gone}


@dataclass
class Worker:
    """Owns the place in the log. Make it with `_parties`."""

    settings: Settings
    connection: psycopg.Connection
    events: redis.Redis
    store: redis.Redis
    last_id: str = "0-0"
    taken: int = 0
    profiles: int = 0
    _catalogue: Catalogue = field(default_factory=dict)
    _read_at: float = float("-inf")
    _pusher: Pusher | None = None
    _tried_at: float = float("-inf")

    def start(self) -> None:
        """Go on from the saved place; without one, from where the lake ends: the next build brings what is there."""
        saved = self.store.get(POSITION)
        self.last_id = saved.decode() if isinstance(saved, bytes) else landed_until(self.connection)
        end = log.end(self.events)
        if log.position(end) < log.position(self.last_id):
            _log.warning("the event log ends at %s, before %s: Redis lost or replaced its data", end, self.last_id)
            self.last_id = max(end, landed_until(self.connection), key=log.position)
        self.store.set(POSITION, self.last_id)
        self._push_ready()

    def step(self, block_ms: int | None = None) -> bool:
        """Take in what comes next; false where nothing was there."""
        found = self._follow(block_ms)
        if found.last_id == self.last_id:
            return False
        with self.connection.transaction():
            people = self._people(found)
        with turn(self.connection):
            if found.landed is not None:
                # Read anew within the turn: whom this file named may have been erased, and their key forgotten, since.
                again = self._follow(None)
                found = again if again.landed is not None else Followed(self.last_id)
            self._take(self._mine(found, people), found.last_id)
        self.last_id = found.last_id
        return True

    def _follow(self, block_ms: int | None) -> Followed:
        if block_ms is not None:
            if log.read(self.events, self.last_id, 1, block_ms):
                time.sleep(GATHER_S)
            elif log.position(landed_until(self.connection)) <= log.position(self.last_id):
                return Followed(self.last_id)  # nothing waits, and nothing was landed and trimmed before it was read
        lake = self.settings.lake.root
        return follow(
            self.events,
            self.connection,
            lake,
            self.last_id,
            columns=("profile_key", "event_ts", *_COLUMNS),
            count=CHUNK,
        )

    def _people(self, found: Followed) -> Mapping[str, pseudonyms.Salt]:
        if found.arrived is None:
            return {}
        accounts = set(found.arrived["account_id"].unique().to_pylist()) - {None, ""}
        return pseudonyms.salts(self.connection, accounts)

    def _mine(self, found: Followed, salts: Mapping[str, pseudonyms.Salt]) -> Events:
        """Events by profile, without those of people who are erased; until the turn ends nobody is."""
        events: dict[str, list[Happened]] = defaultdict(list)
        if found.arrived is not None:
            gone = pseudonyms.destroyed(self.connection, salts)
            keys: dict[tuple[str, str], str] = {}
            for account, profile, event in _of_profiles(found.arrived, "account_id", "profile_id"):
                if account in salts and account not in gone:
                    person = (account, profile)
                    if person not in keys:
                        keys[person] = salts[account].key(profile)
                    events[keys[person]].append(event)
        elif found.landed is not None:
            for key, _, event in _of_profiles(found.landed, "profile_key", "profile_key"):
                events[key].append(event)
            alive = pseudonyms.not_erased(self.connection, events)
            return {key: of for key, of in events.items() if key in alive}
        return events

    def _take(self, events: Events, last_id: str) -> None:
        catalogue = self._titles({event.title_id for of in events.values() for event in of if event.title_id})
        changes = {key: change for key, change in self._fold(events).items() if change.changed}
        self._push({key: live.rows(key, change.kept, catalogue) for key, change in changes.items()})
        pipeline = self.store.pipeline()  # a transaction: the state and the place that it is true of
        for key, change in changes.items():
            _write(pipeline, key, change, catalogue)
        pipeline.set(POSITION, last_id)
        pipeline.execute()
        self.taken += sum(map(len, events.values()))
        self.profiles += len(changes)

    def _fold(self, events: Events) -> dict[str, _Change]:
        pipeline = self.store.pipeline(transaction=False)
        for key in events:
            pipeline.hgetall(PLAYS + key)
        changes = {}
        for (key, of), values in zip(events.items(), pipeline.execute(), strict=True):
            state = live.state_of(values)
            known = dict(state)
            changed = live.fold(state, of)
            before = {name: known[name] for name in changed & known.keys()}
            changes[key] = _Change(state, changed, before, live.stale(state) if changed else set())
        return changes

    def _titles(self, asked: set[str]) -> Catalogue:
        """The catalogue, read anew after half a minute, or two seconds where a title is new to it."""
        age = time.monotonic() - self._read_at
        if age > CATALOGUE_S or (age > UNKNOWN_S and not asked <= self._catalogue.keys()):
            self._catalogue, self._read_at = read_catalogue(self.connection), time.monotonic()
        return self._catalogue

    def _push(self, made: Mapping[str, Mapping[str, live.Row | None]]) -> None:
        """To the online store, if there is one: without, histories go on, and the next build brings the rows."""
        pusher = self._push_ready()
        if pusher is None or not made:
            return
        try:
            pusher.push(made)
        except FeatureError as error:
            _log.warning("features stay as they were: %s", error)
            self._pusher = None

    def _push_ready(self) -> Pusher | None:
        if self._pusher is None and time.monotonic() - self._tried_at > REGISTRY_S:
            try:
                self._pusher = Pusher(self.settings, self.store)
            except FeatureError as error:
                if self._tried_at < 0:
                    _log.warning("no features come online yet: %s", error)
            self._tried_at = time.monotonic()
        return self._pusher


def _of_profiles(rows: pa.Table, *owner: str) -> Iterator[tuple[str, str, Happened]]:
    """Owner and event, of those rows that say something of somebody."""
    columns = [rows[name].to_pylist() for name in (*owner, *_COLUMNS)]
    stamps = rows["event_ts"].cast(pa.int64()).to_pylist()
    for ts, account, profile, event_id, kind, seq, playback, title, played, position, rating, favourite, bot in zip(
        stamps, *columns, strict=True
    ):
        if account and profile and (playback is not None or kind in _SAYING):
            event = Happened(event_id, kind, ts, seq, playback, title, played or 0, position or 0, rating, favourite)
            yield account, profile, event if bot is None else replace(event, bot=True)


def _write(pipeline: Pipeline, key: str, change: _Change, catalogue: Catalogue) -> None:
    """Queue what became of a profile. Its version rises where a page may: not with each beat of a playback."""
    state, changed, gone = change.state, change.changed, change.gone
    if fresh := {name: live.packed(state[name]) for name in changed - gone}:
        pipeline.hset(PLAYS + key, mapping=fresh)
    if gone:
        pipeline.hdel(PLAYS + key, *gone)
    liked, done = live.liked(state, changed, catalogue), live.done(state, changed, catalogue)
    if liked:
        pipeline.zadd(HISTORY + key, liked, lt=True)
        pipeline.zremrangebyrank(HISTORY + key, 0, -HISTORY_KEPT - 1)
    if done:
        pipeline.sadd(DONE + key, *done)
    before = change.before
    is_other = liked != live.liked(before, before, catalogue) or done != live.done(before, before, catalogue)
    if is_other or changed - before.keys():
        pipeline.incr(VERSION + key)


def run(settings: Settings, drain_only: bool = False) -> None:
    """The worker: follow until told to stop by SIGTERM or SIGINT. Redis may come and go; PostgreSQL may not.

    Raises:
        StackError: PostgreSQL is gone, and the lock with it; the supervisor starts the worker again.
    """
    if drain_only:
        drain(settings)
        return
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    try:
        with _parties(settings) as worker:
            while not _lock(worker.connection):
                if stop.wait(0.5):
                    return
            _follow_until(stop, worker)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StackError(f"PostgreSQL went away ({reason}): start the worker again when it is back") from error


def drain(settings: Settings) -> LiveSummary:
    """Take in all that waits now; where another worker runs, wait until that one has done it.

    Raises:
        StackError: the event log does not answer.
    """
    try:
        with _parties(settings) as worker:
            target = max(log.end(worker.events), landed_until(worker.connection), key=log.position)
            while not _lock(worker.connection):
                if log.position(_place(worker.store)) >= log.position(target):
                    return LiveSummary(0, 0, _place(worker.store))
                time.sleep(0.05)
            worker.start()
            while log.position(worker.last_id) < log.position(target) and worker.step():
                pass
            return LiveSummary(worker.taken, worker.profiles, worker.last_id)
    except redis.RedisError as error:
        raise StackError(f"Redis does not answer ({error}): start it with `matinee up`") from error


def is_caught_up(settings: Settings) -> bool:
    """Whether a worker runs and has taken in all but the newest entries of the event log."""
    try:
        with _parties(settings) as worker:
            if _lock(worker.connection):
                return False
            end, place = log.position(log.end(worker.events)), log.position(_place(worker.store))
            return place >= end or end[0] - place[0] < _READY_MS
    except (psycopg.Error, redis.RedisError):
        return False


def _follow_until(stop: threading.Event, worker: Worker) -> None:
    pause, started = 0.1, False
    while not stop.is_set():
        try:
            if not started:
                worker.start()
                while not stop.is_set() and worker.step():
                    pass
                started = True
            worker.step(block_ms=500)
            pause = 0.1
        except redis.RedisError as error:
            # Start over afterwards: what was gone may have come back empty, or as another one.
            started = False
            _log.warning("Redis does not answer (%s): trying again in %.1f s", error, pause)
            stop.wait(pause)
            pause = min(pause * 2, 5.0)


@contextmanager
def _parties(settings: Settings) -> Iterator[Worker]:
    events, store = log.connect(settings.events()), redis.Redis.from_url(settings.redis(), socket_timeout=10)
    try:
        with connect(settings, autocommit=True) as connection:
            yield Worker(settings, connection, events, store)
    finally:
        events.close()
        store.close()


def _place(store: redis.Redis) -> str:
    saved = store.get(POSITION)
    return saved.decode() if isinstance(saved, bytes) else "0-0"


def _lock(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    return bool(row and row[0])
