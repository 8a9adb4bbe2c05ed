"""The schedule of renewals, and its asset."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from benchmarks.billing_renewals import world
from matinee.settings import Settings
from orchestration.defs.billing.renewals import due_renewals, renewals
from orchestration.resources import MatineeResource


@pytest.fixture
def matinee(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MatineeResource:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return MatineeResource()


def asked(matinee: MatineeResource) -> Any:
    at = datetime(2026, 3, 10, 12, 10, tzinfo=UTC)
    with dg.build_schedule_context(scheduled_execution_time=at) as context:
        return due_renewals(context, matinee=matinee)


def test_who_is_due_is_renewed_and_nobody_else(matinee: MatineeResource, settings: Settings) -> None:
    assert isinstance(asked(matinee), dg.SkipReason)
    world(settings, 20, datetime.now(UTC) - timedelta(minutes=1))
    request = asked(matinee)
    assert (request.run_key, request.tags["matinee/due"]) == ("2026-03-10T12:10:00+00:00", "20")
    assets: list[Any] = [renewals]
    with dg.DagsterInstance.ephemeral() as instance:
        made = dg.materialize(assets, resources={"matinee": matinee}, instance=instance)
    (event,) = made.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (metadata["turned"], metadata["paid"], metadata["put_off"]) == (20, 20, 0)
    assert isinstance(asked(matinee), dg.SkipReason)


def test_a_clock_that_is_not_believed_keeps_nothing_half_done(matinee: MatineeResource, settings: Settings) -> None:
    now = datetime.now(UTC)
    world(settings, 1, now - timedelta(days=8))
    assets: list[Any] = [renewals]
    with psycopg.connect(settings.database(), autocommit=True) as books:
        books.execute(
            "INSERT INTO subscription_event (subscription_id, at, event, became) "
            "SELECT subscription_id, %s, 'paid', 'active' FROM subscription", (now - timedelta(days=36),),
        )  # fmt: skip
        books.execute("UPDATE customer SET erased_at = %s", (now - timedelta(days=1),))
        with dg.DagsterInstance.ephemeral() as instance:
            made = dg.materialize(assets, resources={"matinee": matinee}, instance=instance, raise_on_error=False)
        assert not made.success
        assert books.execute("SELECT forgotten_at IS NOT NULL, state FROM customer, subscription").fetchall() == [
            (True, "active")
        ]
