"""The session watermark: bits read back from worn copies, and what marking costs in quality, bytes and CPU.

A clip's top rung is encoded without a mark and as variants A and B, in segments of a second (a package has six: fewer
bits a film, each easier to read). A copy is what one session would be given, treated as a leak is.
"""

import dataclasses
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from matinee.console import progress
from matinee.settings import Settings
from transcoding import ffmpeg
from transcoding.encode import encode
from transcoding.forensics.detect import Marked, read_copy
from transcoding.plan import Chunk, Plan, plan_ladder
from transcoding.source import Source, read_source
from transcoding.vmaf import vmaf
from transcoding.watermark import Mark, bits, variant

KEY, SESSION = b"benchmark".ljust(32, b"."), "session"
_REAL = ("sam_juggle_720p24_10s.mp4", "sam_dog_720p2997_10s.mp4", "bbb_720p25_5s_51.mp4", "tos_wave_1080p2997_8s.mp4")
_X264 = ("-c:v", "libx264", "-preset", "medium")
COPIES = {
    "360p, CRF 32": ("-vf", "scale=-2:360", *_X264, "-crf", "32"),
    "6 % crop, 480p, contrast": ("-vf", "crop=iw*0.94:ih*0.94,scale=-2:480,eq=contrast=1.15:brightness=0.04", *_X264),
}
_MOST_VMAF, _MOST_BYTES = 0.7, 1.02


def run(json: bool = False, clips: Sequence[Path] | None = None) -> list[dict]:  # noqa: ARG001 - the caller prints
    """Rows: right bits of those carried, for each treatment; VMAF lost, bytes and CPU against the unmarked rung."""
    if clips is None:
        folder = Settings.load().shared / "data" / "clips" / "real"
        clips = [folder / name for name in _REAL if (folder / name).exists()]
    measured = []
    with tempfile.TemporaryDirectory(prefix="matinee-bench-") as scratch, progress() as bar:
        task = bar.add_task("watermark", total=len(clips))
        for number, clip in enumerate(clips):
            measured.append(_measure(clip, Path(scratch) / str(number)))
            bar.advance(task)
    return _rows(measured) if measured else []


def _rows(measured: Sequence[dict]) -> list[dict]:
    count = len(measured)
    rows = []
    for name in COPIES:
        right, carried = (sum(clip["bits"][name][which] for clip in measured) for which in (0, 1))
        rows.append(
            _row(f"watermark bits read, {name}", right, "bits", carried, right / carried, 1.0, right == carried)
        )
    lost = sum(clip["plain"]["vmaf"] - clip["marked"]["vmaf"] for clip in measured) / count
    plain = sum(clip["plain"]["vmaf"] for clip in measured) / count
    rows.append(_row("watermark, VMAF lost", lost, "VMAF", plain, 1 - lost / plain, _MOST_VMAF, lost <= _MOST_VMAF))
    for what, unit, goal in (("bytes", "B", _MOST_BYTES), ("cpu", "s", None)):
        value, reference = (sum(clip[side][what] for clip in measured) for side in ("marked", "plain"))
        ratio = value / reference
        rows.append(
            _row(f"watermark, {what} of a variant", value, unit, reference, ratio, goal, ratio <= (goal or ratio))
        )
    return rows


def _row(name: str, value: float, unit: str, reference: float, ratio: float, goal: float | None, holds: bool) -> dict:
    return {
        "name": name, "value": round(value, 3), "unit": unit, "reference": round(reference, 3),
        "ratio": round(ratio, 4), "goal": goal, "holds": holds,
    }  # fmt: skip


def _measure(clip: Path, folder: Path) -> dict:
    """One clip: `plain` and `marked` (the mean of A and B) with VMAF, bytes and CPU seconds; `bits` of each copy."""
    source = read_source(clip)
    whole = plan_ladder(source)
    top = dataclasses.replace(whole.rungs[0], marked=True)
    low = dataclasses.replace(whole.rungs[-1], name="low", width=320, height=180)
    gop = max(1, round(whole.frame_rate / 3))
    plan = dataclasses.replace(whole, gop=gop, rungs=(top, low), audio=(), subtitles=(), crf_shifts=())
    unmarked = dataclasses.replace(plan, rungs=(dataclasses.replace(top, marked=False), low))
    spent = {"plain": _encode(unmarked, source, folder / "plain"), "marked": _encode(plan, source, folder / "marked")}
    films = {
        "plain": _join(folder / "plain", "video", top.name), "a": _join(folder / "marked", "video", top.name),
        "b": _join(folder / "marked", "variants", top.name),
    }  # fmt: skip
    segments = -(-plan.frames // (3 * gop))
    scores = vmaf(list(films.values()), plan, source, Chunk(0, 0, segments, 0, plan.frames), threads=2)
    sizes = [path.stat().st_size for path in films.values()]
    return {
        "plain": {"vmaf": scores[0].vmaf, "bytes": sizes[0], "cpu": spent["plain"]},
        # Both variants are encoded at once: half of what they take together is what one takes.
        "marked": {
            "vmaf": (scores[1].vmaf + scores[2].vmaf) / 2, "bytes": (sizes[1] + sizes[2]) / 2,
            "cpu": spent["marked"] / 2,
        },
        "bits": {name: _read_back(plan, folder / "marked", how) for name, how in COPIES.items()},
    }  # fmt: skip


def _encode(plan: Plan, source: Source, out: Path) -> float:
    """CPU seconds."""
    out.mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    encode(plan, source, out, mark=Mark(KEY, "clip"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _join(folder: Path, kind: str, rung: str) -> Path:
    joined = folder / f"{kind}.mp4"
    parts = [folder / "video" / rung / "init.mp4", *sorted((folder / kind / rung).glob("*.m4s"))]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    return joined


def _read_back(plan: Plan, folder: Path, how: Sequence[str]) -> tuple[int, int]:
    """Right bits and carried bits of the session's copy; a last segment of a few frames carries none."""
    top, low = plan.rungs
    names = [f"video/{top.name}/{path.name}" for path in sorted((folder / "video" / top.name).glob("*.m4s"))]
    given = [folder / f"video/{top.name}/init.mp4", *(folder / variant(KEY, SESSION, name) for name in names)]
    leaked, copy = folder / "leaked.mp4", folder / "copy.mp4"
    leaked.write_bytes(b"".join(path.read_bytes() for path in given))
    subprocess.run([ffmpeg.executable(), "-v", "error", "-y", "-i", leaked, *how, copy], check=True)
    length = 3 * plan.gop
    marked = Marked(
        "clip", plan.frame_rate, plan.frames, length, top.width, top.height, top.name, low.name,
        lambda name: (folder / name).read_bytes(),
    )  # fmt: skip
    readings = [r for r in read_copy(copy, marked, KEY).readings if plan.frames - r.segment * length >= length / 2]
    carried = bits(KEY, SESSION, [r.segment for r in readings])
    return sum(r.bit == bit for r, bit in zip(readings, carried, strict=True)), len(readings)
