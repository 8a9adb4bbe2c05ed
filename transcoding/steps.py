"""What is done for each kind of task. All of it may be done twice, by two workers at once, and leaves one result."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from matinee.settings import Settings
from transcoding import ffmpeg, package
from transcoding.audience import latest_audience
from transcoding.chunks import local, make_chunk, make_sound, tasks_of, work_folder
from transcoding.deepcheck import check_master
from transcoding.encode import EncodeProgress
from transcoding.errors import MissingMasterError
from transcoding.hull import Probe
from transcoding.keys import confirmed
from transcoding.ladder import TREATMENTS
from transcoding.plan import Plan, plan_ladder
from transcoding.probes import load_probes, probe_encodes, store_probes
from transcoding.publish import make_package
from transcoding.queue import Database, NewTask, Task, finish, finish_plan
from transcoding.source import Source, read_source
from transcoding.subtitles import sidecars
from transcoding.watermark import mark_of


@dataclass(frozen=True)
class Context:
    """What a lane lends to the step it carries out. `cancel` is set when the lease is lost or the worker goes home."""

    settings: Settings
    database: Database
    cancel: threading.Event
    on_progress: Callable[[float], None]

    @property
    def media(self) -> Path:
        return self.settings.media

    def encoding(self, progress: EncodeProgress) -> None:
        self.on_progress(progress.fraction)


def carry_out(task: Task, context: Context) -> bool:
    """Do a task and write its end; False: the lease was lost on the way, and nothing is written.

    Raises:
        TransientError: worth another try.
        TranscodingError: the master cannot be done this way.
    """
    if task.kind == "plan":
        return _plan(task, context)
    source, plan = task.planned
    source = local(source, context.media, task.stored_path)
    if task.kind == "package":
        return make_package(task, source, plan, context.settings, context.database, context.cancel)
    _require(source.path)
    with ffmpeg.metered() as meter:
        result = _STEPS[task.kind](task, source, plan, context)
    return context.database.run(lambda connection: finish(connection, task, result, meter.cpu_s))


def _plan(task: Task, context: Context) -> bool:
    """Look into the master, probe it where its treatment asks for that, and decide what is to be made."""
    master = context.media / task.stored_path
    _require(master)
    source = read_source(master)
    with ffmpeg.metered() as meter:
        plan = _ladder(task, source, context)
    tasks = tasks_of(plan, source)
    name = package.package_id(task.title_id, task.master_id, plan, protection=task.protection, sidecars=task.sidecars)
    if package.is_whole(context.media / task.title_id / name):
        # It was published, and its row is gone: only that is to be done.
        tasks = [NewTask("package", len(plan.parts) - 1, 0, "ready", 1.0)]
    return context.database.run(lambda connection: finish_plan(connection, task, source, plan, tasks, meter.cpu_s))


def _ladder(task: Task, source: Source, context: Context) -> Plan:
    treatment = TREATMENTS[task.treatment]

    def known(connection: psycopg.Connection) -> tuple[Any, ...]:
        probes = load_probes(connection, task.master_id, treatment)
        return probes, sidecars(connection, task.master_id), latest_audience(connection)

    probes, beside, audience = context.database.run(known)
    if treatment.probes:

        def keep(made: Sequence[Probe]) -> None:
            context.database.run(lambda connection: store_probes(connection, task.master_id, treatment, made))

        probes = probe_encodes(
            source, treatment, known=probes, cancel=context.cancel, on_progress=context.on_progress, on_probes=keep
        )
    return plan_ladder(
        source, treatment, probes, audience=audience, sidecars=beside, watermark=task.watermark,
        tone_mapper=not source.hdr or ffmpeg.has_tone_mapper(),
    )  # fmt: skip


def _check(task: Task, source: Source, plan: Plan, context: Context) -> dict[str, Any]:  # noqa: ARG001 - one shape
    check_master(source, cancel=context.cancel, on_progress=context.on_progress)
    return {}


def _audio(task: Task, source: Source, plan: Plan, context: Context) -> dict[str, Any]:
    work = work_folder(context.media, task.job_id)
    return make_sound(task, source, plan, work, context.encoding, context.cancel)


def _chunk(task: Task, source: Source, plan: Plan, context: Context) -> dict[str, Any]:
    work = work_folder(context.media, task.job_id)
    mark = None
    if task.watermark:
        context.database.run(lambda connection: confirmed(connection, context.settings, "watermark"))
        mark = mark_of(context.settings, task.title_id)
    return make_chunk(task, source, plan, work, mark, context.encoding, context.cancel)


_STEPS: dict[str, Callable[[Task, Source, Plan, Context], dict[str, Any]]] = {
    "check": _check, "audio": _audio, "chunk": _chunk,
}  # fmt: skip


def _require(master: Path) -> None:
    if not master.is_file():
        raise MissingMasterError(f"the master is not in the media store: {master}")
