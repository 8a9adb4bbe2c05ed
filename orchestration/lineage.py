"""Where a number comes from, and what depends on a file: a walk over what each room wrote down about itself.

Down: recommendation -> model version -> snapshot -> marts -> dbt models -> raw tables -> landed files and exports ->
places in the event log. Up: the same steps backwards. Nothing is guessed: dbt's manifest, `landed_file`, the manifests
of the snapshots and MLflow's tags say it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from matinee.db.connect import connect
from matinee.errors import MatineeError
from matinee.settings import Settings
from warehouse import build_file, snapshot
from warehouse.snapshot import Snapshot

if TYPE_CHECKING:
    from models.recommenders.registry import Version

_EVENT_TABLES = ("events", "loaded_file", "touched_days")


class LineageError(MatineeError):
    """Nothing is known under this name."""


@dataclass(frozen=True)
class Step:
    """One thing on the way, what is known of it, and what it was made of (or, upwards, what was made of it)."""

    kind: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple["Step", ...] = ()

    def data(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, **self.facts, "steps": [step.data() for step in self.steps]}


@dataclass(frozen=True)
class Lineage:
    """`made_of` leads down to landed files, `used_by` up to what depends on it; both begin with the thing itself."""

    made_of: Step
    used_by: Step


def trace(settings: Settings, name: str) -> Lineage:
    """Both ways from a mart, a dbt model, a snapshot, a model version or its MLflow run, the request id of a
    recommendation, a package, a title's id or a landed file.

    PostgreSQL must be running.

    Raises:
        LineageError: nothing is known under this name.
    """
    walk = _Walk(settings)
    ways: Sequence[Callable[[str], Lineage | None]] = (
        walk.of_model,
        walk.of_snapshot,
        walk.of_file,
        walk.of_package,
        walk.of_recommendation,
        walk.of_version,
    )
    for way in ways:
        if found := way(name):
            return found
    raise LineageError(
        f"nothing is known under {name!r}: give a mart (`matinee sql 'SHOW TABLES'`), a snapshot's id, a model version "
        "(`matinee models list`) or run, a request id, a package's id or a landed file's path below the lake"
    )


class _Walk:
    """What the rooms wrote down, read when it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lake = settings.lake

    @cached_property
    def _dbt(self) -> dict[str, Any]:
        from warehouse.dbt import home_folder, parse

        path = home_folder(self._settings) / "target" / "manifest.json"
        return json.loads((path if path.exists() else parse(self._settings)).read_text())

    @cached_property
    def _snapshots(self) -> list[Snapshot]:
        return snapshot.kept(self._lake)

    @cached_property
    def _versions(self) -> "list[Version]":
        from models.recommenders.registry import versions

        return versions(self._settings) if self._settings.mlflow_url or self._mlflow_is_used() else []

    def _mlflow_is_used(self) -> bool:
        """Asking MLflow itself would make its tables first, which takes half a minute."""
        try:
            with psycopg.connect(self._settings.database("mlflow")) as connection:
                row = connection.execute("SELECT to_regclass('model_versions')").fetchone()
        except psycopg.OperationalError:
            return False  # no such database: nothing was ever trained here
        return row is not None and row[0] is not None

    def _current(self) -> Snapshot | None:
        return snapshot.current(self._lake) if self._lake.current.exists() else None

    # -- dbt models and marts

    def of_model(self, name: str) -> Lineage | None:
        node = f"model.matinee.{name}"
        if node not in self._dbt["nodes"]:
            return None
        used = self._built_into(node, set())
        holding = tuple(self._trained_on(made) for made in self._snapshots if name in made.tables)
        return Lineage(
            self._built_from(node, self._current(), set()), Step(used.kind, name, {}, (*used.steps, *holding))
        )

    def _built_from(self, node: str, made: Snapshot | None, seen: set[str]) -> Step:
        if node.startswith("source."):
            return self._table(node.rpartition(".")[2], made, seen)
        model = self._dbt["nodes"][node]
        table = made.tables.get(model["name"]) if made else None
        facts = {"file": f"transforms/{model['original_file_path']}"}
        facts |= {"rows": table.rows, "sha256": table.sha256} if table else {}
        if node in seen:
            return Step("model", model["name"], {"see": "above"})
        seen.add(node)
        parents = sorted(parent for parent in set(model["depends_on"]["nodes"]) if _is_data(parent))
        steps = {(s.kind, s.name): s for s in (self._built_from(parent, made, seen) for parent in parents)}
        return Step("model", model["name"], facts, tuple(steps.values()))

    def _built_into(self, node: str, seen: set[str]) -> Step:
        name = node.rpartition(".")[2]
        if node in seen:
            return Step("model", name, {"see": "above"})
        seen.add(node)
        children = [child for child in sorted(set(self._dbt["child_map"].get(node, []))) if _is_data(child)]
        uses = [
            Step("exposure", c.split(".")[-1]) for c in self._dbt["child_map"].get(node, []) if c[:9] == "exposure."
        ]
        return Step("model", name, {}, (*(self._built_into(child, seen) for child in children), *uses))

    def _table(self, name: str, made: Snapshot | None, seen: set[str]) -> Step:
        table = "raw.events" if name in _EVENT_TABLES else f"raw.{name}"
        if table in seen:
            return Step("table", table, {"see": "above"})
        seen.add(table)
        if name in _EVENT_TABLES:
            return Step("table", table, {}, (self._landed(made),))
        exports = made.made_of.exports if made and made.made_of else {}
        origin = Step("view", f"export_{name}", {"database": "PostgreSQL"})
        return Step("table", table, {}, (Step("export", exports.get(name, "not exported yet"), {}, (origin,)),))

    # -- landed files

    def _landed(self, made: Snapshot | None) -> Step:
        """All files of a snapshot as one step: there may be a hundred thousand."""
        if made is None or made.made_of is None:
            return Step("files", "landed files", {"see": "no snapshot says which"})
        facts = {"files": made.made_of.files, "events": made.made_of.rows, "sha256": made.made_of.files_sha256}
        names = self._names(made)
        facts |= {"first": names[0], "last": names[-1]} if names else {}
        return Step("files", str(made.files), facts, (self._log(names),) if names else ())

    def _names(self, made: Snapshot) -> list[str]:
        import pyarrow.parquet as pq

        return pq.read_table(made.files, columns=["path"])["path"].to_pylist() if made.files.exists() else []

    def _log(self, paths: list[str]) -> Step:
        with connect(self._settings) as connection:
            query = (
                "SELECT stream, min(first_id), max(last_id), sum(rows)::bigint, min(landed_on), max(landed_on) "
                "FROM landed_file WHERE path = ANY (%s) GROUP BY stream ORDER BY stream"
            )
            rows = connection.execute(query, (paths,)).fetchall()
        streams = tuple(
            Step("stream", stream, {"from": first, "to": last, "events": events, "received": f"{since} to {until}"})
            for stream, first, last, events, since, until in rows
        )
        return Step("log", "event log and imports", {}, streams)

    def of_file(self, name: str) -> Lineage | None:
        path = name.removeprefix(f"{self._lake.root}/")
        with connect(self._settings) as connection:
            query = (
                "SELECT f.stream, f.first_id, f.last_id, f.rows, f.landed_on, h.state, h.reasons "
                "FROM landed_file f LEFT JOIN held_file h USING (path) WHERE path = %s"
            )
            row = connection.execute(query, (path,)).fetchone()
        if row is None:
            return None
        stream, first, last, rows, landed_on, state, reasons = row
        facts = {"rows": rows, "received": str(landed_on), "stream": stream}
        if state == "held":
            facts |= {"held back": ", ".join(f"{r['check']} {r['column'] or ''}".strip() for r in reasons)}
        log = Step("stream", stream, {"from": first, "to": last})
        holding = [made for made in self._snapshots if path in self._names(made)]
        days = Step("days", "event days", {"days": ", ".join(self._days(path))})
        models = self._built_into("source.matinee.raw.events", set()).steps if holding else ()
        used = (days, *(self._trained_on(made) for made in holding), *models)
        return Lineage(Step("file", path, facts, (log,)), Step("file", path, facts, used))

    def _days(self, path: str) -> Iterator[str]:
        import duckdb

        query = "SELECT DISTINCT CAST(event_ts AS DATE) FROM read_parquet(?, hive_partitioning = false) ORDER BY 1"
        if (self._lake.root / path).exists():
            with duckdb.connect() as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield from (str(day) for (day,) in connection.execute(query, [str(self._lake.root / path)]).fetchall())

    # -- snapshots and the models that learnt from them

    def of_snapshot(self, name: str) -> Lineage | None:
        if name == "current" and (current := self._current()):
            name = current.snapshot_id
        made = next((one for one in self._snapshots if one.snapshot_id == name), None)
        return Lineage(self._snapshot(made), self._trained_on(made)) if made else None

    def _snapshot(self, made: Snapshot) -> Step:
        seen: set[str] = set()
        known = [f"model.matinee.{name}" for name in sorted(made.tables)]
        marts = [
            self._built_from(node, made, seen) for node in known if node in self._dbt["nodes"] and node not in seen
        ]
        return Step("snapshot", made.snapshot_id, _about(made), tuple(marts))

    def _trained_on(self, made: Snapshot) -> Step:
        learnt = [v for v in self._versions if v.tags.get("snapshot_id") == made.snapshot_id]
        return Step("snapshot", made.snapshot_id, _about(made), tuple(_version(version) for version in learnt))

    def of_version(self, name: str) -> Lineage | None:
        from models.recommenders.registry import MODEL

        wanted = name.removeprefix(f"{MODEL}/").removeprefix(f"{MODEL}@")
        for version in self._versions:
            if wanted in (version.version, version.run_id, *version.aliases):
                return Lineage(self._version_from(version), _version(version))
        return None

    def _version_from(self, version: "Version") -> Step:
        wanted = version.tags.get("snapshot_id", "")
        made = next((one for one in self._snapshots if one.snapshot_id == wanted), None)
        step = self._snapshot(made) if made else Step("snapshot", wanted, {"see": "cleared away since"})
        plain = _version(version)
        return Step(plain.kind, plain.name, plain.facts, (step,))

    # -- what people see

    def of_recommendation(self, name: str) -> Lineage | None:
        query = """
            SELECT surface_model, surface_version, count(*), min(event_ts), list(DISTINCT title_id ORDER BY title_id),
                   list(DISTINCT source_file ORDER BY source_file)
            FROM intermediate.int_events WHERE surface_request_id = ? GROUP BY ALL ORDER BY ALL
        """
        if not self._lake.build_file.exists():
            return None
        with build_file.writing(self._settings) as warehouse:
            built = warehouse.execute(
                "SELECT 1 FROM information_schema.tables WHERE table_name = 'int_events'"
            ).fetchone()
            rows = warehouse.execute(query, [name]).fetchall() if built else []
        if not rows:
            return None
        steps, files = [], []
        for model, version, events, at, titles, paths in rows:
            files += [Step("file", path) for path in paths]
            found = next((v for v in self._versions if v.version == version), None)
            made = self._version_from(found) if found else Step("model version", f"{model} {version}")
            facts = {"events": events, "first at": at.isoformat(), "titles": ", ".join(t for t in titles if t)}
            steps.append(Step("shown list", f"{model} {version}", facts, (made,)))
        return Lineage(Step("recommendation", name, {}, tuple(steps)), Step("recommendation", name, {}, tuple(files)))

    def of_package(self, name: str) -> Lineage | None:
        query = (
            "SELECT p.package_id, p.title_id, p.state, p.treatment, p.created_at, m.master_id, m.file_name, m.bytes "
            "FROM package p JOIN master m USING (master_id) WHERE p.package_id = %(name)s OR p.title_id = %(name)s "
            "ORDER BY p.created_at"
        )
        with connect(self._settings) as connection:
            rows = connection.cursor(row_factory=dict_row).execute(query, {"name": name}).fetchall()
        if not rows:
            return None
        packages = tuple(
            Step(
                "package",
                row["package_id"],
                {"state": row["state"], "treatment": row["treatment"], "made": row["created_at"].isoformat()},
                (Step("master", row["file_name"], {"sha256": row["master_id"], "bytes": row["bytes"]}),),
            )
            for row in rows
        )
        title = rows[0]["title_id"]
        made_of = packages[0] if name != title else Step("title", title, {}, packages)
        used = self._built_into("source.matinee.raw.package", set()).steps
        return Lineage(made_of, Step("title", title, {}, used))


def _is_data(node: str) -> bool:
    return node.startswith(("model.", "source.", "snapshot."))


def _about(made: Snapshot) -> dict[str, Any]:
    facts = {"published": made.created_at.isoformat(), "data_hash": made.data_hash}
    return facts | ({"dbt invocation": made.made_of.invocation_id} if made.made_of else {})


def _version(version: "Version") -> Step:
    facts = {"run": version.run_id, "aliases": ", ".join(version.aliases), "git_sha": version.tags.get("git_sha", "")}
    return Step("model version", version.version, {name: value for name, value in facts.items() if value})
