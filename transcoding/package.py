"""A folder of encoded segments becomes a package: manifests, poster, description; published by one rename."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transcoding import ffmpeg
from transcoding.boxes import read_segment, read_track, seconds
from transcoding.dash import dash_manifest
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import GOP_S, PLAN_VERSION, Plan, Rung
from transcoding.playlists import frames_target, master_playlist, media_playlist, text_playlist
from transcoding.protect import KeyOf, segment_keys
from transcoding.renditions import Rendition, Renditions, TextRendition

# Cannot be the beginning of a title id, so a draft is never taken for a title.
DRAFTS = "~drafts"
FULL_BYTES = 16_000_000  # with less than this left a disk counts as full
_POSTER_WIDTH = 1280
_POSTER_SIZE = f"scale='min({_POSTER_WIDTH},iw)':-2:out_range=pc,format=yuvj420p"
_POSTER_KEY_FRAMES = 30
_POSTER_TIMEOUT_S = 120


def tools() -> str:
    """What besides source and plan decides the bytes of a package."""
    return f"plan {PLAN_VERSION}, ffmpeg {ffmpeg.version()}"


def package_id(
    title_id: str,
    source_hash: str,
    plan: Plan | None,
    *,
    protection: str = "clear",
    rungs: Sequence[Rung] | None = None,
    sidecars: Sequence[str] = (),
) -> str:
    """The name of a package: 32 hexadecimal digits of SHA-256 over all that decides its bytes.

    That is title, source, plan (with its treatment), the rungs that are in it (`None`: all), protection, the SHA-256 of
    each file of subtitles beside the source, and tools. `plan` is None for a master that could not even be looked into.
    """
    told = plan.as_json() if plan else None
    names = [rung.name for rung in rungs] if rungs is not None and plan and len(rungs) < len(plan.rungs) else None
    facts = [title_id, source_hash, told, names, protection, sorted(sidecars), tools()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def measure(draft: Path, plan: Plan, rungs: Sequence[Rung] | None = None) -> Renditions:
    """All renditions of a draft, from the boxes of its files; before it is encrypted.

    Video in the order of `rungs` (None: all of the plan). Key frames, subtitles and second variants that are not there
    are left out.

    Raises:
        TranscodingError: a rung or a sound is missing, or a file is not what its place says.
    """
    video = tuple(_rendition(draft, "video", rung.name, plan) for rung in (plan.rungs if rungs is None else rungs))
    audio = tuple(_rendition(draft, "audio", sound.name, plan, sound.language) for sound in plan.audio)
    folders = sorted((draft / "iframes").glob("*/"))
    iframes = tuple(_rendition(draft, "iframes", folder.name, plan) for folder in folders)
    durations = tuple(seconds(segment.duration, video[0].track) for segment in video[0].segments)
    text = tuple(
        TextRendition(track.name, track.language, track.forced, durations)
        for track in plan.subtitles
        if (draft / "subtitles" / track.name).is_dir()
    )
    return Renditions(video, audio, iframes, text, plan.segment)


def _rendition(draft: Path, kind: str, name: str, plan: Plan, language: str = "und") -> Rendition:
    folder = draft / kind / name
    segments = tuple(read_segment(path) for path in _in_order(folder))
    if not segments:
        raise TranscodingError(f"{kind} {name}: the encoder wrote no segment")
    twins = _in_order(draft / "variants" / name) if kind == "video" else []
    if twins and [path.name for path in twins] != [segment.name for segment in segments]:
        raise TranscodingError(f"{kind} {name}: {len(segments)} segments, but {len(twins)} second variants")
    sizes = tuple(path.stat().st_size for path in twins)
    rate = {"video": plan.frame_rate, "iframes": 1 / seconds(segments[0].duration, read_track(folder / "init.mp4"))}
    return Rendition(kind, name, read_track(folder / "init.mp4"), segments, rate.get(kind), language, sizes)


def _in_order(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.m4s"), key=lambda path: int(path.stem))


def write_manifests(draft: Path, renditions: Renditions, key_of: KeyOf | None = None) -> None:
    """Every playlist, from what was measured; those of the encoder are overwritten.

    With `key_of` the playlists name the segments' keys. A DASH manifest, with its subtitles in one file each, is for
    clear packages only: what players agree on for encrypted DASH is another scheme.
    """
    for rendition in renditions.media:
        target = frames_target(rendition) if rendition.kind == "iframes" else renditions.target
        keys = [key.key_id for key in segment_keys(rendition, renditions.segment, key_of)] if key_of else []
        (draft / rendition.folder / "main.m3u8").write_text(media_playlist(rendition, target, keys))
    for text in renditions.text:
        (draft / text.folder / "main.m3u8").write_text(text_playlist(text, renditions.target))
    (draft / "master.m3u8").write_text(master_playlist(renditions))
    wholes = [draft / text.folder / "whole.vtt" for text in renditions.text]
    if key_of:
        for path in [draft / "manifest.mpd", *wholes]:
            path.unlink(missing_ok=True)
    else:
        (draft / "manifest.mpd").write_text(dash_manifest(renditions))
        for path in wholes:
            path.write_text(_joined(path.parent))


def _joined(folder: Path) -> str:
    """The cues of all segments, each once: one that spans two segments stands in both."""
    from matinee.cues import read_cues, webvtt

    cues = {}
    for path in sorted(folder.glob("[0-9]*.vtt")):
        if "-->" in (text := path.read_text()):
            cues |= {(cue.start_ms, cue.end_ms, cue.text): cue for cue in read_cues(text.encode(), "vtt").cues}
    return webvtt([cues[key] for key in sorted(cues)])


def write_poster(draft: Path, renditions: Renditions) -> None:
    """`poster.jpg`: the most typical of some key frames after a tenth of the film, at most 1280 pixels wide.

    From the playlists of a draft that is still clear.
    """
    video = [r for r in renditions.video if r.track.video_range == "SDR"] or list(renditions.video)
    wide = [rendition for rendition in video if rendition.track.width >= _POSTER_WIDTH]
    picked = min(wide or video, key=lambda r: r.track.width) if wide else max(video, key=lambda r: r.track.width)
    # Skipped by a filter: seeking to zero in a playlist of one key frame yields nothing.
    start = int(picked.duration / 10 / GOP_S) * GOP_S
    ffmpeg.run(
        [
            "-hide_banner", "-nostdin", "-y", "-v", "error", "-nostats", "-progress", "pipe:1",
            "-protocol_whitelist", "file,pipe", "-skip_frame", "nokey",
            "-i", f"file:{picked.folder}/main.m3u8", "-frames:v", "1", "-update", "1", "-q:v", "3",
            "-vf", f"trim=start={start},thumbnail=n={_POSTER_KEY_FRAMES},{_POSTER_SIZE}",
            "poster.jpg",
        ],
        cwd=draft,
        timeout_s=_POSTER_TIMEOUT_S,
    )  # fmt: skip
    if not (draft / "poster.jpg").exists():
        raise TranscodingError("no frame could be taken for the poster")


def describe(
    name: str,
    title_id: str,
    source_hash: str,
    plan: Plan,
    renditions: Renditions,
    *,
    protection: str = "clear",
    vmaf: Mapping[str, float] | None = None,
    key_ids: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `package.json` says: where the package comes from, how it was made and what it weighs.

    `vmaf`: of the final segments, by the name of the rung. `key_ids`: the public names of its keys. `more`: what others
    measured (loudness, the checker's findings), added as it is.
    """
    scores = vmaf or {}
    return {
        "package_id": name,
        "title_id": title_id,
        "source_sha256": source_hash,
        "duration_ms": round(renditions.video[0].duration * 1000),
        "segment_s": float(plan.segment),
        "protection": protection,
        "treatment": plan.treatment,
        "plan": plan.as_json(),
        "video": [_facts(r) | ({"vmaf": scores[r.name]} if r.name in scores else {}) for r in renditions.video],
        "audio": [_facts(rendition) for rendition in renditions.audio],
        "iframes": [_facts(rendition) for rendition in renditions.iframes],
        "subtitles": [{"name": t.name, "language": t.language, "forced": t.forced} for t in renditions.text],
        "bytes": sum(rendition.size for rendition in renditions.media),
        "key_ids": list(key_ids),
        "tools": tools(),
        **(more or {}),
    }


