"""The last step of a title: its chunks become a package, which is checked and published by one rename."""

import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from matinee.settings import Settings
from transcoding import markers, package
from transcoding.assemble import assemble
from transcoding.checker import check
from transcoding.chunks import missing, work_folder
from transcoding.errors import TranscodingError, TransientError
from transcoding.keys import content_key, open_key
from transcoding.ladder import TREATMENTS
from transcoding.plan import Plan, Rung
from transcoding.playlists import KEY_ADDRESS
from transcoding.probes import load_probes
from transcoding.protect import Key, Protected, encrypt
from transcoding.queue import SQL, Database, Task, end_job, finish, remake
from transcoding.renditions import Renditions
from transcoding.report import write_report
from transcoding.report.samples import write_samples
from transcoding.source import Source
from transcoding.subtitles import text_facts, write_subtitles
from transcoding.thumbnails import write_thumbnails
from transcoding.trick import write_iframes
from transcoding.verify import verify, verify_protected


def make_package(
    task: Task, source: Source, plan: Plan, settings: Settings, database: Database, cancel: threading.Event
) -> bool:
    """Publish the package of a part of a job; False: the lease was lost, and nothing is written.

    The rename comes first, then the row: a folder without a row is not seen by anybody, and who claims the task next
    takes it as it is. The early edition of a title that plays already is left out: it would play worse than before.

    Raises:
        TransientError: something that was made is not there, and is being made again.
        TranscodingError: the package is not what was planned, or breaks a rule that it must keep.
    """
    last = task.part + 1 == len(plan.parts)
    if not last and database.run(lambda connection: _plays(connection, task.title_id)):
        return database.run(lambda connection: finish(connection, task))
    rungs = tuple(rung for part in plan.parts[: task.part + 1] for rung in part)
    rungs = tuple(rung for rung in plan.rungs if rung in rungs)
    name = package.package_id(
        task.title_id, task.master_id, plan, protection=task.protection, rungs=rungs, sidecars=task.sidecars
    )
    destination = settings.media / task.title_id / name
    if not package.is_whole(destination):
        draft = package.new_draft(settings.media, task.holder)
        try:
            with package.noticing_full_disk(draft):
                _build(task, source, plan, rungs, settings, database, draft, name, cancel)
            if cancel.is_set():
                raise TransientError("cancelled")
            package.publish(draft, destination)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    facts = json.loads((destination / "package.json").read_text())
    held = database.run(lambda connection: _record(connection, task, destination, facts, last=last))
    if held and last:
        shutil.rmtree(work_folder(settings.media, task.job_id), ignore_errors=True)
        if not cancel.is_set():  # whoever looks next for titles without markers finds this one
            markers.update(settings, task.title_id)
    return held


def _plays(connection: psycopg.Connection, title_id: str) -> bool:
    return connection.execute(SQL["plays"], {"title_id": title_id}).fetchone() == (True,)


def _record(
    connection: psycopg.Connection, task: Task, destination: Path, facts: dict[str, Any], *, last: bool
) -> bool:
    """The package's row, the end of the task, and that of the job: all or nothing."""
    if not finish(connection, task, {"package_id": facts["package_id"]}):
        return False
    # An old folder that was taken as it is may be collected meanwhile, under the same lock.
    connection.execute(SQL["lock_package"], {"package_id": facts["package_id"]})
    if not package.is_whole(destination):
        raise TransientError(f"{task.title_id}: its package was removed while it was published: it is made again")
    connection.execute(
        SQL["record"],
        {
            "package_id": facts["package_id"], "title_id": task.title_id, "master_id": task.master_id,
            "state": "published", "reason": None, "duration_ms": facts["duration_ms"],
            "rungs": Jsonb(facts["video"]), "tools": facts["tools"], "protection": task.protection,
            "treatment": task.treatment,
        },
    )  # fmt: skip
    connection.execute(SQL["supersede"], {"title_id": task.title_id, "package_id": facts["package_id"]})
    connection.execute(SQL["made_package"], {"job_id": task.job_id, "package_id": facts["package_id"]})
    if last:
        end_job(connection, task.job_id, "published")
    return True


