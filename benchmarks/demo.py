"""From an empty home to a built service, and a second build with nothing new: seconds and memory.

There is no other side to measure against: the reference is the goal. Memory is the proportional set size of the
command and everything it started, sampled twice a second.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

MATINEE = Path(sys.executable).with_name("matinee")
GOALS = {"demo": 480.0, "second build": 60.0, "code location": 3.0, "help": 0.5}
MEMORY_GOAL_MB = 4096.0
_SAMPLE_S = 0.5
_LOAD = """
import time
started = time.perf_counter()
from orchestration.definitions import defs
defs()
print(time.perf_counter() - started)
"""


def run() -> list[dict[str, Any]]:
    """Rows of {"name", "value", "unit", "reference", "ratio", "goal", "holds"}."""
    with tempfile.TemporaryDirectory(prefix="matinee-bench-") as folder:
        env = {**os.environ, "MATINEE_HOME": folder}
        seconds, memory = {}, {}
        seconds["demo"], memory["demo"] = _measure([MATINEE, "demo", "--no-serve"], env)
        seconds["second build"], memory["second build"] = _measure([MATINEE, "build"], env)
        seconds["code location"] = _load(env)
        seconds["help"], _ = _measure([MATINEE, "--help"], env)
    return [_row(name, value, "s", GOALS[name]) for name, value in seconds.items()] + [
        _row(f"{name}: peak memory", value, "MB", MEMORY_GOAL_MB) for name, value in memory.items()
    ]


def _measure(argv: list[str | Path], env: dict[str, str]) -> tuple[float, float]:
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, env=env, stdout=said, stderr=subprocess.STDOUT)
        peak = _Peak(process.pid)
        peak.start()
        code = process.wait()
        peak.stop.set()
        peak.join()
        if code:
            said.seek(0)
            raise RuntimeError(f"{' '.join(map(str, argv))} exited {code}: {said.read().decode()[-500:]}")
    return time.perf_counter() - started, peak.megabytes


def _load(env: dict[str, str]) -> float:
    """Seconds to import and load the code location in a fresh interpreter, as a code server does."""
    from matinee.settings import Settings
    from orchestration.instance import environment

    whole = {**env, **environment(Settings.load(home=env["MATINEE_HOME"]))}
    done = subprocess.run([sys.executable, "-c", _LOAD], env=whole, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


class _Peak(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0
        self.stop = threading.Event()
        self._pid = pid

    def run(self) -> None:
        while not self.stop.wait(_SAMPLE_S):
            try:
                root = psutil.Process(self._pid)
                family = [root, *root.children(recursive=True)]
                total = sum(process.memory_full_info().pss for process in family)
            except psutil.Error:  # a process ended between the list and the look
                continue
            self.megabytes = max(self.megabytes, total / 2**20)


def _row(name: str, value: float, unit: str, goal: float) -> dict[str, Any]:
    ratio = round(value / goal, 3)
    return {
        "name": name, "value": round(value, 2), "unit": unit, "reference": goal, "ratio": ratio,
        "goal": f"<= {goal:g} {unit}", "holds": value <= goal,
    }  # fmt: skip
