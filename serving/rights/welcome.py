"""What a new account gets: a trial, which is a subscription that nobody has paid for yet."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.db import execute

QUERIES = load(Path(__file__).parent)
NOTICE = timedelta(days=3)  # its owner is told so long before it ends


@dataclass(frozen=True)
class Trial:
    """A plan for some days."""

    plan: str
    days: int


def trial_of(settings: Settings) -> Trial | None:
    """The trial that new accounts get by the settings."""
    return Trial(settings.trial_plan, settings.trial_days) if settings.trial_days else None


async def welcome(
    connection: AsyncConnection, account_id: str, country: str | None, now: datetime, trial: Trial | None
) -> None:
    """Open the trial, in the transaction that makes the account, in one statement.

    It is written with its end; what is paid meanwhile begins then (`billing.subscriptions`).
    """
    if trial is not None:
        closed = now + timedelta(days=trial.days)
        given = {
            "period_id": uuid7(),
            "customer_id": uuid7(),
            "account_id": account_id,
            "plan": trial.plan,
            "country": country or "",
            "now": now,
            "closed": closed,
            "notice": closed - NOTICE if closed - NOTICE > now else closed,
        }
        await execute(connection, QUERIES["welcome"], given)
