"""Received days: the partitions of what comes from the event log."""

import dagster as dg

FIRST_DAY = "2024-01-01"

# Today counts as a partition: what was received an hour ago is built tonight, not tomorrow.
RECEIVED_DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
