"""`matinee billing renew` and `sweep`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from benchmarks.billing_renewals import world
from matinee.clock import SystemClock
from matinee.settings import Settings
from serving.billing.commands import billing


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return lambda *words: CliRunner().invoke(billing, words)


def test_renewals_by_hand_tell_what_they_did_and_charge_nobody_early(cli: Any, settings: Settings) -> None:
    now = datetime.now(UTC)
    world(settings, 12, now - timedelta(hours=1))
    early = cli("renew", "--at", f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}")
    assert "0 subscriptions turned" in early.output
    ahead = cli("renew", "--at", f"{now + timedelta(days=1):%Y-%m-%d}")
    assert "lies ahead" in str(ahead.exception)
    done = cli("renew")
    assert done.exit_code == 0, done.output
    assert "12 subscriptions turned: 12 paid, 0 refused" in done.output
    assert "0 subscriptions turned" in cli("renew").output
    assert "settled: 0 payments" in cli("sweep").output


def billed_last(settings: Settings, at: datetime) -> None:
    with psycopg.connect(settings.database()) as connection:
        connection.execute(
            "INSERT INTO subscription_event (subscription_id, at, event, became) "
            "SELECT subscription_id, %s, 'paid', 'active' FROM subscription LIMIT 1", (at,),
        )  # fmt: skip


def test_a_quiet_service_renews_its_one_subscriber_of_a_year(cli: Any, settings: Settings) -> None:
    now = datetime.now(UTC)
    world(settings, 1, now - timedelta(hours=1))
    billed_last(settings, now - timedelta(days=366))
    assert "1 subscriptions turned: 1 paid" in cli("renew").output


def test_a_clock_that_is_far_ahead_charges_nobody(
    cli: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    world(settings, 2, now - timedelta(days=8))
    with monkeypatch.context() as wrong:
        wrong.setattr(SystemClock, "now", lambda _: now + timedelta(days=700))
        ahead = cli("renew")
    assert ahead.exit_code == 1
    assert f"{now + timedelta(days=700):%Y-%m-%d %H:%M} UTC, that of PostgreSQL {now:%Y-%m-%d}" in str(ahead.exception)
    billed_last(settings, now - timedelta(days=36))  # the embedded PostgreSQL's clock is as wrong
    jumped = cli("renew")
    assert jumped.exit_code == 1
    assert f"nothing was billed since {now - timedelta(days=36):%Y-%m-%d}" in str(jumped.exception)
    assert "2 subscriptions turned: 2 paid" in cli("renew", "--late").output
    assert "0 subscriptions turned" in cli("renew").output
