"""One's own data: all of it to take along (GDPR, articles 15 and 20), and the wish to be forgotten (article 17)."""

from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection, sql

from matinee.db import audit, outbox
from serving.accounts import core, post, sessions
from serving.accounts.queries import QUERIES
from serving.accounts.types import PersonalData
from serving.db import execute, rows

# Texts that are no data about a person but would let somebody in, or guess how.
_SECRETS = frozenset({"password_hash", "pin_hash", "user_code", "provider_ref", "checkout_url"})
# The chain names accounts by these; what is said of the account there is exported by itself.
_LEFT_OUT = frozenset({"audit_name"})
_ROWS_OF: dict[str, LiteralString] = {
    "account": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} = %(account_id)s) t",
    "profile": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} IN "
    "(SELECT profile_id FROM profile WHERE account_id = %(account_id)s)) t",
    "customer": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} IN "
    "(SELECT customer_id FROM customer WHERE account_id = %(account_id)s)) t",
    "invoice": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} IN (SELECT invoice_id "
    "FROM invoice JOIN customer USING (customer_id) WHERE account_id = %(account_id)s)) t",
    "payment": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} IN (SELECT payment_id "
    "FROM payment JOIN customer USING (customer_id) WHERE account_id = %(account_id)s)) t",
    "subscription": "SELECT to_jsonb(t) AS found FROM (SELECT {columns} FROM {table} WHERE {column} IN (SELECT "
    "subscription_id FROM subscription JOIN customer USING (customer_id) WHERE account_id = %(account_id)s)) t",
}


async def export(connection: AsyncConnection, account_id: str, now: datetime) -> PersonalData:
    """Every row that hangs on the account, its profiles or its customer, in whatever table: a new table is in it by
    itself."""
    await core.account(connection, account_id)
    hanging = [("account", "account_id", "account")]
    for query in ("tables_of_accounts", "tables_of_customers"):
        hanging += [(t["name"], t["column_name"], t["parent"]) for t in await rows(connection, QUERIES[query])]
    names = sorted({table for table, _, _ in hanging} - _LEFT_OUT)
    found = await rows(connection, QUERIES["columns_of_tables"], {"names": names})
    columns = {one["name"]: [c for c in one["columns"] if c not in _SECRETS] for one in found}
    tables: dict[str, list[dict[str, Any]]] = {}
    for table, column, parent in hanging:
        # A table that hangs on the account and on a profile is told once, by the account.
        if table in columns and (table not in tables or parent == "account"):
            tables[table] = await _rows(connection, account_id, table, column, parent, columns[table])
    said = await rows(connection, QUERIES["own_audit"], {"account_id": account_id})
    return PersonalData(
        account_id=account_id,
        exported_at=now,
        tables={name: held for name, held in sorted(tables.items()) if held},
        audit=said,
    )


async def _rows(
    connection: AsyncConnection, account_id: str, table: str, column: str, parent: str, columns: list[str]
) -> list[dict[str, Any]]:
    query = sql.SQL(_ROWS_OF[parent]).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=sql.Identifier(table),
        column=sql.Identifier(column),
    )
    cursor = await connection.execute(query, {"account_id": account_id})
    return [found for (found,) in await cursor.fetchall()]


async def ask_to_be_forgotten(connection: AsyncConnection, account_id: str, now: datetime) -> None:
    """Shut the account and leave the wish to erase it, which orchestration carries out everywhere (`erasures`). Its
    subscription is cancelled: nothing is charged while it waits."""
    from serving.billing.subscriptions.core import cancel_of

    account = await core.account(connection, account_id)
    await cancel_of(connection, account_id, now)
    await execute(connection, QUERIES["request_erasure"], {"account_id": account_id, "now": now})
    await execute(connection, QUERIES["disable"], {"account_id": account_id, "now": now})
    await sessions.revoke_all(connection, account_id, now)
    await post.write(connection, account_id, account["email"], account["language"], "erasing")
    await outbox.put(connection, "account", account_id, {"why": "erasing"})
    await audit.record(
        connection, actor=account_id, action="account.erasure_requested", subject=account_id, details={}, at=now
    )