def _build(
    task: Task,
    source: Source,
    plan: Plan,
    rungs: Sequence[Rung],
    settings: Settings,
    database: Database,
    draft: Path,
    name: str,
    cancel: threading.Event,
) -> None:
    """Everything of a package in its draft, checked."""
    _assemble(task, plan, rungs, settings, database, draft)
    texts = write_subtitles(plan, source, settings.media, draft, cancel=cancel)
    write_iframes(draft, plan, cancel=cancel)
    write_thumbnails(draft, plan, cancel=cancel)
    renditions = package.measure(draft, plan, rungs)
    package.write_manifests(draft, renditions)
    package.write_poster(draft, renditions)
    verify(draft, source, plan, renditions, rungs, cancel=cancel)
    write_samples(draft, plan, source, cancel=cancel)
    key_ids: tuple[str, ...] = ()
    if task.protection == "aes128":
        protected = _protect(task, settings, database, draft, renditions)
        renditions, key_ids = protected.renditions, protected.key_ids
    findings = _check(settings, database, draft, task)
    told = package.describe(
        name, task.title_id, task.master_id, plan, renditions,
        protection=task.protection, key_ids=key_ids, **_measured(task, database, renditions),
    )  # fmt: skip
    told |= text_facts(texts, source)
    told["source"] = source.as_json() | {"path": source.path.name}
    write_report(draft, told, findings)
    (draft / "package.json").write_text(json.dumps(told, indent=1, ensure_ascii=False))


def _assemble(
    task: Task, plan: Plan, rungs: Sequence[Rung], settings: Settings, database: Database, draft: Path
) -> None:
    work = work_folder(settings.media, task.job_id)
    try:
        assemble(work, draft, plan, rungs)
    except TransientError:
        done = database.run(lambda c: c.execute(SQL["tasks_of"], {"job_id": task.job_id}).fetchall())
        if gone := missing(work, done):
            database.run(lambda connection: remake(connection, task, gone))
        raise


def _protect(task: Task, settings: Settings, database: Database, draft: Path, renditions: Renditions) -> Protected:
    """Encrypt, write the playlists anew with the keys, and read every segment back."""

    # Keys are committed before any segment is encrypted with them.
    @cache
    def key_of(tier: str, period: int) -> Key:
        return database.run(lambda c: content_key(c, settings, task.title_id, tier, period))

    protected = encrypt(draft, renditions, key_of)
    package.write_manifests(draft, protected.renditions, key_of)
    verify_protected(draft, protected, lambda key_id: database.run(lambda c: open_key(c, settings, key_id)))
    return protected


def _check(settings: Settings, database: Database, draft: Path, task: Task) -> dict[str, Any]:
    """The checker's report; a package that breaks a MUST goes no further."""

    def key_for(uri: str) -> bytes:
        return database.run(lambda c: open_key(c, settings, uri.removeprefix(KEY_ADDRESS)))

    report = check(draft, key_for=key_for if task.protection == "aes128" else None)
    if broken := report.musts_broken:
        rules = "; ".join(f"{finding.rule} ({finding.title}): {finding.evidence}" for finding in broken[:3])
        raise TranscodingError(f"{task.title_id}: the package breaks {len(broken)} rules that it must keep: {rules}")
    return report.as_json()


def _measured(task: Task, database: Database, renditions: Renditions) -> dict[str, Any]:
    """VMAF by rung, loudness by sound, and the probes: what the job's other tasks found out."""
    found = database.run(lambda c: c.execute(SQL["task_results"], {"job_id": task.job_id}).fetchall())
    probes = database.run(lambda c: load_probes(c, task.master_id, TREATMENTS[task.treatment]))
    scores: dict[str, list[dict[str, Any]]] = defaultdict(list)
    sounds: list[dict[str, Any]] = []
    for kind, _part, _number, result in found:
        if kind == "chunk":
            for rung, segments in result["vmaf"].items():
                scores[rung] += segments
        elif kind == "audio":
            sounds = result["audio"]
    names = {rendition.name for rendition in renditions.video}
    means = {rung: _mean(segments) for rung, segments in scores.items() if rung in names and segments}
    return {"vmaf": means, "more": {"loudness": sounds, "probes": [asdict(probe) for probe in probes]}}


def _mean(segments: Iterable[dict[str, Any]]) -> float:
    known = list(segments)
    return round(sum(s["vmaf"] * s["frames"] for s in known) / sum(s["frames"] for s in known), 2)
