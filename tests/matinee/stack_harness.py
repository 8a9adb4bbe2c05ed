"""The stack as a command: run it, look at it, and leave nothing running."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from matinee.settings import Settings
from matinee.stack import leftovers, state

APP = Path(__file__).parent / "stack_app.py"
SLEEP = "import time; print('here'); time.sleep(600)"


@dataclass
class Stack:
    """`matinee up` and its like in one home, each as a process."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    services: list[dict] = field(default_factory=list)
    user: str | None = None
    app: Path = APP

    def start(self, *words: str) -> "subprocess.Popen[str]":
        env = {**os.environ, **self.env, "MATINEE_HOME": str(self.home), "STACK_APP": json.dumps(self.services)}
        argv = [sys.executable, str(self.app), *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, env=env, text=True, cwd="/", user=self.user, **pipes)

    def run(self, *words: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        process = self.start(*words)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def status(self) -> dict[str, dict]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)}

    @property
    def known(self) -> state.StackState:
        found = state.read(Settings.load(home=self.home).home)
        assert found
        return found

    def tidy(self) -> None:
        found = state.read(Settings.load(home=self.home).home)
        if found:
            if found.supervisor.alive():
                psutil.Process(found.supervisor.pid).kill()
                eventually(lambda: not found.supervisor.alive())
            leftovers.clean(state.read(Settings.load(home=self.home).home) or found)


def eventually(check: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until the check holds; fail with it when it never does."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)
