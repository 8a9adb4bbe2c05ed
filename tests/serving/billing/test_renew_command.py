"""`matinee billing renew` and `sweep`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.billing_renewals import world
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
