"""What a job leaves in its work folder: chunks and sound, made under another name and renamed when whole."""

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transcoding.assemble import require_whole_sound, whole_segments
from transcoding.audio import encode_audio
from transcoding.encode import OnEncode, encode_chunk
from transcoding.errors import TranscodingError, TransientError
from transcoding.ladder import Rung
from transcoding.package import noticing_full_disk, sync, sync_tree
from transcoding.plan import Chunk, Plan
from transcoding.queue import NewTask, Task
from transcoding.source import Source
from transcoding.vmaf import measure_chunk
from transcoding.watermark import Mark

# Cannot be the beginning of a title id, so a work folder is never taken for a title.
WORK = "~work"
_NOTES = "result.json"
_SOUND_WEIGHT, _CHECK_WEIGHT, _PACKAGE_SHARE = 1.0, 0.05, 0.1


def work_folder(media: Path, job_id: str) -> Path:
    return media / WORK / job_id


def chunk_folder(work: Path, part: int, number: int) -> Path:
    return work / "chunks" / str(part) / f"{number:05d}"


def make_chunk(
    task: Task,
    source: Source,
    plan: Plan,
    work: Path,
    mark: Mark | None,
    on_progress: OnEncode,
    cancel: threading.Event,
) -> dict[str, Any]:
    """Encode the task's chunk and score it; one that is there already is taken as it is.

    Returns `{"vmaf": {rung: [{segment, vmaf, frames}]}}`, which also lies beside the segments.
    """
    chunk, rungs = plan.chunks[task.number], plan.parts[task.part]

    def make(folder: Path) -> dict[str, Any]:
        encode_chunk(plan, source, chunk, rungs, folder, on_progress=on_progress, cancel=cancel, mark=mark)
        _require_whole(plan, chunk, rungs, folder)
        scores = measure_chunk(plan, source, chunk, folder, rungs, cancel=cancel)
        return {"vmaf": {name: [score.__dict__ for score in segments] for name, segments in scores.items()}}

    return once(chunk_folder(work, task.part, task.number), task.holder, make)


def _require_whole(plan: Plan, chunk: Chunk, rungs: Sequence[Rung], folder: Path) -> None:
    """On a full disk ffmpeg's segmenter loses bytes and ends as if all were well."""
    for rung in rungs:
        for kind in ("video", "variants") if rung.marked else ("video",):
            try:
                whole_segments(folder / kind / rung.name, chunk, plan, rung)
            except (TranscodingError, OSError) as error:
                raise TransientError(f"what was encoded is not whole: {error}") from None


def make_sound(
    task: Task, source: Source, plan: Plan, work: Path, on_progress: OnEncode, cancel: threading.Event
) -> dict[str, Any]:
    """Encode every audio rendition of the film. Returns `{"audio": [facts]}`."""

    def make(folder: Path) -> dict[str, Any]:
        facts = encode_audio(plan, source, folder, cancel=cancel, on_progress=on_progress)
        for rendition in (folder / "audio").glob("*"):
            rendition.rename(folder / rendition.name)
        (folder / "audio").rmdir() if plan.audio else None
        for sound in plan.audio:
            require_whole_sound(folder / sound.name, plan)
        return {"audio": [fact.as_json() for fact in facts]}

    return once(work / "audio", task.holder, make)


def once(target: Path, holder: str, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """A folder with its notes, made whole or not at all; one whose notes cannot be read is made again."""
    if (notes := _notes(target)) is None:
        shutil.rmtree(target, ignore_errors=True)
        with _whole(target, holder) as draft:
            (draft / _NOTES).write_text(json.dumps(make(draft)))
        notes = _notes(target)
    if notes is None:
        raise TransientError(f"{target / _NOTES} cannot be read: what was made must be made again")
    return notes


def _notes(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / _NOTES).read_text())
    except (OSError, ValueError):
        return None


@contextmanager
def _whole(target: Path, holder: str) -> Iterator[Path]:
    draft = target.with_name(f".{target.name}-{holder}")
    draft.mkdir(parents=True)
    try:
        with noticing_full_disk(draft):
            yield draft
            sync_tree(draft)
        try:
            draft.rename(target)
            sync(target.parent)
        except OSError as error:
            # Somebody whose lease had run out was done first: with the same bytes.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def missing(work: Path, done: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Which finished chunks and sounds (kind, part, number) are not in the work folder after all, or not readable."""
    folders = {
        (kind, part, number): work / "audio" if kind == "audio" else chunk_folder(work, part, number)
        for kind, part, number in done
        if kind in {"audio", "chunk"}
    }
    return [key for key, folder in folders.items() if _notes(folder) is None]


def local(source: Source, media: Path, stored_path: str) -> Source:
    """A source as this machine sees it: another worker may have the media store elsewhere."""
    return replace(source, path=(media / stored_path).absolute())


def tasks_of(plan: Plan, source: Source) -> list[NewTask]:
    """What is to be done once a master is planned. `weight` is megapixels to encode, others' work in the same coin."""
    tasks = [
        NewTask("check", 0, 0, "ready", _CHECK_WEIGHT * source.frames * source.width * source.height / 1e6),
        NewTask("audio", 0, 0, "ready", _SOUND_WEIGHT * float(plan.duration) * len(plan.audio)),
    ]
    for part, rungs in enumerate(plan.parts):
        pixels = sum(rung.width * rung.height * (1 + rung.marked) for rung in rungs) / 1e6
        tasks += [NewTask("chunk", part, chunk.number, "ready", pixels * chunk.frames) for chunk in plan.chunks]
        tasks.append(NewTask("package", part, 0, "waiting", _PACKAGE_SHARE * pixels * plan.frames))
    return tasks
