"""The service's part in forgetting people: who they are in PostgreSQL, their rows there, and what Redis keeps of them.

The account's tokens open nothing within a second (`serving.accounts.revoked`). Pages that an API process has made stay
in its memory, where nobody can ask for them, until newer ones need the room.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import LiteralString

import psycopg
import redis
from psycopg import sql

from matinee.db import audit
from matinee.db.queries import load
from matinee.erasing import Finder, People
from matinee.errors import MatineeError
from matinee.pseudonyms import Salt
from matinee.settings import Settings

_SQL = load(Path(__file__).parent / "accounts")
_SCAN = 2_000
_TRIES = 3
# How many rows of a table hang on accounts, by what its foreign key refers to.
_COUNT: dict[str, LiteralString] = {
    "account": "SELECT count(*) FROM {table} WHERE {column} = ANY(%s)",
    "profile": "SELECT count(*) FROM {table} WHERE {column} IN "
    "(SELECT profile_id FROM profile WHERE account_id = ANY(%s))",
}


class UnknownAccountError(MatineeError):
    """Nobody of that name is here."""


def find_accounts(connection: psycopg.Connection, names: Sequence[str]) -> list[str]:
    """The ids of accounts that are named by id or e-mail.

    Raises:
        UnknownAccountError: one names nobody (any more).
    """
    rows = connection.execute(_SQL["accounts_named"], {"names": list(names)}).fetchall()
    known = dict(rows)
    if missing := [name for name in names if name not in known]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnknownAccountError(f"there is no account {missing[0]!r}{more}: give an id or an e-mail of this home")
    return sorted(set(known.values()))


def people(connection: psycopg.Connection, accounts: Sequence[str]) -> People:
    """What PostgreSQL knows them by; `keys` are those that can be worked out as long as the salts are there."""
    found: dict[str, set[str]] = {"email": set(), "profile": set(), "login": set(), "playback": set()}
    profiles: list[tuple[str, str]] = []
    for kind, account, value in connection.execute(_SQL["names_of_accounts"], {"accounts": list(accounts)}):
        found[kind].add(value)
        if kind == "profile":
            profiles.append((account, value))
    rows = connection.execute(_SQL["salts_of_accounts"], {"accounts": list(accounts)})
    salts = {account: Salt(bytes(salt)) for account, salt in rows}
    keys = {
        "account_key": frozenset(salt.key(account) for account, salt in salts.items()),
        "profile_key": frozenset(salts[account].key(profile) for account, profile in profiles if account in salts),
        "playback_id": frozenset(found["playback"]),
    }
    return People(
        frozenset(accounts), frozenset(found["email"]), frozenset(found["profile"]), frozenset(found["login"]), keys
    )


def requested(connection: psycopg.Connection) -> list[str]:
    """The ids of accounts whose holders asked to be erased, who has waited longest first."""
    return [account for (account,) in connection.execute(_SQL["erasures_requested"])]


def close(connection: psycopg.Connection, accounts: Sequence[str], at: datetime) -> None:
    """End every session of the accounts, and let nobody log in: what comes first when they are erased.

    The audit log says so of those that are there; its names for them lead nowhere once the accounts are gone.
    """
    # The accounts first, as everybody locks them before their sessions.
    closed = connection.execute(_SQL["close_logins"], {"accounts": list(accounts)}).fetchall()
    connection.execute(_SQL["close_sessions"], {"accounts": list(accounts)})
    for account in sorted(account for (account,) in closed):
        audit.record_now(connection, actor="erase", action="account.erased", subject=account, at=at)


def leave_money(settings: Settings, accounts: Sequence[str], at: datetime) -> Mapping[str, int]:
    """End what would charge the accounts, and cut what leads from the books to them: see `serving.billing.erase`.

    In a transaction of its own, after `close` and before `forget_rows`.
    """
    import asyncio

    from serving.billing import erase as billing

    async def leave() -> Mapping[str, int]:
        async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
            return await billing.erase(connection, accounts, at)

    for _ in range(_TRIES - 1):
        try:
            return asyncio.run(leave())
        except psycopg.errors.DeadlockDetected:  # with somebody who pays: nothing of it was done
            continue
    return asyncio.run(leave())


def forget_rows(connection: psycopg.Connection, accounts: Sequence[str]) -> Mapping[str, int]:
    """Delete the accounts with all that hangs on them; table -> rows. What refers to an account goes with it."""
    counts: dict[str, int] = {}
    for table, column, parent in connection.execute(_SQL["tables_of_accounts"]).fetchall():
        query = sql.SQL(_COUNT[parent]).format(table=sql.Identifier(table), column=sql.Identifier(column))
        (count,) = connection.execute(query, (list(accounts),)).fetchone() or (0,)
        if count:
            counts[table] = max(count, counts.get(table, 0))
    for query in ("forget_outbox", "forget_poison"):
        if removed := connection.execute(_SQL[query], {"accounts": list(accounts)}).rowcount:
            counts[query.removeprefix("forget_")] = removed
    counts["account"] = connection.execute(_SQL["forget_accounts"], {"accounts": list(accounts)}).rowcount
    return counts


def forget_cached(client: redis.Redis, people: People) -> int:
    """Delete every key of Redis that names these people; returns how many there were."""
    finder, removed = Finder(people.names), 0
    ends = tuple(f":{account}".encode() for account in people.accounts)
    for name in client.scan_iter(count=_SCAN):
        if finder.found(name) or name.endswith(ends):
            removed += int(client.delete(name))  # pyright: ignore[reportArgumentType] - a number, not awaited
    return removed + _forget_plays(client, people.key("playback_id"))


def _forget_plays(client: redis.Redis, playbacks: Collection[str]) -> int:
    """What names a playback by its value (`serving.playback.slots`): which one a browser plays, and which has news."""
    told, removed = {playback.encode() for playback in playbacks}, 0
    for name in client.scan_iter(match="pb:k:*", count=_SCAN) if told else ():
        if client.get(name) in told:
            removed += int(client.delete(name))  # pyright: ignore[reportArgumentType] - a number, not awaited
    if told:
        removed += int(client.zrem("pb:dirty", *told))  # pyright: ignore[reportArgumentType] - as above
    return removed


def drop_sessions(connection: psycopg.Connection, before: datetime) -> int:
    """Delete sessions, of logins and of playing, that were over before this moment; returns how many."""
    asked = {"before": before}
    return sum(connection.execute(_SQL[query], asked).rowcount for query in ("drop_logins", "drop_playbacks"))
