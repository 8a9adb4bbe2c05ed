"""Subscriptions as periods: what an account had, from when to when, in one plan, price and state.

The one way to write `subscription_period` for who brings whole lives: imports and the simulator. Billing, which moves
one life at a time, writes what a move changes by `serving.billing.subscriptions.moves`, to the same rules.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

import psycopg

from matinee.errors import ContractError


@dataclass(frozen=True)
class Period:
    """A time in which nothing changed. `closed` None: it goes on; otherwise `end_reason` says why it ended.

    `state`: `trial`, `active`, `past_due` or `paused`. `monthly_minor`: the price of a month in minor units of
    `currency` (ISO 4217), tax out; a yearly plan's divided by twelve. `end_reason`: `paid` (a trial), `plan_change`,
    `cancelled`, `payment` (it failed, or came after all), `paused`, `resumed`.
    """

    period_id: str
    subscription_id: str
    account_id: str
    plan: str
    state: str
    monthly_minor: int
    currency: str
    opened: datetime
    closed: datetime | None = None
    end_reason: str | None = None


_COPY = """
COPY given_period (period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed,
                   end_reason, place) FROM STDIN
"""
_WRITE = """
INSERT INTO subscription_period AS old
    (period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed, end_reason)
SELECT DISTINCT ON (period_id)
    period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened, closed, end_reason
FROM given_period ORDER BY period_id, place DESC
ON CONFLICT (period_id) DO UPDATE SET closed = excluded.closed, end_reason = excluded.end_reason
WHERE (old.closed, old.end_reason) IS DISTINCT FROM (excluded.closed, excluded.end_reason)
"""


def add_periods(connection: psycopg.Connection, periods: Sequence[Period]) -> int:
    """Write periods that are new and the ends of those that are known; returns how many rows that made or changed.

    A known `period_id` gets `closed` and `end_reason`, everything else of it stays. One statement writes all, so a
    period may be closed and the next one opened in one call. The caller commits.

    Raises:
        ContractError: an account would have two periods at one moment, is unknown, or a value is not allowed.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS given_period (LIKE subscription_period, place int) ON COMMIT DROP"
        )
        cursor.execute("TRUNCATE given_period")
        try:
            with cursor.copy(_COPY) as copy:
                for place, period in enumerate(periods):
                    copy.write_row((*astuple(period), place))
            cursor.execute(_WRITE)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            told = error.diag.message_detail or error.diag.message_primary or str(error)
            raise ContractError(
                f"subscription periods were not written: {told}; correct them and write again"
            ) from None
        return cursor.rowcount
