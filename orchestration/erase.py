"""`matinee erase`: each room forgets people in its own places, in the order in which nothing comes back.

First the salts are destroyed: from that commit on nothing leads from a person to their rows, no dead letter opens, and
no later event makes a new life. Then every place that anybody can ask loses the rows. The account's own row goes last,
so that a run that was killed is simply run again. `purge` then writes files and tables anew: the bytes are gone.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import redis

import features.erase
import ingest.erase
import models.erase
import serving.erase
import warehouse.erase
from features.turns import alone
from matinee import pseudonyms, shred
from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.erasing import Finder, People, Trace
from matinee.errors import MatineeError
from matinee.ids import uuid7
from matinee.secrets import secret
from matinee.settings import Settings
from models.erase import Learnt
from orchestration.texts import blot_databases, blot_files
from warehouse import build_file
from warehouse.files import write_whole
from warehouse.forgotten import KINDS

if TYPE_CHECKING:
    import duckdb

_REMAINS = (
    "backups made before: restoring one brings everything back; erase again then",
    "figures over many people count the erased until the next build; nothing in them names anybody",
    "pages that an API process made for them lie in its memory, out of reach, until newer ones need the room",
    "invoices, payments and the ledger, as books have to: of customers from whom nothing here leads to anybody",
    "what payment providers keep of payments; saved ways to pay they drop at the next sweep (`matinee billing sweep`)",
    "a build that is bringing features online meanwhile takes theirs away again when it ends",
)
_ELSEWHERE = "the database of MATINEE_DATABASE_URL: its write-ahead log, archives and backups are its operator's"
_NOT_PURGED = (
    "sealed or keyed bytes in files, logs and tables until `matinee erase --purge`; nothing opens or resolves them"
)


class EraseError(MatineeError):
    """What is to be erased is not said, or cannot be."""


@dataclass
class Proof:
    """What was removed where. `accounts`: HMAC-SHA256 of their ids under this home's secret `erasure`."""

    proof_id: str
    erased_at: str
    accounts: list[str]
    purged: bool
    traces: list[Trace] = field(default_factory=list)
    models: list[Learnt] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)
    unreadable_after: float = 0.0  # seconds
    seconds: float = 0.0
    path: Path | None = None

    def write(self, settings: Settings) -> None:
        """To `reports/erasures/<proof id>.json`."""
        folder = settings.home.reports / "erasures"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{self.proof_id}.json"
        content = {name: value for name, value in asdict(self).items() if name != "path"}
        write_whole(self.path, lambda draft: draft.write_text(json.dumps(content, indent=1)))

    @contextmanager
    def removing(self, where: str, what: str) -> Iterator[Callable[[int], None]]:
        """Time a step; the block tells how many things it removed."""
        started, removed = time.monotonic(), [0]
        yield lambda count: removed.append(removed.pop() + count)
        self.traces.append(Trace(where, removed[0], what, round(time.monotonic() - started, 3)))


def erase(settings: Settings, names: Sequence[str], *, purge: bool = False, clock: Clock | None = None) -> Proof:
    """Forget accounts, named by id or e-mail; with `purge` also bytes that earlier runs left: none need be named.

    PostgreSQL and Redis must be running. A run that was killed is ended by the next one.

    Raises:
        UnknownAccountError: a name is nobody's; nothing was erased.
        EraseError: nobody is named, and nothing is left to do.
    """
    clock = clock or SystemClock()
    started = time.monotonic()
    with ExitStack() as stack:
        connection = stack.enter_context(connect(settings, autocommit=True))
        accounts = serving.erase.find_accounts(connection, names)
        left = pseudonyms.erased_keys(connection, swept=purge)
        if not accounts and not left and not purge:
            raise EraseError(
                "nobody is named: give an account's id or e-mail, or --purge to end what was erased before"
            )
        proof = Proof(uuid7(clock), clock.now().isoformat(), [_digest(settings, a) for a in accounts], purge)
        path = stack.enter_context(build_file.claim(settings))
        clients = [redis.Redis.from_url(settings.redis()), redis.Redis.from_url(settings.events())]
        for client in clients:
            stack.callback(client.close)
        run = _Run(settings, connection, clients[0], clients[1], path, proof, clock)
        run.clear()
        people = run.destroy(accounts, left)
        run.sweep(people)
        proof.unreadable_after = round(time.monotonic() - started, 3)
        run.complete()
        if purge:
            run.purge(people)
        proof.remains += [*_REMAINS, *([] if purge else [_NOT_PURGED])]
        if purge and not settings.embedded_postgres:
            proof.remains.append(_ELSEWHERE)
    proof.seconds = round(time.monotonic() - started, 3)
    proof.write(settings)
    return proof


def erase_requested(settings: Settings, *, clock: Clock | None = None) -> Proof | None:
    """Forget everybody who asked for it on their page; None where nobody did.

    PostgreSQL and Redis must be running. A run that was killed is ended by the next one.
    """
    while True:
        with connect(settings) as connection:
            waiting = serving.erase.requested(connection)
        if not waiting:
            return None
        try:
            return erase(settings, waiting, clock=clock)
        except serving.erase.UnknownAccountError:
            continue  # another run has erased one of them meanwhile, and their request with them


