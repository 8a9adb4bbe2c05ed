"""The truth is worth something only while it is independent of what it checks."""

import ast
from pathlib import Path

import simulation

ALLOWED = {
    "ingest.intake", "ingest.log", "ingest.bulk", "ingest.collector",
    "models.experiments.assignment", "models.experiments.registry",
}  # fmt: skip
ROOMS = {
    "matinee",
    "ingest",
    "transcoding",
    "warehouse",
    "transforms",
    "features",
    "models",
    "serving",
    "orchestration",
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module in ROOMS - {"matinee"}}
    return {name for name in found if name.split(".")[0] in ROOMS and name not in ROOMS - {"matinee"}}


def test_the_simulator_imports_nothing_of_what_it_checks() -> None:
    files = list(Path(simulation.__path__[0]).rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for name in imported(path):
            assert name.split(".")[0] == "matinee" or name in ALLOWED, f"{path.name} imports {name}"
