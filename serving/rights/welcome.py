"""What a new account gets: a trial."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection

from matinee.db.queries import load
from matinee.ids import uuid7
from matinee.settings import Settings
from serving.db import execute

QUERIES = load(Path(__file__).parent)
_CURRENCIES = {"RU": "RUB", "US": "USD", "GB": "GBP"}


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
    """Open the trial, in the transaction that makes the account.

    It is written with its end; whoever pays before gets that end moved by billing.
    """
    if trial is not None:
        given = {
            "period_id": uuid7(),
            "account_id": account_id,
            "plan": trial.plan,
            "currency": _CURRENCIES.get(country or "", "EUR"),
            "now": now,
            "closed": now + timedelta(days=trial.days),
        }
        await execute(connection, QUERIES["welcome"], given)