@dataclass(frozen=True)
class _Run:
    settings: Settings
    connection: psycopg.Connection
    client: redis.Redis
    events: redis.Redis
    build: Path
    proof: Proof
    clock: Clock

    def clear(self) -> None:
        """Remove what can be made again, or what a killed run has left: nothing there is worth a search for rows."""
        with self.proof.removing("drafts of killed runs", "files") as removed:
            removed(warehouse.erase.clear_drafts(self.settings.lake))
        with self.proof.removing("what Spark built", "marts") as removed:
            removed(warehouse.erase.clear_spark(self.settings.lake))

    def destroy(self, accounts: Sequence[str], left: Mapping[str, Sequence[str]]) -> People:
        """Find out what they are called everywhere, then destroy the salts. `left`: keys of those erased before."""
        with build_file.opened(self.build) as lake:
            ingest.erase.finish(self.connection, self.settings, _counting(lake))
            with self.proof.removing("PostgreSQL: account_salt", "keys destroyed") as removed:
                people = serving.erase.people(self.connection, accounts)
                found = warehouse.erase.known_as(self.settings, lake, people.key("account_key"))
                keys = {kind: people.key(kind) | found[kind] for kind in KINDS}
                self.proof.models = models.erase.learnt_from(
                    self.settings, warehouse.erase.first_heard(lake, {"account_key": keys["account_key"]})
                )
                with self.connection.transaction():
                    pseudonyms.destroy(self.connection, accounts, keys)
                    serving.erase.close(self.connection, accounts, self.clock.now())
                removed(len(people.key("account_key")))
        with self.proof.removing(
            "PostgreSQL: money, which stays without them", "links and standing charges"
        ) as removed:
            removed(sum(serving.erase.leave_money(self.settings, accounts, self.clock.now()).values()))
        everything = {kind: keys[kind] | frozenset(left.get(kind, ())) for kind in KINDS}
        return People(people.accounts, people.emails, people.profiles, people.logins, everything)

    def sweep(self, people: People) -> None:
        """Remove them from every place that can be asked."""
        removing, finder = self.proof.removing, Finder(people.names)
        with removing("Redis: online features", "profiles") as removed:
            removed(features.erase.forget_online(self.client, people.key("profile_key")))
        with removing("Redis: exposures and caches", "keys") as removed:
            removed(serving.erase.forget_cached(self.client, people))
        with removing("event log", "waiting entries") as removed:
            removed(ingest.erase.forget_waiting(self.events, people))
        with removing("dead letters", "letters") as removed:
            removed(ingest.erase.forget_letters(self.connection, self.settings, people))
        self._sweep_lake(people, finder)
        with removing("held batches", "records with quotes") as removed:
            removed(warehouse.erase.forget_held(self.connection, finder))
        with removing("logs, reports and other texts", "words") as removed:
            removed(blot_files(self.settings, finder))
        with removing("PostgreSQL: records of Dagster and MLflow", "fields") as removed:
            removed(blot_databases(self.settings, finder))
        with removing("PostgreSQL: account and what hangs on it", "rows") as removed, self.connection.transaction():
            removed(sum(serving.erase.forget_rows(self.connection, sorted(people.accounts)).values()))
            self.connection.execute("UPDATE erased_key SET swept_at = now() WHERE swept_at IS NULL")

    def _sweep_lake(self, people: People, finder: Finder) -> None:
        removing = self.proof.removing
        with build_file.opened(self.build) as lake, removing("warehouse", "rows") as removed:
            with build_file.transaction(lake):
                rows = warehouse.erase.forget_rows(lake, people.keys)
                quotes = warehouse.erase.forget_quotes(lake, finder)
            removed(sum(rows.values()) + quotes)
        with removing("published snapshot", "rows") as removed:
            gone = warehouse.erase.forget_published(self.settings, people.keys, clock=self.clock)
            removed(sum(gone.values()))

    def complete(self) -> None:
        """Give the snapshot back the files that were taken away."""
        with self.proof.removing("published snapshot, files written again", "files") as removed:
            removed(warehouse.erase.complete_published(self.settings))

    def purge(self, people: People) -> None:
        """Write everything anew that still holds their bytes."""
        removing = self.proof.removing
        with build_file.opened(self.build) as lake, removing("landed files", "rows") as removed:
            removed(ingest.erase.purge_landed(self.connection, self.settings, people.keys, _counting(lake))[1])
        with removing("files of dead letters", "letters") as removed:
            removed(ingest.erase.purge_dead(self.connection, self.settings)[1])
        with removing("exported tables", "rows") as removed:
            removed(warehouse.erase.purge_exports(self.settings, people.keys))
        with removing("build file, written anew", "MB") as removed:
            removed(round(warehouse.erase.rewrite(self.build) / 1e6))
        with removing("published snapshot, written anew", "rows") as removed:
            gone = warehouse.erase.forget_published(self.settings, people.keys, fresh=True, clock=self.clock)
            removed(sum(gone.values()))
        self.complete()
        # A build that had begun before may have written online what it read then. From here on no key tells whose.
        with alone(self.connection):
            with removing("Redis: online features, once more", "profiles") as removed:
                removed(features.erase.forget_online(self.client, people.key("profile_key")))
            with removing("PostgreSQL: keys that files were searched by", "keys") as removed:
                removed(pseudonyms.forget_keys(self.connection, people.keys))
        with removing("PostgreSQL: tables, written anew", "databases") as removed:
            removed(len(shred.shred_tables(self.settings)))
        with removing("PostgreSQL: write-ahead log, removed", "logs") as removed:
            removed(int(shred.shred_log(self.settings)))
        with removing("Redis: event log and file, written anew", "files") as removed:
            ingest.erase.rewrite_log(self.events)
            removed(sum(shred.shred_redis(client) for client in self._redises()))

    def _redises(self) -> list[redis.Redis]:
        return [self.client] if self.settings.events_url is None else [self.client, self.events]


def _counting(lake: "duckdb.DuckDBPyConnection") -> ingest.erase.Loaded:
    return lambda path, rows: warehouse.erase.set_loaded(lake, path, rows)


def _digest(settings: Settings, account_id: str) -> str:
    return hmac.new(secret(settings.home, "erasure"), account_id.encode(), hashlib.sha256).hexdigest()
