"""Each incident is told once when it begins and once when it is over."""

import json
import mailbox
import socketserver
import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from matinee.mail import MailError, send
from matinee.settings import Settings
from orchestration.alerts import Target, incidents, notice
from orchestration.defs.alerts import alerts
from orchestration.freshness import failed_checks, targets
from orchestration.resources import MatineeResource

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def target(name: str, hours_old: float | None, within: float = 26) -> Target:
    made = None if hours_old is None else NOW - timedelta(hours=hours_old)
    return Target(name, "team:data", timedelta(hours=within), made)


def test_only_what_was_made_once_can_be_late() -> None:
    assert target("a", None).late(NOW) is None
    assert target("a", 26).late(NOW) is None
    assert target("a", 27.5).late(NOW) == timedelta(hours=1.5)


def test_an_incident_is_told_when_it_begins_and_when_it_is_over() -> None:
    late = [target("transforms/mart", 30), target("warehouse/new", None), target("warehouse/fresh", 1)]
    first = notice(incidents(late, {"warehouse/events: landing_gate": "2 files"}, NOW), {}, NOW)
    assert first is not None
    assert first.subject == "Matinee: 2 new"
    assert "transforms/mart is 4.0 h late (owner: team:data)" in first.text
    assert "landing_gate failed. 2 files" in first.text
    later = NOW + timedelta(hours=1)
    assert notice(incidents(late, {"warehouse/events: landing_gate": "3 files"}, later), first.open, later) is None
    second = notice(incidents([target("transforms/mart", 0)], {"a: b": ""}, later), first.open, later)
    assert second is not None
    assert second.subject == "Matinee: 1 new, 2 over"
    assert f"late transforms/mart, since {NOW.isoformat()}" in second.text
    assert set(second.open) == {"failed a: b"}
    assert notice([], {}, later) is None


@pytest.fixture
def late() -> dg.Definitions:
    """Two assets that may be a second old, one of them with a failed check, one with a warning."""
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(seconds=60))

    @dg.asset(
        freshness_policy=policy,
        check_specs=[dg.AssetCheckSpec("rows", asset="mart"), dg.AssetCheckSpec("names", asset="mart")],
    )
    def mart() -> dg.MaterializeResult:
        warning = dg.AssetCheckSeverity.WARN
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(check_name="rows", passed=False, metadata={"why": "Got 3 results"}),
                dg.AssetCheckResult(check_name="names", passed=False, severity=warning),
            ]
        )

    @dg.asset(freshness_policy=policy)
    def never() -> None:
        """Nobody asks for it."""

    job = dg.define_asset_job("some", selection=dg.AssetSelection.assets("mart"))
    return dg.Definitions([mart, never], jobs=[job], resources={"matinee": MatineeResource()}, sensors=[alerts])


def test_the_sensor_mails_once_and_again_when_it_is_over(
    late: dg.Definitions, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATINEE_HOME", str(tmp_path))
    monkeypatch.setenv("MATINEE_ALERTS_TO", "night@example.org")

    def tick(cursor: str | None) -> str | None:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, definitions=late, resources={"matinee": MatineeResource()}
        )
        return alerts.evaluate_tick(context).cursor

    def mails() -> list[str]:
        return [mail["Subject"] for mail in mailbox.Maildir(tmp_path / "mail")]

    with dg.DagsterInstance.ephemeral() as instance:
        assert tick(None) is None
        late.resolve_job_def("some").execute_in_process(instance=instance)
        graph = late.resolve_asset_graph()
        assert failed_checks(graph, instance) == {"mart: rows": "Got 3 results"}
        made = {target.asset: target.made_at is not None for target in targets(graph, instance)}
        assert made == {"mart": True, "never": False}
        cursor = tick(None)
        assert list(json.loads(cursor or "")) == ["failed mart: rows"]
        assert tick(cursor) == cursor
        assert mails() == ["Matinee: 1 new"]
        over = tick(json.dumps({"late never": NOW.isoformat(), **json.loads(cursor or "")}))
        assert over == cursor
    (mail,) = [mail for mail in mailbox.Maildir(tmp_path / "mail") if mail["Subject"] == "Matinee: 1 over"]
    assert mail["To"] == "night@example.org"
    assert "late never" in mail.get_payload()


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a message needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline().strip():
            verb = line.split()[0].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                while (part := self.rfile.readline()) != b".\r\n":
                    self.server.got.append(part.decode().strip())  # pyright: ignore[reportAttributeAccessIssue] - ours
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


def test_mail_goes_to_a_server_where_one_is_given(tmp_path) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.got = []  # pyright: ignore[reportAttributeAccessIssue] - what the handler writes into
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"smtp://127.0.0.1:{server.server_address[1]}"
        settings = Settings.model_validate({"MATINEE_HOME": tmp_path, "smtp_url": url})
        send(settings, "ann@example.org", "two\nlines", "текст")
        server.shutdown()
        assert "Subject: two lines" in server.got
    assert not (tmp_path / "mail").exists()
    with pytest.raises(MailError, match="did not take mail to ann@example"):
        send(settings, "ann@example.org", "s", "t")
