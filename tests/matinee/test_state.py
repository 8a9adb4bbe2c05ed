import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from matinee.home import Home
from matinee.stack import state
from matinee.stack.state import Disk, Process, ServiceState, StackState, State


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def me() -> Process:
    found = Process.of(os.getpid())
    assert found
    return found


def test_what_is_written_is_read(home: Home) -> None:
    services = (
        ServiceState("a", State.READY, 1, "addr", "log", "2026", 2, 3.5, 2, 1.0),
        ServiceState("b", State.FAILED),
    )
    stack = StackState("run", me(), services, Disk(1, 2))
    assert state.read(home) is None
    state.write(home, stack)
    assert state.read(home) == stack == state.living(home)
    assert stack.service("b") == services[1]
    assert stack.service("c") is None
    assert stack.settled
    assert not replace(stack, services=(ServiceState("a", State.BACKOFF),)).settled


def test_a_file_cut_off_by_a_power_loss_counts_as_none(home: Home) -> None:
    state.write(home, StackState("run", me(), (), Disk(1, 2)))
    path = home.run / "stack.json"
    for text in (path.read_text()[:40], "", "{}", "[]"):
        path.write_text(text)
        assert state.read(home) is None


def test_a_process_is_known_by_pid_and_creation_time() -> None:
    assert me().alive()
    assert not me().replaced()
    other = replace(me(), create_time=me().create_time - 100)
    assert not other.alive()
    assert other.replaced()


def test_a_dead_process_and_a_zombie_are_not_alive() -> None:
    child = subprocess.Popen(["true"])
    identity = Process.of(child.pid)
    assert identity
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried
    assert not identity.alive()
    assert not identity.replaced()
    child.wait()
    assert not identity.alive()
    assert not identity.replaced()
    assert Process.of(child.pid) is None


def test_the_disk_is_low_below_the_mark_not_at_it() -> None:
    assert [Disk(free, 500).low for free in (499, 500, 501)] == [True, False, False]
