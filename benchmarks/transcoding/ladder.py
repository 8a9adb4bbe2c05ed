"""The ladder in one ffmpeg process against one process a rung, and against what the cores can do at most.

Both sides read the same 1080p source, use the same encoder settings and write the same segments. Four rungs, veryfast;
every encoder has as many threads as it likes, so that the reference is not held back.
The limit is the CPU time of encoding each rung alone, of one decode and of the cascaded scaling, spread over all cores.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from matinee.console import progress
from matinee.settings import Settings
from transcoding import ffmpeg
from transcoding.arguments import encode_arguments, filter_graph, folders
from transcoding.plan import Plan, plan_ladder
from transcoding.source import Source, read_source

HEIGHTS = (1080, 720, 480, 360)
FASTER, OF_LIMIT = 1.4, 0.93
_FRAMES = 400  # a third of the chunk that a worker takes; starting a process then weighs little
_REAL = ("tos_wave_1080p2997_8s.mp4", "bbb_1080p60_2s_51.mp4")
_TIMEOUT_S = 600


def run(json: bool = False, pairs: int = 5) -> list[dict]:  # noqa: ARG001 - the name of the option; the caller prints
    """Rows of the comparison.

    `value` and `reference` are medians of wall seconds over the pairs, `ratio` is the median of the pairs' ratios.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="matinee-bench-") as scratch, progress() as bar:
        clips = _clips(Path(scratch))
        task = bar.add_task("ladder", total=len(clips) * pairs)
        for name, path in clips.items():
            rows += _compare(name, path, Path(scratch), pairs, lambda: bar.advance(task))
    return rows


def _clips(scratch: Path) -> dict[str, Path]:
    """A generated clip with motion and grain; the real ones where they are."""
    made = scratch / "generated.mp4"
    picture = f"testsrc2=size=1920x1080:rate=25,noise=alls=10:allf=t,trim=end_frame={_FRAMES}"
    arguments = ["-v", "error", "-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]
    subprocess.run([ffmpeg.executable(), *arguments, "-pix_fmt", "yuv420p", made], check=True)
    folder = Settings.load().shared / "data" / "clips" / "real"
    clips = {"generated": made}
    for name in _REAL:
        if (folder / name).exists():
            clips[name] = looped(folder / name, scratch / name, _FRAMES / float(read_source(folder / name).frame_rate))
    return clips


def looped(clip: Path, out: Path, seconds: float) -> Path:
    """The picture of a clip, repeated (or cut) as it is coded until it lasts as long."""
    arguments = ["-v", "error", "-stream_loop", "-1", "-i", clip, "-map", "0:v:0", "-c", "copy", "-t", str(seconds)]
    subprocess.run([ffmpeg.executable(), *arguments, out], check=True)
    return out


def _compare(name: str, path: Path, scratch: Path, pairs: int, step: Callable[[], None]) -> list[dict]:
    source = read_source(path)
    whole = dataclasses.replace(plan_ladder(source, heights=HEIGHTS), audio=())
    single = [dataclasses.replace(whole, rungs=(rung,)) for rung in whole.rungs]
    ours, theirs, limits = [], [], []
    for number in range(pairs):
        sides = [
            lambda: ours.append(_encode([whole], source, scratch)),
            lambda: theirs.append(_encode(single, source, scratch)),
        ]
        for side in sides if number % 2 == 0 else reversed(sides):
            side()
        limits.append(_limit(whole, single, source, scratch, theirs[-1][1]))
        step()
    ratio = statistics.median(b[0] / a[0] for a, b in zip(ours, theirs, strict=True))
    share = statistics.median(limit / wall for limit, (wall, _) in zip(limits, ours, strict=True))
    seconds = statistics.median(wall for wall, _ in ours)
    return [
        _row(f"ladder, {name}", seconds, statistics.median(wall for wall, _ in theirs), ratio, FASTER),
        _row(f"of the limit, {name}", seconds, statistics.median(limits), share, OF_LIMIT),
    ]


def _row(name: str, value: float, reference: float, ratio: float, goal: float) -> dict:
    return {
        "name": name, "value": round(value, 3), "unit": "s", "reference": round(reference, 3), "ratio": round(ratio, 3),
        "goal": goal, "holds": ratio >= goal,
    }  # fmt: skip


def _encode(plans: list[Plan], source: Source, scratch: Path) -> tuple[float, float]:
    """Wall and CPU seconds of carrying out plans one after another."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        for plan in plans:
            for folder in folders(plan):
                (Path(out) / folder).mkdir(parents=True)
        return _timed([encode_arguments(plan, source, Path(), threads=0) for plan in plans], Path(out))


def _limit(whole: Plan, single: list[Plan], source: Source, scratch: Path, apart_cpu_s: float) -> float:
    """Seconds that the ladder's own work needs when no core ever waits.

    `apart_cpu_s` is what the rungs took one by one: less their decoding and scaling it is the encoders' own.
    """
    prepared = _timed([_to_nowhere(whole, source)], scratch)[1]
    preparing_apart = _timed([_to_nowhere(plan, source) for plan in single], scratch)[1]
    return (prepared + apart_cpu_s - preparing_apart) / (os.cpu_count() or 1)


def _to_nowhere(plan: Plan, source: Source) -> list[str]:
    """Decode and scale as the plan says, and encode nothing."""
    start = ["-nostdin", "-v", "error", "-progress", "pipe:1", "-i", f"file:{source.path}"]
    graph = ["-filter_complex", filter_graph(plan, source)]
    return [*start, *graph, *(word for n in range(len(plan.rungs)) for word in ("-map", f"[v{n}]", "-f", "null", "-"))]


def _timed(commands: list[list[str]], folder: Path) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command in commands:
        ffmpeg.run(command, cwd=folder, timeout_s=_TIMEOUT_S)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
