"""A failed test leaves the rows that broke it, and a failed audit leaves what was published."""

from datetime import UTC, datetime

import duckdb
import pytest

from matinee.clock import ManualClock
from warehouse import dbt, snapshot
from warehouse.failures import last_failures
from warehouse.publish import AuditError, publish


def test_the_rows_of_a_failed_test_are_kept_until_it_passes(copy_of_built, rows):
    publish(copy_of_built, clock=ManualClock(datetime(2026, 3, 5, tzinfo=UTC)))
    before = snapshot.current(copy_of_built.lake)
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:  # a profile nobody knows how to name
        connection.execute("UPDATE marts.fct_interaction SET profile_key = NULL")
    assert not dbt.run(copy_of_built, ["test", "--select", "fct_interaction"]).success
    (failure,) = [failure for failure in last_failures(copy_of_built) if failure.by_itself]
    in_all = rows(copy_of_built, "SELECT count(*) FROM marts.fct_interaction")[0][0]
    assert in_all > 20
    assert (failure.name, failure.count, len(failure.rows)) == ("complete_fct_interaction", in_all, 20)
    assert all(row["missing"] == "profile_key" and row["interaction_id"] for row in failure.rows)
    with pytest.raises(AuditError, match=rf"complete_fct_interaction \({in_all} rows\)"):
        publish(copy_of_built)
    assert snapshot.current(copy_of_built.lake) == before
    with duckdb.connect(str(copy_of_built.lake.build_file)) as connection:
        connection.execute("UPDATE marts.fct_interaction SET profile_key = 'p'")
    assert dbt.run(copy_of_built, ["test", "--select", "complete_fct_interaction"]).success
    assert [failure for failure in last_failures(copy_of_built) if failure.status != "warn"] == []
    assert publish(copy_of_built).changed
