"""When periods begin: whole months from an anchor, in the wall time of the subscriber.

Each one is counted from the anchor, never from the one before: who subscribed on 31 January pays on 28 February and
then on 31 March again.
"""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from serving.billing.errors import BillingError

MAX_MONTHS = 12 * 500


class PeriodError(BillingError):
    """No calendar has such a moment."""


@cache
def zone_of(name: str) -> ZoneInfo:
    """The time zone.

    Raises:
        PeriodError: IANA knows none of that name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; leaving the folder; a folder's name
        raise PeriodError(f"time zone {name!r} is none of the IANA data base, such as `Europe/Berlin`") from error


def start_of(anchor: datetime, months: int, zone: str = "UTC") -> datetime:
    """The moment `months` whole months after the anchor, in UTC.

    The day is the anchor's, or the month's last where the month is shorter; the time of day is the anchor's on the
    clocks of the zone. A time that those leave out counts as if they had not been put forward; of one that they show
    twice the first counts.

    Raises:
        PeriodError: the months are below zero or beyond 500 years, or the zone is unknown.
    """
    if not 0 <= months <= MAX_MONTHS:
        raise PeriodError(f"a period cannot begin {months} months after the anchor, give 0 to {MAX_MONTHS}")
    if months == 0:
        return anchor.astimezone(UTC)
    local = anchor.astimezone(zone_of(zone)) + relativedelta(months=months)
    return local.replace(fold=0).astimezone(UTC)
