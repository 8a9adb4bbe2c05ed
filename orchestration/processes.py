"""The processes of a running Matinee, as data for the supervisor: what runs, after what, ready when."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psycopg

from matinee.errors import StackError
from matinee.ports import claim_port
from matinee.settings import Settings
from matinee.stack.service import Service
from orchestration import REPOSITORY

_BIN = Path(sys.executable).parent


def processes(settings: Settings) -> list[Service]:
    """Everything above PostgreSQL and Redis."""
    from serving.gateway.process import service as gateway
    from serving.process import service as api

    door = gateway(settings)
    return [
        api(settings),
        *([door] if door else []),
        collector(settings),
        marts(settings),
        recommendations(settings),
        outbox(settings),
        *mlflow(settings),
        models(settings),
        *dagster(settings),
    ]


def collector(settings: Settings) -> Service:
    """Event log to landing zone."""
    return Service(
        name="collector",
        argv=(str(_BIN / "matinee"), "worker", "collector"),
        ready=lambda: _collects(settings),
        address="event log",
        after=("postgres", "redis"),
        env=settings.environment(),
    )


def marts(settings: Settings) -> Service:
    """Landing zone to published marts, within a minute."""
    return Service(
        name="marts",
        argv=(str(_BIN / "matinee"), "worker", "marts"),
        ready=lambda: True,
        address="landed files",
        after=("collector",),
        env=settings.environment(),
    )


def recommendations(settings: Settings) -> Service:
    """Event log to what is known of viewers, within a second."""
    return Service(
        name="recommendations",
        argv=(str(_BIN / "matinee"), "worker", "recommendations"),
        ready=lambda: _follows(settings),
        address="event log",
        after=("postgres", "redis"),
        env=settings.environment(),
        ready_timeout=120,
    )


def outbox(settings: Settings) -> Service:
    """What transactions left to do beyond PostgreSQL: mail."""
    return Service(
        name="outbox",
        argv=(str(_BIN / "matinee"), "worker", "outbox"),
        ready=lambda: True,
        address="outbox in PostgreSQL",
        after=("postgres",),
        env=settings.environment(),
    )


def mlflow(settings: Settings) -> list[Service]:
    """The MLflow UI and API, unless a server is given by URL."""
    if settings.mlflow_url:
        return []
    port = claim_port(settings.home, "mlflow", settings.mlflow_port)
    url = f"http://127.0.0.1:{port}"
    return [
        Service(
            name="mlflow",
            argv=(
                str(_BIN / "mlflow"),
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
                "--default-artifact-root",
                str(settings.home.mlflow),
            ),
            ready=lambda: _answers(f"{url}/health"),
            address=url,
            after=("postgres",),
            env={
                **settings.environment(),
                "MLFLOW_BACKEND_STORE_URI": settings.mlflow(),  # not an argument: it may hold a password
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 570 MB instead of 1.3 GB
            },
            ready_timeout=120,
        )
    ]


def models(settings: Settings) -> Service:
    """The registry's champion to where the API looks."""
    return Service(
        name="models",
        argv=(str(_BIN / "matinee"), "worker", "models"),
        ready=lambda: True,
        address="the champion's export",
        after=("postgres",) if settings.mlflow_url else ("mlflow",),
        env=settings.environment(),
    )


def dagster(settings: Settings) -> list[Service]:
    """One code server for both the web server and the daemon: the definitions are loaded once."""
    from orchestration.instance import environment

    code = claim_port(settings.home, "dagster_code")
    web = claim_port(settings.home, "dagster", settings.dagster_port)
    workspace = settings.home.dagster / "workspace.yaml"
    env = environment(settings)

    def prepare() -> None:
        location = {"host": "127.0.0.1", "port": code, "location_name": "matinee"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))  # JSON is YAML
        # In a process of its own: dbt would stay in the supervisor's memory.
        made = subprocess.run(
            [sys.executable, "-m", "orchestration.instance"],
            env={**os.environ, **env},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise StackError(f"the dbt project does not parse: {made.stderr.strip().splitlines()[-1]}")

    url = f"http://127.0.0.1:{web}"
    return [
        Service(
            name="dagster-code",
            argv=(
                str(_BIN / "dagster"),
                "code-server",
                "start",
                "--module-name",
                "orchestration.definitions",
                "--host",
                "127.0.0.1",
                "--port",
                str(code),
            ),
            ready=lambda: _accepts(code),
            address=f"127.0.0.1:{code}",
            after=("postgres",),
            env=env,
            cwd=REPOSITORY,
            prepare=prepare,
            ready_timeout=120,
        ),
        Service(
            name="dagster-webserver",
            argv=(
                str(_BIN / "dagster-webserver"),
                "--host",
                "127.0.0.1",
                "--port",
                str(web),
                "--workspace",
                str(workspace),
            ),
            ready=lambda: _answers(f"{url}/server_info"),
            address=url,
            after=("dagster-code",),
            env=env,
            cwd=REPOSITORY,
            ready_timeout=120,
        ),
        Service(
            name="dagster-daemon",
            argv=(str(_BIN / "dagster-daemon"), "run", "--workspace", str(workspace)),
            ready=lambda: _beats(settings),
            address="schedules, sensors, run queue",
            after=("dagster-code",),
            env=env,
            cwd=REPOSITORY,
        ),
    ]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - loopback, built above
            return response.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _collects(settings: Settings) -> bool:
    """Whether a collector holds the lock that makes it the only one."""
    from ingest.collector import is_running

    try:
        with psycopg.connect(settings.database(), connect_timeout=1) as connection:
            return is_running(connection)
    except psycopg.Error:
        return False


def _follows(settings: Settings) -> bool:
    """Whether the worker of recommendations has taken in what waited in the event log."""
    from serving.recommendations.worker import is_caught_up

    return is_caught_up(settings)


def _beats(settings: Settings) -> bool:
    """Whether the daemon has written a heartbeat within the last minute."""
    try:
        with psycopg.connect(settings.database("dagster"), connect_timeout=1) as connection:
            row = connection.execute(
                "SELECT max(timestamp) > now() AT TIME ZONE 'UTC' - interval '1 minute' FROM daemon_heartbeats"
            ).fetchone()
    except psycopg.Error:
        return False
    return bool(row and row[0])


def _accepts(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
