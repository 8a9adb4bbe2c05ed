"""What was found and what people decided about it, in the build file's schema `audit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from matinee.clock import Clock, SystemClock
from matinee.settings import Settings
from warehouse import build_file
from warehouse.anomalies.evidence import gather
from warehouse.anomalies.judge import Finding, judge
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

_TABLES = """
    CREATE TABLE IF NOT EXISTS audit.anomaly_check (
        check_name VARCHAR, judged BIGINT, watermark TIMESTAMPTZ, looked_at TIMESTAMPTZ
    );
    CREATE TABLE IF NOT EXISTS audit.anomaly (
        finding_id VARCHAR, check_name VARCHAR, subject VARCHAR, event_date DATE,
        observed DOUBLE, expected DOUBLE, low DOUBLE, high DOUBLE
    );
    CREATE TABLE IF NOT EXISTS audit.anomaly_accepted (
        finding_id VARCHAR, accepted_by VARCHAR, why VARCHAR, accepted_at TIMESTAMPTZ
    );
"""


@dataclass(frozen=True)
class Known:
    """A finding of the last look; `accepted_by`, `why`, `accepted_at`: who said that it may be published."""

    finding: Finding
    accepted_by: str | None = None
    why: str | None = None
    accepted_at: datetime | None = None

    @property
    def blocks(self) -> bool:
        return self.accepted_by is None


@dataclass(frozen=True)
class Look:
    """One check of the last look. `judged`: how many numbers it compared; 0 where there is too little history."""

    check: str
    judged: int
    found: tuple[Known, ...]

    @property
    def passed(self) -> bool:
        return not any(known.blocks for known in self.found)


def look(warehouse: "duckdb.DuckDBPyConnection", at: datetime) -> list[Look]:
    """Judge the events of the build file and record what was found, in place of what the last look found."""
    warehouse.execute(_TABLES)
    evidence = gather(warehouse)
    verdicts = judge(evidence)
    with build_file.transaction(warehouse):
        warehouse.execute("DELETE FROM audit.anomaly_check")
        warehouse.execute("DELETE FROM audit.anomaly")
        for verdict in verdicts:
            head = [verdict.check, verdict.judged, evidence.watermark, at]
            warehouse.execute("INSERT INTO audit.anomaly_check VALUES (?, ?, ?, ?)", head)
            for f in verdict.findings:
                row = [f.finding_id, f.check, f.subject, f.day, f.observed, f.expected, f.low, f.high]
                warehouse.execute("INSERT INTO audit.anomaly VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    return last_look(warehouse)


def last_look(warehouse: "duckdb.DuckDBPyConnection") -> list[Look]:
    """What the last look found; empty where nobody has looked yet."""
    warehouse.execute(_TABLES)
    found: dict[str, list[Known]] = {}
    query = """
        SELECT a.check_name, a.subject, a.event_date, a.observed, a.expected, a.low, a.high,
               d.accepted_by, d.why, d.accepted_at
        FROM audit.anomaly a LEFT JOIN audit.anomaly_accepted d USING (finding_id) ORDER BY a.event_date, a.finding_id
    """
    for row in warehouse.execute(query).fetchall():
        found.setdefault(row[0], []).append(Known(Finding(*row[:7]), *row[7:]))
    checks = warehouse.execute("SELECT check_name, judged FROM audit.anomaly_check").fetchall()
    return [Look(check, judged, tuple(found.get(check, ()))) for check, judged in checks]


def known_anomalies(settings: Settings) -> list[Look]:
    """`last_look` of this home."""
    with build_file.writing(settings) as warehouse:
        return last_look(warehouse)


def accept(
    settings: Settings, names: Sequence[str], who: str, why: str, *, clock: Clock | None = None
) -> list[Finding]:
    """Let findings be published as they are. A name is a finding's id or a day (all that was found of it).

    Raises:
        WarehouseError: nothing that stops publication has one of these names, or no reason is given.
    """
    if not why.strip():
        raise WarehouseError("a reason is needed: say with --why what happened that day")
    moment = (clock or SystemClock()).now()
    with build_file.writing(settings) as warehouse:
        stopping = [known.finding for one in last_look(warehouse) for known in one.found if known.blocks]
        taken = [finding for finding in stopping if {finding.finding_id, str(finding.day)} & set(names)]
        unknown = set(names) - {name for f in taken for name in (f.finding_id, str(f.day))}
        if unknown:
            raise WarehouseError(f"no anomaly is called {', '.join(sorted(unknown))}: see `matinee anomalies list`")
        rows = [[finding.finding_id, who, why, moment] for finding in taken]
        if rows:
            warehouse.executemany("INSERT INTO audit.anomaly_accepted VALUES (?, ?, ?, ?)", rows)
    return taken
