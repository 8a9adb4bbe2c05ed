"""Whether a clock may be believed with everybody's money: one that is far ahead charges, and opens, what is years away.

Asked where a clock comes in (the command, the schedule), not where a moment is given on.
"""

from datetime import datetime, timedelta

from psycopg import AsyncConnection

from serving.billing.errors import BillingError
from serving.billing.renewals.core import QUERIES
from serving.db import row

AHEAD = timedelta(minutes=10)  # of the clock of PostgreSQL
OVERDUE = timedelta(days=7)  # nothing waits that long for a run, unless none ran or the clock jumped
SILENT = timedelta(days=35)  # in which whoever pays by the month is billed; the embedded PostgreSQL has the same clock


class ClockError(BillingError):
    """A clock that is far ahead, or has been still for long."""


async def believed(connection: AsyncConnection, now: datetime, *, late: bool = False) -> None:
    """Let a run of the renewals pass. `late`: somebody says that nothing happened for so long.

    Raises:
        ClockError: `now` is ahead of PostgreSQL's clock, or, while something has been due for long, far ahead of the
            newest fact.
    """
    found = await row(connection, QUERIES["clocks"], {"at": now, "overdue": OVERDUE})
    assert found is not None
    if now > found["there"] + AHEAD:
        raise ClockError(
            f"this machine's clock says {_shown(now)}, that of PostgreSQL {_shown(found['there'])}: put them right, as "
            "renewals by a clock that is ahead charge what is not due yet"
        )
    newest = found["newest"]
    if found["is_overdue"] and newest is not None and now > newest + SILENT and not late:
        raise ClockError(
            f"the clock says {_shown(now)}, and nothing was billed since {_shown(newest)}: if the clock is wrong put "
            "it right; if nothing ran for so long, say so once: `matinee billing renew --late`"
        )


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
