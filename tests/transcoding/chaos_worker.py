"""A worker process for tests: chunks of one segment, so that a short film has several; leases of seconds."""

import dataclasses
import sys

from matinee.settings import Settings
from transcoding import steps
from transcoding.plan import Plan
from transcoding.worker import Worker

_whole = steps.plan_ladder


def in_small_chunks(*given: object, **named: object) -> Plan:
    return dataclasses.replace(_whole(*given, **named), chunk_segments=1)  # pyright: ignore[reportArgumentType] - handed on


if __name__ == "__main__":
    steps.plan_ladder = in_small_chunks
    Worker(Settings.load(), drain=True, lanes=1, lease_s=float(sys.argv[1]), patience_s=60.0).run()
