"""`worker outbox`: does what transactions left in the outbox: mail, for now. API processes listen for the rest."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg

from matinee.clock import Clock, SystemClock
from matinee.db.connect import connect
from matinee.db.outbox import CHANNEL, AsideError, Consumer, Entry, LaterError, prune
from matinee.errors import StackError
from matinee.mail import MailError
from matinee.settings import Settings

POLL_S = 0.5  # the longest a row waits that could not be read when its commit was told
_PAUSES_S = (1.0, 2.0, 5.0, 15.0, 30.0)
_KEPT = timedelta(days=1)
_PRUNE_S, _AGAIN_S = 3_600.0, 15.0
log = logging.getLogger("matinee.outbox")


def mailer(settings: Settings, clock: Clock | None = None) -> Consumer:
    """Sends rows of topic `mail` (`{to, template, language, data}`); a row goes when its letter is delivered."""
    from serving.letters import compose, screen

    def send(entry: Entry) -> None:
        from matinee import mail

        template = entry.payload["template"]
        data = {**screen(settings, template), **entry.payload.get("data", {})}
        letter = compose(template, entry.payload.get("language", "en"), data)
        try:
            mail.send(settings, entry.payload["to"], letter.subject, letter.text, clock=clock)
        except MailError as error:
            if error.of_letter:  # an address that does not exist must not hold up everybody's mail
                raise AsideError(str(error), again=not error.permanent) from error
            raise LaterError(str(error)) from error

    return Consumer("mail", ["mail"], send, once=True)


def run(settings: Settings) -> None:
    """Work until told to stop by SIGTERM or SIGINT.

    Raises:
        StackError: PostgreSQL went away; the supervisor starts the worker again.
    """
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    try:
        with _reader(settings) as connection:
            consumer = mailer(settings)
            while not consumer.join(connection):  # the one before has not ended yet
                if stop.wait(POLL_S):
                    return
            connection.execute(f"LISTEN {CHANNEL}")
            _follow(stop, connection, consumer)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StackError(f"PostgreSQL went away ({reason}): start the worker again when it is back") from error


def drain(settings: Settings) -> int:
    """Do what waits now; returns how many rows were done.

    Raises:
        StackError: another worker reads the outbox already.
        LaterError: the mail server does not answer.
    """
    with _reader(settings) as connection:
        consumer = mailer(settings)
        if not consumer.join(connection):
            raise StackError("`worker outbox` runs already and does what waits: nothing was done here")
        return consumer.drain(connection)


@contextmanager
def _reader(settings: Settings) -> Iterator[psycopg.Connection]:
    with connect(settings, autocommit=True) as connection:
        yield connection


def _follow(stop: threading.Event, connection: psycopg.Connection, consumer: Consumer) -> None:
    failures, pruned, looked = 0, -_PRUNE_S, -_AGAIN_S
    while not stop.is_set():
        try:
            if time.monotonic() - looked >= _AGAIN_S:
                consumer.again(connection)
                looked = time.monotonic()
            done = consumer.step(connection)
        except LaterError as error:
            log.warning("%s; tried again", error)
            done = False
        failures = failures + 1 if done is False else 0
        if failures:
            stop.wait(_PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
        elif done is None:
            if time.monotonic() - pruned >= _PRUNE_S:
                prune(connection, SystemClock().now() - _KEPT)
                pruned = time.monotonic()
            for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                pass
