"""Every unit test fails when a chosen clause of its model is removed or bent.

One clause of every model is changed at a time: unit tests see nothing of other models but their column types, so all
models of a round can be wrong together, and few dbt runs do for all. Everyday each unit test catches one change; the
other clauses, in more rounds, are `slow`.
"""

import json
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest
import yaml

from warehouse import dbt


@dataclass(frozen=True)
class Mutation:
    """`clause` stands in the model's file exactly once, `instead` takes its place, `caught_by` must fail."""

    model: str
    clause: str
    instead: str
    caught_by: str


# A file a model: the clauses of `<model>.sql` that its unit tests must miss.
MUTATIONS = [
    Mutation(path.stem, **mutation)
    for path in sorted((Path(__file__).parent / "mutations").glob("*.yml"))
    for mutation in yaml.safe_load(path.read_text())
]


def rounds(mutations):
    """Lists of mutations with every model at most once."""
    by_model = defaultdict(list)
    for mutation in mutations:
        by_model[mutation.model].append(mutation)
    return [[m for m in together if m] for together in zip_longest(*by_model.values())]


# One mutation for each unit test, and all the others.
EVERYDAY = list({m.caught_by: m for m in reversed(MUTATIONS)}.values())
ROUNDS = [
    *(pytest.param(together) for together in rounds(EVERYDAY)),
    *(pytest.param(together, marks=pytest.mark.slow) for together in rounds(m for m in MUTATIONS if m not in EVERYDAY)),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("mutants") / "transforms"
    shutil.copytree(dbt.PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    return copy


def test_every_unit_test_has_a_mutation(empty):
    manifest = json.loads(dbt.parse(empty).read_text())
    assert {test["name"] for test in manifest["unit_tests"].values()} == {m.caught_by for m in MUTATIONS}


@pytest.mark.parametrize("together", ROUNDS, ids=lambda together: f"{len(together)}-models")
def test_unit_tests_catch(empty, project, together):
    for mutation in together:
        path = next(project.rglob(f"{mutation.model}.sql"))
        original = next(dbt.PROJECT.rglob(f"{mutation.model}.sql")).read_text()
        assert original.count(mutation.clause) == 1, (
            f"{mutation.clause!r} stands {original.count(mutation.clause)} times"
        )
        path.write_text(original.replace(mutation.clause, mutation.instead))
    result = dbt.run(empty, ["test", "--select", *(m.caught_by for m in together)], project=project)
    statuses = {node.name: node.status for node in result.nodes}
    survived = [m for m in together if statuses.get(m.caught_by) != "fail"]
    assert not survived, [(m, statuses.get(m.caught_by)) for m in survived]
