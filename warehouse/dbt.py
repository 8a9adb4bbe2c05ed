"""dbt in a living process: the project in `transforms/` over this home's build file.

Everything that dbt writes beside the build file lies in `<home>/dbt`: `target/` (with `manifest.json`) and `logs/`.
The outcome of every node is recorded in the build file by the project's own hooks, so `warehouse.publish` sees it
whoever ran dbt.
"""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.settings import Settings
from warehouse import build_file
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).resolve().parent.parent / "transforms"
_ONE_AT_A_TIME = threading.RLock()  # dbt's configuration passes through the environment of the process
_manifests: "dict[tuple[Path, int], Manifest]" = {}


@dataclass(frozen=True)
class NodeResult:
    """What became of one node: `status` is dbt's (`success`, `pass`, `warn`, `fail`, `error`, `skipped`)."""

    node_id: str
    name: str
    status: str
    seconds: float
    failures: int
    message: str


@dataclass(frozen=True)
class DbtResult:
    success: bool
    nodes: tuple[NodeResult, ...]

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """What failed by itself, without what was skipped because of it."""
        return tuple(node for node in self.nodes if node.status in ("fail", "error", "runtime error"))

    @property
    def warned(self) -> tuple[NodeResult, ...]:
        return tuple(node for node in self.nodes if node.status == "warn")


def home_folder(settings: Settings) -> Path:
    return settings.home.root / "dbt"


def environment(settings: Settings) -> dict[str, str]:
    """The variables under which dbt works on this home, for a child process too."""
    folder = home_folder(settings)
    return {
        "MATINEE_BUILD_FILE": str(settings.lake.build_file),
        "MATINEE_BUILD_MEMORY": build_file.MEMORY,
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def build(
    settings: Settings,
    select: str | Sequence[str] | None = None,
    *,
    full_refresh: bool = False,
    unit_tests: bool = True,
    project: Path = PROJECT,
) -> DbtResult:
    """Build models and run their tests, in dependency order; a model whose parent's test failed is skipped.

    Unit tests judge the models, not the data: where nothing but the data is new, they can be left out.
    A failing node is not an error of this call: it stands in the result, and `publish` refuses.

    Raises:
        WarehouseError: dbt could not run at all (a model does not parse, a selection names nothing known).
    """
    arguments = ["build", *(["--full-refresh"] if full_refresh else []), *_selection(select)]
    arguments += [] if unit_tests else ["--exclude-resource-type", "unit_test"]
    return run(settings, arguments, project=project)


def run(settings: Settings, arguments: Sequence[str], *, project: Path = PROJECT) -> DbtResult:
    """Any dbt command that runs nodes (`build`, `run`, `test`), on the claimed build file."""
    with build_file.claim(settings) as path:
        with build_file.opened(path):
            pass  # makes the raw tables where they are missing
        with _kept_open():
            manifest = _manifest(settings, project)
            outcome = _invoke(settings, [*_writing(settings, project), *arguments], project, manifest=manifest)
    return DbtResult(outcome.success, tuple(_node(result) for result in outcome.result))


def on_spark(settings: Settings, arguments: Sequence[str]) -> DbtResult:
    """A dbt command on the target `spark`, in the session that `warehouse.spark` has open in this process.

    What needs dbt's snapshots is left out. The manifest stays apart: the one of the home is DuckDB's.
    """
    apart = ["--target", "spark", "--target-path", str(home_folder(settings) / "spark")]
    outcome = _invoke(settings, [*arguments, "--exclude", "config.materialized:snapshot+", *apart], PROJECT)
    return DbtResult(outcome.success, tuple(_node(result) for result in outcome.result))


def parse(settings: Settings, *, project: Path = PROJECT) -> Path:
    """Write `manifest.json`, which Dagster reads when its definitions load; returns its path."""
    _manifests[_version(project)] = _invoke(settings, ["parse"], project).result
    return home_folder(settings) / "target" / "manifest.json"


def semantic_manifest(settings: Settings) -> Path:
    """The project's semantic models and metrics as MetricFlow reads them, parsed anew where the project is newer."""
    path = home_folder(settings) / "target" / "semantic_manifest.json"
    if not path.exists() or path.stat().st_mtime_ns < _version(PROJECT)[1]:
        from dbt.contracts.graph.semantic_manifest import SemanticManifest

        path.parent.mkdir(parents=True, exist_ok=True)
        SemanticManifest(_manifest(settings, PROJECT)).write_json_to_file(str(path))
    return path


def docs(settings: Settings) -> Path:
    """The documentation of all models as one file that opens from disk; returns its path."""
    with build_file.claim(settings) as path:
        with build_file.opened(path):
            pass
        _invoke(settings, ["docs", "generate", "--static"], PROJECT)
    page = settings.home.reports / "dbt" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(home_folder(settings) / "target" / "static_index.html", page)
    return page


def _selection(select: str | Sequence[str] | None) -> list[str]:
    if select is None:
        return []
    return ["--select", *([select] if isinstance(select, str) else select)]


def _manifest(settings: Settings, project: Path) -> "Manifest":
    """Parsed once a process and version of the project: parsing costs more than most builds."""
    version = _version(project)
    if version not in _manifests:
        _manifests[version] = _invoke(settings, ["parse"], project).result
    return _manifests[version]


def _writing(settings: Settings, project: Path) -> list[str]:
    """Nothing is written after a command but a manifest that this home lacks: nobody reads what else dbt writes."""
    path = home_folder(settings) / "target" / "manifest.json"
    known = path.exists() and path.stat().st_mtime_ns >= _version(project)[1]
    return ["--no-write-json"] if known else []


def _version(project: Path) -> tuple[Path, int]:
    files = [path for pattern in ("*.sql", "*.yml") for path in project.rglob(pattern)]
    return project, max(path.stat().st_mtime_ns for path in files)


def _invoke(settings: Settings, arguments: Sequence[str], project: Path, manifest: "Manifest | None" = None) -> Any:
    from dbt.cli.main import dbtRunner

    with _ONE_AT_A_TIME, _set(environment(settings)):
        places = ["--project-dir", str(project), "--profiles-dir", str(project)]
        outcome = dbtRunner(manifest=manifest).invoke(["--quiet", "--log-level", "none", *arguments, *places])
    if outcome.exception is not None or outcome.result is None:
        reason = " ".join(str(outcome.exception or "no result").split())
        log = home_folder(settings) / "logs" / "dbt.log"
        raise WarehouseError(f"dbt {arguments[0]} could not run: {reason} (see {log})")
    return outcome


@contextmanager
def _kept_open() -> Iterator[None]:
    """Have dbt open the build file once in the block: opening it whenever no node runs was a fifth of an increment."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    with _ONE_AT_A_TIME, _set({"MATINEE_BUILD_KEEP_OPEN": "True"}):
        try:
            yield
        finally:
            if (opened := DuckDBConnectionManager._ENV) is not None:
                opened.close()


@contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _node(result: Any) -> NodeResult:
    return NodeResult(
        node_id=result.node.unique_id,
        name=result.node.name,
        status=str(result.status),
        seconds=float(result.execution_time or 0),
        failures=int(result.failures or 0),
        message=str(result.message or ""),
    )
