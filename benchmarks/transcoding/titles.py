"""What one title costs and looks like under our measured ladder and under a fixed one: the record behind two tables.

The fixed ladder is the H.264 one of Apple's HLS authoring specification (average kbit/s by size), encoded as well as
x264's medium preset can at a given average: two passes, a buffer that lets peaks reach twice the average. Both sides
have the same frames, GOPs and segments, and both are measured from the finished segments: bytes, and VMAF of the whole
clip at the source's size. AV1 rungs look like the H.264 ones of 720 lines and more, or of the two largest sizes.
"""

import dataclasses
import json
import os
import platform
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from matinee.console import progress
from matinee.settings import Settings
from transcoding import ffmpeg
from transcoding.arguments import QUIET, encode_arguments, filter_graph, folders, input_arguments, segment_options
from transcoding.ladder import TREATMENTS, Rung, rung_sizes
from transcoding.plan import Chunk, Plan, plan_ladder
from transcoding.probes import probe_encodes
from transcoding.shots import choose_samples, find_cuts
from transcoding.source import Source, read_source
from transcoding.vmaf import vmaf

RESULTS = Path(__file__).parents[1] / "results" / "transcoding-bits.json"
# Lines and average kbit/s.
FIXED = (
    (234, 145), (360, 365), (432, 730), (432, 1100), (540, 2000), (720, 3000), (720, 4500), (1080, 6000), (1080, 7800),
)  # fmt: skip
TREATMENT = dataclasses.replace(TREATMENTS["standard"], av1=True)
_TIMEOUT_S = 7200
_LONG_S = 300  # of the looped clip on which looking for cuts is timed


@cache
def titles(retrain: bool) -> list[dict]:
    """The recorded titles, or all real clips measured anew and recorded (about half an hour on two cores)."""
    if not retrain:
        return json.loads(RESULTS.read_text())["titles"] if RESULTS.exists() else []
    made = measure(sorted((Settings.load().shared / "data" / "clips" / "real").iterdir()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(_record(made), indent=1) + "\n")
    return made


def _record(made: list[dict]) -> dict:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, ffmpeg {ffmpeg.version()}"
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"measured_at": measured_at, "machine": machine, "commit": commit, "recorded": True, "titles": made}


def measure(paths: Sequence[Path]) -> list[dict]:
    made = []
    with progress() as bar:
        task = bar.add_task("titles", total=5 * len(paths))
        for path in paths:
            with tempfile.TemporaryDirectory(prefix="matinee-bench-") as scratch:
                made.append(_title(path, Path(scratch), lambda: bar.advance(task)))
    return made


def _title(path: Path, scratch: Path, step: Callable[[], None]) -> dict:
    source = read_source(path)
    h264, cpu_h264 = _timed(lambda: probe_encodes(source, TREATMENTS["standard"]))
    step()
    both, cpu_av1 = _timed(lambda: probe_encodes(source, TREATMENT, known=h264))
    step()
    plan = plan_ladder(source, TREATMENT, both)
    samples = choose_samples(plan, find_cuts(plan, source))
    made: list[dict] = []
    cpu = {}
    for codec in ("h264", "av1"):
        rungs = [rung for rung in plan.rungs if rung.codec == codec]
        cpu[codec] = _timed(lambda rungs=rungs: _encode(plan, source, rungs, scratch))[1] if rungs else 0.0
        step()
    made = _measured(plan, source, plan.rungs, scratch)
    fixed = _fixed_ladder(plan, source, scratch)
    step()
    return {
        "name": path.name,
        "seconds": float(plan.duration),
        "size": [source.width, source.height],
        "frame_rate": str(plan.frame_rate),
        "cpu_s": {
            "probes_h264": round(cpu_h264, 2), "probes_av1": round(cpu_av1, 2), "ladder_h264": round(cpu["h264"], 2),
            "ladder_av1": round(cpu["av1"], 2), "cuts_per_s": _cuts_per_second(path, scratch),
        },
        "sampled_s": float(sum(sample.window.frames for sample in samples) / plan.frame_rate),
        "rungs": made,
        "fixed": fixed,
    }  # fmt: skip


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return made, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _encode(plan: Plan, source: Source, rungs: Sequence[Rung], out: Path) -> None:
    for folder in folders(plan, rungs):
        (out / folder).mkdir(parents=True)
    ffmpeg.run(encode_arguments(plan, source, Path(), rungs=rungs), cwd=out, timeout_s=_TIMEOUT_S)


