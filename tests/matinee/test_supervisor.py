import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from matinee.errors import StackError
from matinee.settings import Settings
from matinee.stack import state
from matinee.stack.output import Terminal
from matinee.stack.plan import Backoff
from matinee.stack.service import Service
from matinee.stack.state import ServiceState, State
from matinee.stack.supervisor import Supervisor

QUICK = Backoff(first=0.02, longest=0.1, limit=3, window=30)
SLEEP = "import time; print('here'); time.sleep(600)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.load(home=tmp_path / "home")
    made.home.create()
    return made


def service(name: str, code: str = SLEEP, *after: str, ready: Callable[[], bool] = lambda: True) -> Service:
    return Service(name, (sys.executable, "-u", "-c", code), ready, after=after, stop_timeout=5)


@asynccontextmanager
async def running(settings: Settings, *services: Service, **more) -> AsyncIterator[Supervisor]:
    """The supervisor at work; stopped at the end."""
    more = {"backoff": QUICK, "terminal": Terminal(8, io.StringIO()), **more}
    supervisor = Supervisor(settings, services, **more)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        supervisor.stop()
        await asyncio.wait_for(task, 20)


def look(supervisor: Supervisor, name: str) -> ServiceState:
    found = supervisor.snapshot().service(name)
    assert found
    return found


