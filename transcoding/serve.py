"""A worker that stays: it packages what comes in, collects what is not needed any more, and ends when it is told to."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from matinee.db.connect import connect
from matinee.errors import StackError
from matinee.settings import Settings
from transcoding import markers, queue
from transcoding.build import Outcome, enqueue, notice_lost, outcomes
from transcoding.collect import collect
from transcoding.errors import TransientError
from transcoding.failures import bury_worn_out
from transcoding.worker import Worker

_log = logging.getLogger(__name__)
_LOOK_S = 2.0
_TIDY_EVERY_S = 600.0


def serve(settings: Settings, tell: Callable[[list[Outcome]], None], *, stop: threading.Event | None = None) -> None:
    """Work until stopped: by `stop`, SIGTERM or Ctrl-C; what is under way then is given back. `tell` hears what ended.

    Raises:
        StackError: PostgreSQL was away for too long.
    """
    stop = stop or threading.Event()
    worker = Worker(settings, drain=False)
    with ThreadPoolExecutor(1, thread_name_prefix="transcode-worker") as pool, _sigterm(stop):
        working = pool.submit(worker.run)
        try:
            open_jobs: set[str] = set()
            told = ""
            tidied = -_TIDY_EVERY_S
            while not stop.wait(_LOOK_S) and not working.done():
                try:
                    if due := time.monotonic() - tidied >= _TIDY_EVERY_S:
                        notice_lost(settings)
                        collect(settings)
                        tidied = time.monotonic()
                    open_jobs = _look(settings, open_jobs, tell)
                    if due:
                        markers.update_left(settings, stop=lambda: stop.is_set() or working.done())
                except (StackError, TransientError, psycopg.OperationalError) as error:
                    # The worker waits for PostgreSQL too, and ends with an error when that takes too long.
                    told = _warn(error, told)
        finally:
            worker.stop()
        working.result()


def _warn(error: Exception, told: str) -> str:
    """Say what is in the way until somebody mends it, once."""
    if (reason := str(error)) != told:
        _log.warning("%s", reason)
    return reason


def _look(settings: Settings, before: set[str], tell: Callable[[list[Outcome]], None]) -> set[str]:
    """Queue what came in, tell what has ended; returns the jobs that are active."""
    enqueue(settings, look=False, back_off=True)
    with connect(settings) as connection:
        bury_worn_out(connection)
        now = set(queue.active_jobs(connection))
    if ended := outcomes(settings, sorted(before - now)):
        tell(ended)
    return now


@contextmanager
def _sigterm(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
