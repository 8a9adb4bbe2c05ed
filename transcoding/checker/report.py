"""A report in the terminal."""

from rich.console import RenderableType

from matinee.console import table
from transcoding.checker.registry import MUST, SHOULD, Report

_SHOWN = 3


def tables(report: Report, *, every: bool = False) -> list[RenderableType]:
    """What is broken, with its evidence; with `every` also what passed and what was skipped, and why."""
    rows = []
    for finding in sorted(report.findings, key=lambda f: f.severity != MUST):
        if finding.state == "fail":
            shown = finding.evidence[:_SHOWN]
            lines = [f"{e.file}: {e.found}" if e.file else e.found for e in shown]
            more = finding.breaches - len(shown)
            found = "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])
            rows.append((finding.rule, finding.severity, finding.title, found, shown[0].wanted))
    made: list[RenderableType] = []
    if rows:
        made.append(table(f"Broken in {report.location}", ("rule", "severity", "title", "found", "wanted"), rows))
    if every:
        others = [(f.rule, f.severity, f.state, f.title, f.reason) for f in report.findings if f.state != "fail"]
        made.append(table("Other rules", ("rule", "severity", "state", "title", "reason"), others))
    return made


def summary(report: Report) -> str:
    """One line: how many rules, and how they went."""
    return (
        f"{len(report.findings)} rules: {report.count('pass')} passed, {report.count('fail', MUST)} broken MUST, "
        f"{report.count('fail', SHOULD)} broken SHOULD, {report.count('skipped')} skipped"
    )
