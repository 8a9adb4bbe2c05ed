"""Ways to pay that providers keep for us: listed, removed here at once, forgotten there as soon as they answer."""

import logging
from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection

from serving.billing.customers import QUERIES as BILLING
from serving.billing.payments.desk import Desk
from serving.billing.payments.rows import QUERIES, Method
from serving.billing.providers import NAMES
from serving.billing.providers.base import ProviderAwayError, ProviderRefusedError
from serving.billing.subscriptions import core as subscriptions
from serving.db import execute, row, rows
from serving.problems import Problem

log = logging.getLogger("matinee.billing")


async def listed(connection: AsyncConnection, customer_id: str) -> list[Method]:
    """What the customer can be charged by, the newest first."""
    return [Method(**each) for each in await rows(connection, QUERIES["methods_of"], {"customer_id": customer_id})]


async def get(connection: AsyncConnection, customer_id: str, method_id: str) -> Method:
    """A way to pay that the customer has.

    Raises:
        Problem: 404, they have no such one.
    """
    found = await row(connection, QUERIES["methods"], {"methods": [method_id]})
    if found is None or found["customer_id"] != customer_id or found["removed_at"] is not None:
        raise _unknown(method_id)
    return Method(**found)


async def remove(desk: Desk, customer_id: str, method_id: str, at: datetime) -> None:
    """Never charge it again, from now on, and have the provider forget it (now, or by the sweep). What is renewed by it
    ends with what is paid for.

    Raises:
        Problem: 404, the customer has no such one.
    """
    async with desk.transaction() as connection:
        asked = {"method_id": method_id, "customer_id": customer_id, "at": at}
        removed = await row(connection, QUERIES["remove_method"], asked)
        if removed is None:
            raise _unknown(method_id)
        await subscriptions.method_gone(connection, method_id, at)
    if removed["provider_ref"] is not None:
        await forget(desk, method_id, removed["provider"], removed["provider_ref"])


async def forget(desk: Desk, method_id: str, provider: str, ref: str) -> bool:
    """Have the provider drop a removed method; False: it is away, and asked again later."""
    try:
        await desk.provider(provider).forget(ref)
    except (ProviderAwayError, ProviderRefusedError) as error:
        log.warning("method %s is not forgotten yet: %s", method_id, error)
        return False
    async with desk.transaction() as connection:
        await execute(connection, QUERIES["forgotten_method"], {"method_id": method_id})
    return True


async def forget_customer(desk: Desk, customer_id: str, providers: Sequence[str], at: datetime) -> bool:
    """Have providers drop what they keep of an erased customer; False: one of them is away, or not in use any more, and
    asked again later.

    Raises:
        ProviderRefusedError: one of them will not; it is asked again later, too.
    """
    for name in sorted(set(providers) & set(NAMES)):  # others are of simulations
        if not desk.uses(name):
            log.warning("customer %s is not forgotten yet: %s is not configured any more", customer_id, name)
            return False
        try:
            await desk.provider(name).forget_customer(customer_id)
        except ProviderAwayError as error:
            log.warning("customer %s is not forgotten yet: %s", customer_id, error)
            return False
    async with desk.transaction() as connection:
        await execute(connection, BILLING["forgotten_customer"], {"customer_id": customer_id, "at": at})
    return True


def _unknown(method_id: str) -> Problem:
    return Problem(404, "method_not_found", f"there is no way to pay {method_id}")