def _measured(plan: Plan, source: Source, rungs: Sequence[Rung], out: Path) -> list[dict]:
    """Rates and VMAF of finished rungs, from their segments."""
    files, sizes = [], []
    for rung in rungs:
        folder = out / "video" / rung.name
        segments = sorted(folder.glob("*.m4s"))
        sizes.append(sum(segment.stat().st_size for segment in segments))
        files.append(out / f"{rung.name}.mp4")
        with files[-1].open("wb") as whole:
            for part in (folder / "init.mp4", *segments):
                with part.open("rb") as read:
                    shutil.copyfileobj(read, whole)
    scores = vmaf(files, plan, source, Chunk(0, 0, 0, 0, plan.frames), threads=2)
    return [
        {
            "name": rung.name, "codec": rung.codec, "height": rung.height, "crf": rung.crf,
            "kbps": round(size * 8 / float(plan.duration) / 1000, 2), "vmaf": score.vmaf,
            "predicted_kbps": rung.predicted_kbps, "predicted_vmaf": rung.predicted_vmaf,
        }
        for rung, size, score in zip(rungs, sizes, scores, strict=True)
    ]  # fmt: skip


def _fixed_ladder(plan: Plan, source: Source, scratch: Path) -> list[dict]:
    rungs = []
    for lines, kbps in FIXED:
        for width, height in rung_sizes(source, (lines,)):
            if height == lines:
                rungs.append(Rung(f"fixed-{height}-{kbps}", width, height, 0, 2 * kbps, 2 * kbps))
    for rung, (_, kbps) in zip(rungs, FIXED, strict=False):
        for number in (1, 2):
            _pass(plan, source, rung, kbps, number, scratch)
    return _measured(plan, source, rungs, scratch)


def _pass(plan: Plan, source: Source, rung: Rung, kbps: int, number: int, scratch: Path) -> None:
    (scratch / "video" / rung.name).mkdir(parents=True, exist_ok=True)
    arguments = [
        *QUIET, *input_arguments(plan, source), "-filter_complex", filter_graph(plan, source, rungs=(rung,)),
        "-map", "[v0]", "-c:v", "libx264", "-preset", "medium", "-profile:v", "high", "-b:v", f"{kbps}k",
        "-maxrate", f"{rung.maxrate_kbps}k", "-bufsize", f"{rung.bufsize_kbps}k", "-g", str(plan.gop),
        "-keyint_min", str(plan.gop), "-sc_threshold", "0", "-flags", "+cgop", "-fps_mode", "passthrough",
        "-pass", str(number), "-passlogfile", rung.name,
    ]  # fmt: skip
    out = ["-f", "null", "-"] if number == 1 else segment_options(plan, Path("video") / rung.name)
    ffmpeg.run([*arguments, *out], cwd=scratch, timeout_s=_TIMEOUT_S)


def _cuts_per_second(path: Path, scratch: Path) -> float:
    """CPU seconds of looking for cuts in a second of a long film: the clip in a loop, copied."""
    looped = scratch / f"looped{path.suffix}"
    source = read_source(path)
    loops = int(_LONG_S / source.duration)
    copy = ["-v", "error", "-y", "-stream_loop", str(loops), "-i", path, "-map", "0:v:0", "-c", "copy", looped]
    subprocess.run([ffmpeg.executable(), *copy], check=True)
    long = read_source(looped)
    spent = _timed(lambda: find_cuts(plan_ladder(long), long))[1]
    looped.unlink()
    return round(spent / float(long.duration), 5)
