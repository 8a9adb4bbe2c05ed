"""What stops publication, as a person sees it in the terminal."""

from collections.abc import Sequence

from matinee.console import console, table
from warehouse.anomalies.record import Look
from warehouse.failures import Failure

_ROWS = 5


def show_failures(failures: Sequence[Failure]) -> None:
    """A table for each failed test: the first rows that broke it; models and unit tests with their reason alone."""
    for failure in failures:
        title = f"{failure.kind} {failure.name}: {failure.status}"
        if not failure.rows:
            console.print(title, style="bold", markup=False)
            console.print(failure.message, soft_wrap=True, markup=False)
            continue
        shown = failure.rows[:_ROWS]
        rows = [["" if row.get(name) is None else row[name] for name in failure.columns] for row in shown]
        console.print(table(f"{title}, first {len(shown)} of {failure.count:,} rows", failure.columns, rows))


def show_looks(looks: Sequence[Look]) -> None:
    """Every finding with its state, then a line for each check."""
    rows = [
        (
            known.finding.finding_id,
            known.finding.observed,
            f"{known.finding.low:,.4g} to {known.finding.high:,.4g}",
            "stops publication" if known.blocks else f"accepted by {known.accepted_by}: {known.why}",
        )
        for look in looks
        for known in look.found
    ]
    if rows:
        console.print(table("anomalies", ("id", "found", "expected", "state"), rows))
    for look in looks:
        compared = f"{look.judged:,} numbers compared" if look.judged else "too little history to compare with"
        console.print(f"{look.check}: {compared}, {len(look.found)} unlike the days before")
