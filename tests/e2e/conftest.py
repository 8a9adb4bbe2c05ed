"""What journeys share: a home for a whole file, and the API as the supervisor runs it."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from matinee.settings import Settings
from serving.process import service


@pytest.fixture(scope="module")
def own_home(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with a database of its own, for all tests of a file; Redis is emptied for it."""
    import redis

    name = f"test_{uuid.uuid4().hex}"
    admin = make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template_matinee STRATEGY file_copy'.encode())
    with redis.Redis.from_url(base.redis()) as client:
        client.flushall()
    url = base.database().replace("/matinee?", f"/{name}?")
    root = tmp_path_factory.mktemp("own") / "home"
    settings = Settings.model_validate(
        {"MATINEE_HOME": root, "database_url": url, "redis_url": base.redis(), "transcode_treatment": "fast"}
    )
    settings.home.create()
    yield settings
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture(scope="session")
def running_api() -> Callable[[Settings], AbstractContextManager[str]]:
    """`with running_api(settings) as address:` the API in a process of its own."""
    return _running_api


@contextmanager
def _running_api(settings: Settings) -> Iterator[str]:
    api = service(settings)
    log = settings.home.logs / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            api.argv, env={**os.environ, **api.env}, cwd=api.cwd, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while not api.ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield api.address
    finally:
        process.terminate()
        # Uvicorn shuts down in order and then hands the signal on, which ends it unless whoever started it ignores it.
        assert process.wait(15) in (-signal.SIGTERM, 0), log.read_text()
        assert "Application shutdown complete" in log.read_text()
