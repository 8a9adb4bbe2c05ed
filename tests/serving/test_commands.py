"""Admins and tokens from the command line, and the API as a service of the stack."""

import asyncio
import socket

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from matinee.db.viewers import Viewer, add_viewers
from matinee.errors import MatineeError, StackError
from serving.commands import app as commands
from serving.process import service


@pytest.fixture
def ask(settings, running, browser):
    """One request to the app of the test's home: status and JSON."""

    async def request(method, url, **options):
        async with running(settings) as app, browser(app) as client:
            answer = await client.request(method, url, **options)
            return answer.status_code, answer.json() if answer.content else None

    def run(method, url, token=None, **options):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return asyncio.run(request(method, url, headers=headers, **options))

    return run


@pytest.fixture
def cli(settings, monkeypatch):
    """Run a command in the home of the test."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(*words, **options):
        return CliRunner().invoke(commands, words, **options)

    return run


def test_an_admin_logs_in_with_the_password_that_was_shown_once(cli, ask):
    done = cli("admin", "create", "root@example.org")
    assert done.exit_code == 0, done.output
    password = done.output.split("(shown this once): ")[1].split()[0]
    again = cli("admin", "create", "ROOT@example.org", "--password", "long enough")
    assert isinstance(again.exception, MatineeError)
    assert "log in" in str(again.exception)
    login = {"email": "root@example.org", "password": password}
    status, session = ask("POST", "/api/auth/login", json=login)
    assert (status, session["role"]) == (200, "admin")
    status, problem = ask("GET", "/api/analytics/titles", session["access_token"])
    assert (status, problem["code"]) == (503, "no_snapshot")


@pytest.mark.parametrize(
    ("email", "password", "field"), [("not an e-mail", "long enough", "email"), ("a@b.org", "seven77", "password")]
)
def test_what_cannot_be_an_admin_is_refused_without_repeating_the_password(cli, email, password, field):
    refused = cli("admin", "create", email, "--password", password)
    assert isinstance(refused.exception, MatineeError)
    assert str(refused.exception).startswith(f"{field}: ")
    assert "seven77" not in str(refused.exception)


def test_a_token_opens_the_api_for_an_imported_viewer(cli, settings, ask):
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer("ml:1", "Viewer 1", "import")])
    token = cli("token", "--account", "ml:1").output.strip()
    staff = cli("token", "--account", "ml:1", "--role", "admin").output.strip()
    assert ask("GET", "/api/recommendations", token)[0] == 200
    assert ask("GET", "/api/analytics/titles", token)[0] == 403
    assert ask("GET", "/api/analytics/titles", staff)[0] == 503
    unknown = cli("token", "--account", "ml:2")
    assert isinstance(unknown.exception, MatineeError)
    assert "'ml:2'" in str(unknown.exception)
    assert cli("token", "--account", "ml:1", "--role", "king").exit_code == 2


def test_a_token_is_listed_and_ended_like_any_session(cli, settings, ask):
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer("ml:1", "Viewer 1", "import")])
    token, other = (cli("token", "--account", "ml:1", "--hours", "100").output.strip() for _ in range(2))
    status, listed = ask("GET", "/api/auth/sessions", token)
    assert status == 200
    assert [(one["kind"], one["device"]) for one in listed["items"]] == [("command", "matinee token")] * 2
    assert ask("DELETE", "/api/auth/sessions?everywhere=true", token)[0] == 204
    with psycopg.connect(settings.database()) as connection:
        connection.execute("UPDATE auth_session SET revoked_at = revoked_at - interval '1 day'")
    for ended in (token, other):
        assert ask("GET", "/api/account", ended)[1]["code"] == "session_over", "as long as it would have lived"


def test_the_audit_log_is_shown_and_verified(cli, settings):
    cli("admin", "create", "root@example.org")
    shown = cli("audit", "tail")
    assert "account.admin_created" in shown.output
    assert "1 rows, an unbroken chain" in cli("audit", "verify").output
    with psycopg.connect(settings.database()) as connection:
        connection.execute("ALTER TABLE audit DISABLE TRIGGER audit_append_only")
        connection.execute("UPDATE audit SET actor = 'nobody'")
    broken = cli("audit", "verify")
    assert isinstance(broken.exception, MatineeError)
    assert "broken at row 1" in str(broken.exception)


def test_analytics_read_the_published_week(cli, settings, ask):
    import duckdb

    folder = settings.lake.published / "s1"
    folder.mkdir(parents=True)
    settings.lake.current.symlink_to("s1")
    with duckdb.connect(str(folder / "marts.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE mart_title_week AS SELECT * FROM (VALUES "
            "(DATE '2026-05-04', 'old', 9, 9, 9.0, 9.0, 1), (DATE '2026-05-11', 'b', 3, 2, 1.5, 2.5, 2), "
            "(DATE '2026-05-11', 'a', 5, 4, 2.5, 3.5, 1)) AS "
            "t(week_start, title_id, plays, viewers, hours_viewed, views, rank)"
        )
        connection.execute("CREATE TABLE dim_title AS SELECT 'a' AS title_id, 'Otters' AS title")
    with psycopg.connect(settings.database()) as connection:
        add_viewers(connection, [Viewer("ml:1", "Viewer 1", "import")])
    staff = cli("token", "--account", "ml:1", "--role", "moderator").output.strip()
    status, found = ask("GET", "/api/analytics/titles", staff)
    assert status == 200
    assert found["week_start"] == "2026-05-11"
    assert [(t["rank"], t["title_id"], t["title"], t["plays"]) for t in found["titles"]] == [
        (1, "a", "Otters", 5),
        (2, "b", None, 3),
    ]


def test_a_port_in_use_is_one_clear_line(settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = settings.model_copy(update={"api_port": port})
        with pytest.raises(StackError, match=f"port {port} for api is in use"):
            service(busy)


def test_the_service_is_described_for_the_supervisor(settings):
    api = service(settings)
    assert api.name == "api"
    assert api.address.startswith("http://127.0.0.1:")
    assert api.env["MATINEE_HOME"] == str(settings.home_path)
    assert not api.ready(), "nothing listens yet"
    assert httpx.URL(api.address).port is not None
