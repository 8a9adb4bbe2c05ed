"""How a queue speeds up with workers: one worker on one core against as many workers as there are cores, a core each.

Both sides empty the same queue from nothing: masters looked into, encoded, packaged, checked and published. What
several workers share (PostgreSQL, disk) is shared here too; PostgreSQL may use all cores on both sides.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.transcoding.ladder import looped
from matinee.console import progress
from matinee.settings import Settings
from matinee.stack.session import services
from transcoding import ffmpeg
from transcoding.build import enqueue

OF_CORES = 0.9  # of N times as fast with N workers
_TITLES = 4
_CLIP = "tos_wave_1080p2997_8s.mp4"
_WORKER = (
    "import os, sys\n"
    "os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    "from matinee.settings import Settings\n"
    "from transcoding.worker import Worker\n"
    "Worker(Settings.load(), drain=True, lanes=1).run()\n"
)


def run(json: bool = False, cores: int | None = None) -> list[dict]:  # noqa: ARG001 - the name of the option
    """One row: seconds with all cores, `reference` with one, `ratio` how many times as fast."""
    usable = sorted(os.sched_getaffinity(0))[:cores]
    with tempfile.TemporaryDirectory(prefix="matinee-bench-") as scratch, progress() as bar:
        task = bar.add_task("one worker, then several", total=2)
        settings = Settings.load(home=Path(scratch) / "home").model_copy(update={"transcode_treatment": "fast"})
        with services(settings):
            _bring(settings, Path(scratch))
            one = _emptied(settings, usable[:1])
            bar.advance(task)
            all_of_them = _emptied(settings, usable)
            bar.advance(task)
    ratio, goal = one / all_of_them, OF_CORES * len(usable)
    return [
        {
            "name": f"{len(usable)} workers on {len(usable)} cores against one on one", "value": round(all_of_them, 2),
            "unit": "s", "reference": round(one, 2), "ratio": round(ratio, 3), "goal": goal, "holds": ratio >= goal,
        }
    ]  # fmt: skip


def _bring(settings: Settings, scratch: Path) -> None:
    """A few masters of about the same work, each a film of its own."""
    folder = Settings.load().shared / "data" / "clips" / "real"
    picture = "testsrc2=size=1280x720:rate=25:duration=10,noise=alls=10:allf=t"
    for number in range(_TITLES):
        made = scratch / f"film-{number}.mp4"
        if (folder / _CLIP).exists():
            looped(folder / _CLIP, made, 10.0 + number)
        else:
            arguments = ["-v", "error", "-f", "lavfi", "-i", f"{picture},hue=h={number}", "-pix_fmt", "yuv420p"]
            subprocess.run([ffmpeg.executable(), *arguments, made], check=True)
        stored = f"~masters/{made.name}"
        (settings.media / "~masters").mkdir(parents=True, exist_ok=True)
        made.rename(settings.media / stored)
        with psycopg.connect(settings.database()) as connection:
            connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0)", (made.stem,))
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, %s, %s, 1, 'accepted')",
                (made.stem, made.stem, made.name, stored),
            )


def _emptied(settings: Settings, cores: list[int]) -> float:
    """Seconds from starting the workers until the last one has nothing left to do."""
    with psycopg.connect(settings.database()) as connection:
        connection.execute("DELETE FROM transcode_job")
        connection.execute("DELETE FROM title_marker")
        connection.execute("DELETE FROM package")
    for number in range(_TITLES):
        subprocess.run(["rm", "-rf", settings.media / f"film-{number}"], check=True)
    enqueue(settings)
    environment = os.environ | settings.environment()
    started = time.perf_counter()
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(core)], env=environment, cwd=Path(__file__).parents[2])
        for core in cores
    ]
    for worker in workers:
        if worker.wait():
            raise RuntimeError(f"a worker ended with code {worker.returncode}")
    return time.perf_counter() - started
