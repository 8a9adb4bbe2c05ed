"""A folder of encoded segments becomes a package: manifests, poster, description; published by one rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from transcoding import ffmpeg
from transcoding.boxes import read_segment, read_track
from transcoding.errors import TranscodingError
from transcoding.plan import GOP_S, PLAN_VERSION, Plan
from transcoding.playlists import Rendition, dash_manifest, master_playlist, media_playlist, target_duration

# Cannot be the beginning of a title id, so a draft is never taken for a title.
DRAFTS = "~drafts"
_POSTER_WIDTH = 1280
_POSTER_SIZE = f"scale='min({_POSTER_WIDTH},iw)':-2:out_range=pc,format=yuvj420p"
_POSTER_KEY_FRAMES = 30
_POSTER_TIMEOUT_S = 120


def tools() -> str:
    """What besides source and plan decides the bytes of a package."""
    return f"plan {PLAN_VERSION}, ffmpeg {ffmpeg.version()}"


def package_id(title_id: str, source_hash: str, plan: Plan | None) -> str:
    """The name of a package: 32 hexadecimal digits of SHA-256 over title, source, plan and tools.

    `plan` is None for a master that could not even be looked into.
    """
    facts = [title_id, source_hash, plan.as_json() if plan else None, tools()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def measure(draft: Path, plan: Plan) -> tuple[list[Rendition], list[Rendition]]:
    """The video (largest first) and audio renditions of a draft, from the boxes of its files."""
    video = [_rendition(draft, "video", rung.name, plan) for rung in plan.rungs]
    return video, [_rendition(draft, "audio", audio.name, plan) for audio in plan.audio]


def _rendition(draft: Path, kind: str, name: str, plan: Plan) -> Rendition:
    folder = draft / kind / name
    segments = tuple(read_segment(path) for path in sorted(folder.glob("*.m4s"), key=lambda path: int(path.stem)))
    if not segments:
        raise TranscodingError(f"{kind} {name}: the encoder wrote no segment")
    return Rendition(
        kind, name, read_track(folder / "init.mp4"), segments, plan.frame_rate if kind == "video" else None
    )


def write_manifests(draft: Path, video: Sequence[Rendition], audio: Sequence[Rendition]) -> None:
    """Every playlist and the MPD, from what was measured; the encoder's own playlists are overwritten."""
    target = target_duration([*video, *audio])
    for rendition in [*video, *audio]:
        (draft / rendition.folder / "main.m3u8").write_text(media_playlist(rendition, target))
    (draft / "master.m3u8").write_text(master_playlist(video, audio))
    (draft / "manifest.mpd").write_text(dash_manifest(video, audio))


def write_poster(draft: Path, video: Sequence[Rendition]) -> None:
    """`poster.jpg`: the most typical of some key frames after a tenth of the film, at most 1280 pixels wide."""
    wide = [rendition for rendition in video if rendition.track.width >= _POSTER_WIDTH]
    picked = wide[-1] if wide else video[0]
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
    name: str, title_id: str, source_hash: str, plan: Plan, video: Sequence[Rendition], audio: Sequence[Rendition]
) -> dict[str, object]:
    """What `package.json` says: where the package comes from, how it was made and what it weighs."""
    return {
        "package_id": name,
        "title_id": title_id,
        "source_sha256": source_hash,
        "duration_ms": round(video[0].duration * 1000),
        "segment_s": float(plan.segment),
        "plan": plan.as_json(),
        "video": [_facts(rendition) for rendition in video],
        "audio": [_facts(rendition) for rendition in audio],
        "tools": tools(),
    }


def _facts(rendition: Rendition) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": rendition.name,
        "codec": rendition.track.codec,
        "bytes": rendition.size,
        "segments": len(rendition.segments),
        "average_bps": rendition.average_bps,
        "peak_bps": rendition.peak_bps,
    }
    if rendition.kind == "video":
        facts |= {"width": rendition.track.width, "height": rendition.track.height, "frames": frames(rendition)}
    return facts


def frames(rendition: Rendition) -> int:
    return sum(segment.samples for segment in rendition.segments)


def publish(draft: Path, destination: Path) -> None:
    """Make a finished draft visible: everything to disk, then one rename. A package is there whole or not at all."""
    for folder, _, files in os.walk(draft):
        for name in files:
            _sync(Path(folder) / name)
        _sync(Path(folder))
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(destination)
    _sync(destination.parent)
    _sync(destination.parent.parent)


def _sync(path: Path) -> None:
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


def clear_drafts(media: Path) -> None:
    """Throw away what an earlier run left unfinished; only for who holds the lock of the drafts."""
    drafts = media / DRAFTS
    if drafts.exists():
        shutil.rmtree(drafts)