def _facts(rendition: Rendition) -> dict[str, Any]:
    track = rendition.track
    facts: dict[str, Any] = {
        "name": rendition.name,
        "codec": track.codec,
        "bytes": rendition.size,
        "segments": len(rendition.segments),
        "average_bps": rendition.average_bps,
        "peak_bps": rendition.peak_bps,
    }
    if rendition.kind == "audio":
        return facts | {"language": rendition.language, "channels": track.channels}
    facts |= {"width": track.width, "height": track.height, "frames": rendition.frames}
    return facts | {"video_range": track.video_range, "marked": bool(rendition.twins)}


def publish(draft: Path, destination: Path) -> bool:
    """Make a finished draft visible: everything to disk, then one rename. A package is there whole or not at all.

    False: it was there already. A package is named by its content, so whoever was first made the same one; the draft is
    left to its owner. A folder of that name without a `package.json` is no package, and makes room.
    """
    sync_tree(draft)
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.is_dir() and not is_whole(destination) and (aside := set_aside(destination)):
        remove(aside)
    try:
        draft.rename(destination)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync(destination.parent)
    sync(destination.parent.parent)
    return True


def is_whole(folder: Path) -> bool:
    """Whether a package is there; a folder alone may be what a broken copy or deletion left."""
    return (folder / "package.json").is_file()


def set_aside(folder: Path) -> Path | None:
    """Out of sight by one rename: nobody is served half a package. None: another was faster."""
    aside = folder.with_name(f"~{folder.name}-{time.time_ns()}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def remove(folder: Path) -> None:
    """Delete what nobody sees any more; what cannot be deleted now is found again by `transcoding.collect`."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def noticing_full_disk(folder: Path) -> Iterator[None]:
    """What fails with no room left fails for that reason, whatever it is called. Ask before anything is removed.

    Raises:
        TransientError: in place of an error of the film, or of the files, while the disk of `folder` is full.
    """
    try:
        yield
    except (TranscodingError, OSError) as error:
        free = shutil.disk_usage(folder).free
        if free >= FULL_BYTES or isinstance(error, TransientError):
            raise
        raise TransientError(f"the disk of {folder} is full ({free / 1e6:.0f} MB free): {error}") from error


def sync_tree(folder: Path) -> None:
    """Bring a folder, and all that is in it, to the disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            sync(Path(place) / name)
        sync(Path(place))


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_draft(media: Path, name: str) -> Path:
    """An empty folder to build a package in, on the file system of the media store."""
    draft = media / DRAFTS / name
    draft.mkdir(parents=True)
    return draft


def clear_drafts(media: Path, alive: Callable[[], Collection[str]] = tuple) -> None:
    """Throw away the drafts that belong to nobody.

    `alive` names those that somebody works on. It is asked after the folder was listed: a draft that is made meanwhile
    is not on the list, and one that is on the list was made by who is asked about.
    """
    drafts = media / DRAFTS
    there = list(drafts.iterdir()) if drafts.exists() else []
    working = set(alive())
    for draft in there:
        if draft.name not in working:
            shutil.rmtree(draft, ignore_errors=True)
