"""Letters of accounts, as rows of the outbox: they go if and only if the transaction that wants them commits."""

from datetime import datetime

from psycopg import AsyncConnection

from matinee.db import outbox
from matinee.settings import Settings
from serving.accounts import codes
from serving.links import link


async def write(
    connection: AsyncConnection, account_id: str, to: str | None, language: str, template: str, **data: str
) -> None:
    """Send one of the letters of `serving.letters`; nothing to an account without an address.

    The row's key is the account's id: who is erased gets no letter any more.
    """
    if to is not None:
        await outbox.put(
            connection, "mail", account_id, {"to": to, "template": template, "language": language, "data": data}
        )


async def ask_to_confirm(
    connection: AsyncConnection, settings: Settings, account_id: str, email: str, language: str, now: datetime
) -> None:
    """Send the link that proves that the address is theirs; the one before opens nothing any more."""
    await codes.drop(connection, account_id, "confirm")
    code = await codes.issue(connection, "confirm", account_id, now, email)
    where = link(settings, "confirm", token=code)
    await write(connection, account_id, email, language, "confirm", link=where)