async def until(check: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def settled(supervisor: Supervisor) -> None:
    await until(lambda: supervisor.snapshot().settled)


def said(supervisor: Supervisor) -> str:
    stream = supervisor._terminal.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


async def test_a_service_starts_when_what_it_needs_is_ready(settings: Settings, tmp_path: Path) -> None:
    door = tmp_path / "door"
    first = service("first", ready=door.exists)
    async with running(settings, first, service("second", SLEEP, "first"), service("third")) as supervisor:
        await until(lambda: look(supervisor, "third").state is State.READY)
        assert look(supervisor, "first").state is State.STARTING
        assert look(supervisor, "second").state is State.WAITING
        assert look(supervisor, "second").pid is None
        door.touch()
        await settled(supervisor)
        assert {s.state for s in supervisor.snapshot().services} == {State.READY}
        assert state.read(settings.home) == supervisor.snapshot()


async def test_what_must_follow_readiness_is_done_before_others_go_on(settings: Settings, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    first = replace(service("first"), prepare=lambda: marks.write_text("prepared "))
    first = replace(first, once_ready=lambda: marks.write_text(marks.read_text() + "followed "))
    second = service("second", f"open({str(marks)!r}, 'a').write('second'); {SLEEP}", "first")
    async with running(settings, first, second):
        await until(lambda: marks.exists() and marks.read_text() == "prepared followed second")


async def test_a_killed_child_is_started_again_and_counted(settings: Settings) -> None:
    async with running(settings, service("a"), service("b")) as supervisor:
        await settled(supervisor)
        before = supervisor.snapshot()
        os.kill(look(supervisor, "a").pid or 0, signal.SIGKILL)
        await until(lambda: look(supervisor, "a").restarts == 1 and look(supervisor, "a").state is State.READY)
        assert look(supervisor, "a").pid != before.services[0].pid
        assert look(supervisor, "b") == before.services[1]
        assert "a ended with SIGKILL; starting again in 0.02 s" in said(supervisor)


async def test_a_crash_loop_is_given_up_and_the_rest_goes_on(settings: Settings) -> None:
    services = [
        service("good"),
        service("bad", "raise SystemExit(3)", ready=lambda: False),
        service("kin", SLEEP, "bad"),
    ]
    async with running(settings, *services) as supervisor:
        await settled(supervisor)
        assert look(supervisor, "bad").state is State.FAILED
        assert look(supervisor, "bad").reason == "ended with code 3, 3 times in a row: given up"
        assert look(supervisor, "bad").restarts == QUICK.limit - 1
        assert look(supervisor, "kin").reason == "not started, because it needs bad, which failed"
        assert look(supervisor, "good").state is State.READY


async def test_a_crash_after_a_long_good_time_is_no_loop(settings: Settings) -> None:
    calm = Backoff(first=0.01, limit=2, window=0.0)
    async with running(settings, service("a", "import time; time.sleep(0.05)"), backoff=calm) as supervisor:
        await until(lambda: look(supervisor, "a").restarts >= 3)


async def test_a_service_that_never_gets_ready_is_killed_and_given_up(settings: Settings) -> None:
    never = replace(service("never", ready=lambda: False), ready_timeout=0.1)
    async with running(settings, never) as supervisor:
        await settled(supervisor)
        assert "was not ready after 0.1 s, 3 times in a row" in look(supervisor, "never").reason
        assert look(supervisor, "never").pid is None


async def test_a_program_that_is_not_there_fails_at_once(settings: Settings) -> None:
    absent = Service("absent", ("/no/such/program",), ready=lambda: True)
    async with running(settings, absent) as supervisor:
        await settled(supervisor)
        assert look(supervisor, "absent").reason == "cannot run /no/such/program: No such file or directory"


async def test_an_essential_service_that_cannot_start_ends_everything(settings: Settings) -> None:
    bad = service("postgres", "print('no space'); raise SystemExit(1)", ready=lambda: False)
    supervisor = Supervisor(
        settings,
        [bad, service("other")],
        essential=frozenset({"postgres"}),
        backoff=QUICK,
        terminal=Terminal(8, io.StringIO()),
    )
    with pytest.raises(
        StackError, match=r"postgres ended with code 1, 3 times in a row: given up: see .*postgres\.log"
    ):
        await asyncio.wait_for(supervisor.run(), 20)
    assert {s.state for s in supervisor.snapshot().services} == {State.STOPPED}
    assert "no space" in (settings.home.logs / "postgres.log").read_text()


async def test_a_step_after_readiness_that_fails_stops_the_service(settings: Settings) -> None:
    def refuse() -> None:
        raise StackError("migration 0001 was changed")

    async with running(settings, replace(service("db"), once_ready=refuse)) as supervisor:
        await settled(supervisor)
        assert (look(supervisor, "db").state, look(supervisor, "db").reason) == (
            State.FAILED,
            "migration 0001 was changed",
        )
        assert look(supervisor, "db").pid is None


async def test_stopping_goes_backwards(settings: Settings, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = (
        "import signal, sys, time\n"
        "def bye(*_):\n time.sleep(0.1); open({marks!r}, 'a').write({name!r}); sys.exit()\n"
        "signal.signal(signal.SIGTERM, bye); open({marks!r} + {name!r}, 'w'); time.sleep(600)"
    )
    pieces = [("a", ()), ("b", ("a",)), ("c", ("b",))]
    services = [
        service(name, code.format(marks=str(marks), name=name), *after, ready=Path(f"{marks}{name}").exists)
        for name, after in pieces
    ]
    async with running(settings, *services) as supervisor:
        await settled(supervisor)
    assert marks.read_text() == "cba"
    assert {s.state for s in supervisor.snapshot().services} == {State.STOPPED}


async def test_who_does_not_stop_is_killed_with_all_that_it_started(settings: Settings, tmp_path: Path) -> None:
    """A grandchild in the same group, and one that became a daemon with a session of its own."""
    pids = tmp_path / "pids"
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
grandchildren = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
open({str(pids)!r}, "w").write(" ".join(str(p.pid) for p in grandchildren)); time.sleep(600)
"""
    stubborn = replace(service("stubborn", code, ready=pids.exists), stop_timeout=0.3)
    async with running(settings, stubborn) as supervisor:
        await settled(supervisor)
        await until(lambda: len(pids.read_text().split()) == 2)
        leader = look(supervisor, "stubborn").pid
        family = [psutil.Process(int(pid)) for pid in [*pids.read_text().split(), leader]]
        assert all(process.is_running() for process in family)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert "stubborn did not stop by itself: killed" in said(supervisor)


async def test_a_crashed_leader_leaves_no_children_behind(settings: Settings, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"""
import subprocess, time
child = subprocess.Popen(["sleep", "600"])
open({str(pid)!r}, "w").write(f"{{child.pid}} ")
time.sleep(600)
"""
    async with running(settings, service("a", code, ready=pid.exists)) as supervisor:
        await settled(supervisor)
        await until(lambda: pid.read_text().endswith(" "))
        child = psutil.Process(int(pid.read_text()))
        os.kill(look(supervisor, "a").pid or 0, signal.SIGKILL)
        await until(lambda: look(supervisor, "a").restarts == 1)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_told_twice_it_stops_at_once(settings: Settings, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    code = (
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(deaf)!r}, 'w'); time.sleep(600)"
    )
    async with running(settings, replace(service("deaf", code, ready=deaf.exists), stop_timeout=60)) as supervisor:
        await settled(supervisor)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: look(supervisor, "deaf").state is State.STOPPING)
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: look(supervisor, "deaf").state is State.STOPPED, seconds=5)


async def test_lines_go_to_the_terminal_and_to_the_log_to_the_last_word(settings: Settings) -> None:
    talker = service("talker", "print('première'); print('x' * 200_000); print('last', end='')")
    async with running(settings, talker, backoff=Backoff(limit=1)) as supervisor:
        await settled(supervisor)
        await until(lambda: look(supervisor, "talker").state is State.FAILED)
    log = (settings.home.logs / "talker.log").read_text()
    assert log.startswith("première\n")
    assert log.endswith("last\n")
    assert log.count("x") == 200_000
    assert "talker   | première\n" in said(supervisor)
    assert "talker   | last\n" in said(supervisor)


async def test_a_child_knows_the_settings_and_its_own_environment(settings: Settings, tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = "os.environ['MATINEE_HOME'] + '|' + os.environ['X'] + '|' + os.getcwd()"
    child = replace(
        service("a", f"import os; open({str(told)!r}, 'w').write({words}); {SLEEP}"), env={"X": "1"}, cwd=tmp_path
    )
    async with running(settings, child):
        await until(lambda: told.exists() and told.read_text() == f"{settings.home_path}|1|{tmp_path}")


async def test_a_disk_that_runs_full_is_told_loudly(settings: Settings) -> None:
    scarce = settings.model_copy(update={"disk_watermark_mb": 10**12})
    async with running(scarce, service("a")) as supervisor:
        await settled(supervisor)
        await until(lambda: "MB are free on the disk of" in said(supervisor))
        assert supervisor.snapshot().disk.low


async def test_a_home_that_becomes_unwritable_is_told_and_survived(settings: Settings) -> None:
    async with running(settings, service("a")) as supervisor:
        await settled(supervisor)
        (settings.home.run / "stack.json.tmp").mkdir()
        os.kill(look(supervisor, "a").pid or 0, signal.SIGKILL)
        await until(lambda: look(supervisor, "a").restarts == 1 and look(supervisor, "a").state is State.READY)
        assert said(supervisor).count("cannot write the state to") == 1
