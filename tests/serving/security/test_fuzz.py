"""The whole API from its own document, by schemathesis: no server error, answers as the document says.

Everyday some hundred cases, in the long suite more than five thousand.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.openapi import documented_app

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# What takes away the ground from under the other cases: these are asked by somebody of their own.
ENDING = "^/api/(account/erase|auth/(logout|sessions.*|password|email|totp.*|reauthenticate|reset)|admin/accounts/.*)$"
# Lines of a format of their own, which test_cmcd.py makes up better; and what is 503 until a warehouse was built.
APART = "^/api/(cmcd|analytics/.*)$"
ROUND_S = 1_200  # one round of `test_the_whole_api` takes two minutes on a machine of its own


@dataclass(frozen=True)
class Found:
    """How many cases there were, and what was wrong."""

    cases: int
    failures: list[str]
    details: str


def fuzz(
    world: Any, person: Any, folder: Path, examples: int, *, ending: bool, phases: str = "coverage,fuzzing"
) -> Found:
    """Ask every route (or only those that end things) as this person."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(documented_app().openapi()))
    report = folder / f"{person.account_id}-{ending}.json"
    ran = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", world.url, "--checks", CHECKS,
         "--header", f"Authorization: Bearer {person.access}", "--max-examples", str(examples), "--seed", "6",
         "--phases", phases, "--suppress-health-check", "all", "--no-shrink", "--workers", "2", "--no-color",
         "--report", "json", "--report-json-path", str(report), "--request-timeout", "20", "--continue-on-failure",
         *(("--include-path-regex", ENDING) if ending else ("--exclude-path-regex", f"{ENDING}|{APART}"))],
        capture_output=True, text=True, cwd=folder, timeout=ROUND_S,
    )  # fmt: skip
    told = json.loads(report.read_text())
    assert told["complete"], ran.stdout[-3_000:]
    failures = [f"{one['title']}: {', '.join(one['operations'])}" for one in told["failures"]]
    failures += [f"{one['title']}" for one in told["errors"]]
    details = ran.stdout.partition("SUMMARY")[0][-8_000:] if failures else ""
    return Found(told["test_cases"]["generated"], failures, details)


def ask_all(world: Any, folder: Path, examples: int, *, phases: str) -> int:
    """Ask as a viewer and as an admin, and what ends things as one more; returns how many cases there were."""
    rounds = [(role, False) for role in ("viewer", "admin")] + [("viewer", True), ("admin", True)]
    cases = 0
    for role, ending in rounds:
        found = fuzz(world, world.person(role), folder, examples, ending=ending, phases=phases)
        assert not found.failures, "\n".join([f"as {role}:", *found.failures, found.details])
        cases += found.cases
    return cases


def test_a_slice_of_the_api(world, tmp_path: Path) -> None:
    found = fuzz(world, world.person("admin"), tmp_path, 4, ending=False, phases="fuzzing")
    assert not found.failures, "\n".join([*found.failures, found.details])
    assert found.cases >= 200


@pytest.mark.slow
@pytest.mark.timeout(4 * ROUND_S)
def test_the_whole_api(world, tmp_path: Path) -> None:
    cases = ask_all(world, tmp_path, 20, phases="coverage,fuzzing,stateful")
    print(f"{cases:,} cases, no server error, no undocumented answer")
    assert cases >= 5_000
