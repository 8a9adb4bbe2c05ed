"""The stack as a person meets it: `up`, `down`, `status`, and what `kill -9` leaves behind."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from stack_harness import SLEEP, Stack, eventually

from matinee.settings import Settings
from matinee.stack import leftovers, state
from matinee.stack.session import services
from matinee.stack.state import Disk, Process, ServiceState, StackState, State

# Starts a child that ignores the polite signal and has left the group, writes its pid down, and waits.
WITH_GRANDCHILD = """
import os, subprocess, sys, time
code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
open(os.path.join(os.environ["MATINEE_HOME"], "grandchild"), "w").write(str(child.pid))
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def says(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text()


def test_up_in_the_background_status_and_down(stack: Stack) -> None:
    stack.services = [{"name": "one", "code": SLEEP, "port": True}, {"name": "two", "code": SLEEP, "after": ["one"]}]
    before = stack.status()
    assert {name: (row["state"], row["pid"]) for name, row in before.items()} == {
        "one": ("stopped", None),
        "two": ("stopped", None),
    }
    assert not stack.home.exists()

    up = stack.run("up", "--detach")
    assert (up.returncode, up.stderr) == (0, "")
    now = stack.status()
    assert list(now["one"]) == ["name", "state", "pid", "address", "log", "since", "restarts"]
    assert [row["state"] for row in now.values()] == ["ready", "ready"]
    assert now["one"]["address"] in up.stdout
    assert all(alive(row["pid"]) for row in now.values())
    eventually(lambda: says(Path(now["one"]["log"]), "here"))

    down = stack.run("down")
    assert down.returncode == 0
    assert "one" in down.stdout
    assert not any(alive(row["pid"]) for row in now.values())
    assert not alive(stack.known.supervisor.pid)
    assert [row["state"] for row in stack.status().values()] == ["stopped", "stopped"]
    assert "nothing was running" in stack.run("down").stdout


def test_in_the_foreground_it_shows_lines_and_stops_on_ctrl_c(stack: Stack) -> None:
    stack.services = [{"name": "one", "code": SLEEP}]
    process = stack.start("up")
    eventually(lambda: state.living(Settings.load(home=stack.home).home) and stack.known.settled)
    pid = stack.known.services[0].pid
    assert pid
    eventually(lambda: says(stack.home / "logs/one.log", "here"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "one   | here" in out
    assert "stack | everything is stopped" in out
    assert not alive(pid)


def test_a_second_up_is_refused_while_the_first_lives(stack: Stack) -> None:
    stack.services = [{"name": "one", "code": SLEEP}]
    assert stack.run("up", "--detach").returncode == 0
    first = stack.known
    again = stack.run("up")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert f"is already up (pid {first.supervisor.pid})" in again.stderr
    detached = stack.run("up", "--detach")
    assert detached.returncode == 0
    assert "already up" in detached.stdout
    assert stack.known == first


def test_only_starts_the_named_service_and_what_it_needs(stack: Stack) -> None:
    stack.services = [
        {"name": "one", "code": SLEEP},
        {"name": "two", "code": SLEEP, "after": ["one"]},
        {"name": "three", "code": SLEEP},
    ]
    assert stack.run("up", "--detach", "--only", "two").returncode == 0
    assert {name: row["state"] for name, row in stack.status().items()} == {
        "one": "ready",
        "two": "ready",
        "three": "stopped",
    }
    wrong = stack.run("down"), stack.run("up", "--only", "four")
    assert wrong[1].returncode == 1
    assert "no service is called 'four': choose from one, two, three" in wrong[1].stderr


def test_a_service_that_keeps_crashing_makes_up_say_so(stack: Stack) -> None:
    stack.services = [{"name": "bad", "code": "raise SystemExit(7)"}, {"name": "good", "code": SLEEP}]
    up = stack.run("up", "--detach")
    # `ready` answers at once, so the crash may come before or after `up` has seen it ready.
    eventually(lambda: stack.status()["bad"]["state"] == "failed", seconds=30)
    assert up.returncode in (0, 1)
    assert stack.status()["good"]["state"] == "ready"
    assert stack.status()["bad"]["restarts"] == 4
    assert "bad failed: ended with code 7, 5 times in a row" in (stack.home / "logs/stack.log").read_text()


def test_a_killed_supervisor_takes_its_children_with_it_and_the_next_up_cleans_the_rest(stack: Stack) -> None:
    stack.services = [{"name": "parent", "code": WITH_GRANDCHILD}, {"name": "plain", "code": SLEEP}]
    assert stack.run("up", "--detach").returncode == 0
    eventually((stack.home / "grandchild").exists)
    children = [service.pid or 0 for service in stack.known.services]
    grandchild = int((stack.home / "grandchild").read_text())

    os.kill(stack.known.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in children))
    assert alive(grandchild), "it ignores signals and is in no group of ours: only its mark betrays it"
    assert [row["state"] for row in stack.status().values()] == ["stopped", "stopped"]

    (stack.home / "grandchild").unlink()
    assert stack.run("up", "--detach").returncode == 0
    assert not alive(grandchild)
    assert "cleaned up after a killed stack" in (stack.home / "logs/stack.log").read_text()
    assert [row["state"] for row in stack.status().values()] == ["ready", "ready"]
    eventually((stack.home / "grandchild").exists)
    newer = int((stack.home / "grandchild").read_text())
    assert stack.run("down").returncode == 0
    assert not alive(newer)


def test_a_child_that_outlives_its_supervisor_is_shown_and_stopped_by_down(stack: Stack) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    stack.services = [{"name": "deaf", "code": deaf, "stop_timeout": 0.2}]
    assert stack.run("up", "--detach").returncode == 0
    pid = stack.known.services[0].pid or 0
    eventually(lambda: says(stack.home / "logs/deaf.log", "here"))
    os.kill(stack.known.supervisor.pid, signal.SIGKILL)
    eventually(lambda: stack.status()["deaf"]["state"] == "orphaned")
    assert alive(pid)
    assert "stopped deaf" in stack.run("down").stdout
    assert not alive(pid)


def test_a_reused_pid_is_never_touched(tmp_path: Path) -> None:
    """The state names a process of ours by its pid, but with another creation time: it is somebody else's."""
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        real = Process.of(bystander.pid)
        assert real
        ours = ServiceState("old", State.READY, pid=real.pid, create_time=real.create_time, stop_timeout=5)
        reused = replace(ours, create_time=real.create_time - 3_600)
        gone = StackState("run", Process(1, 0.0), (reused,), Disk(1, 1))
        assert leftovers.clean(gone) == []
        assert bystander.poll() is None
        assert leftovers.clean(replace(gone, services=(ours,))) == ["old"]
        assert bystander.wait(5) < 0  # by which signal is its own affair: it inherits which ones it heeds
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_in_use_is_one_line(stack: Stack) -> None:
    stack.services = [{"name": "api", "code": SLEEP, "port": True}]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stack.env["MATINEE_API_PORT"] = str(taken.getsockname()[1])
        for words in (["up"], ["up", "--detach"]):
            up = stack.run(*words)
            assert (up.returncode, up.stderr.count("\n")) == (1, 1)
            assert f"port {taken.getsockname()[1]} for api is in use" in up.stderr


def test_a_full_disk_is_one_line(stack: Stack, tmp_path: Path) -> None:
    stack.home = tmp_path / "disk"
    stack.home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", stack.home], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        Settings.load(home=stack.home).home.create()
        with contextlib.suppress(OSError), (stack.home / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        up = stack.run("up")
        assert (up.returncode, up.stderr.count("\n")) == (1, 1)
        assert "No space left on device" in up.stderr
        assert "free some disk space" in up.stderr
    finally:
        subprocess.run(["umount", "--lazy", stack.home], check=True)


def test_a_real_stack_survives_a_kill_below_a_private_folder(whole_stack: Stack, tmp_path: Path) -> None:
    """PostgreSQL and Redis of its own; the supervisor is killed with kill -9; what was written is there afterwards."""
    import psycopg
    import redis

    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    whole_stack.home = private / "home"
    whole_stack.services = [{"name": "app", "code": SLEEP, "after": ["postgres", "redis"]}]
    settings = Settings.load(home=whole_stack.home)

    assert whole_stack.run("up", "--detach").returncode == 0
    pids = [service.pid or 0 for service in whole_stack.known.services]
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS x")
        redis.Redis.from_url(settings.redis()).set("kept", "42")
        with services(settings):  # a command beside a running stack uses what runs
            assert redis.Redis.from_url(settings.redis()).get("kept") == b"42"
    assert [service.pid for service in whole_stack.known.services] == pids

    os.kill(whole_stack.known.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids))
    assert whole_stack.run("up", "--detach").returncode == 0
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT x FROM kept").fetchone() == (42,)
    assert redis.Redis.from_url(settings.redis()).get("kept") == b"42"

    killed = whole_stack.known.service("postgres")
    assert killed
    os.kill(killed.pid or 0, signal.SIGKILL)
    with services(settings), psycopg.connect(settings.database()) as connection:  # waits for the supervisor's restart
        assert connection.execute("SELECT x FROM kept").fetchone() == (42,)
    assert whole_stack.status()["postgres"]["restarts"] >= 1
    assert whole_stack.run("down").returncode == 0
    assert [row["state"] for row in whole_stack.status().values()] == ["stopped"] * 3


@pytest.mark.slow
def test_killed_at_any_moment_the_next_up_works_and_nothing_is_left(whole_stack: Stack) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole_stack.services = [{"name": "parent", "code": WITH_GRANDCHILD, "after": ["postgres", "redis"]}]
    for _ in range(12):
        up = whole_stack.start("up")
        time.sleep(chance.uniform(0.2, 4))
        up.kill()
        up.communicate()
    assert whole_stack.run("up", "--detach").returncode == 0
    assert [service.state for service in whole_stack.known.services] == ["ready"] * 3
    assert whole_stack.run("down").returncode == 0
    left = [p for p in psutil.process_iter() if str(whole_stack.home) in " ".join(command_and_environment(p))]
    assert left == []


def command_and_environment(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else [*process.cmdline(), *process.environ().values()]
    except psutil.Error:
        return []


def test_up_waits_for_a_command_that_runs_its_own_services_and_two_homes_do_not_collide(
    whole_stack: Stack, base: Settings
) -> None:
    import psycopg
    import redis

    settings = Settings.load(home=whole_stack.home)
    with services(settings):
        up = whole_stack.start("up", "--detach")
        eventually(lambda: says(settings.home.logs / "stack.log", "another command uses the services"))
        assert up.poll() is None
        for number, home in enumerate((base, settings)):
            redis.Redis.from_url(home.redis()).set("home", number)
            with psycopg.connect(home.database(), autocommit=True) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS scratch_home (number int)")
                connection.execute("INSERT INTO scratch_home VALUES (%s)", (number,))
        assert redis.Redis.from_url(base.redis()).get("home") == b"0"
        with psycopg.connect(base.database(), autocommit=True) as connection:
            assert connection.execute("SELECT number FROM scratch_home").fetchall() == [(0,)]
            connection.execute("DROP TABLE scratch_home")
    up.communicate(timeout=60)
    assert up.returncode == 0
    assert [service.state for service in whole_stack.known.services] == ["ready", "ready"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_than_root_runs_the_whole_stack(whole_stack: Stack, tmp_path: Path) -> None:
    user = "nobody"
    probe = [sys.executable, "-c", "import matinee.stack.launch"]
    try:
        readable = subprocess.run(probe, user=user, cwd="/", capture_output=True).returncode == 0
    except PermissionError:  # the interpreter itself lies below a folder that only its owner may enter
        readable = False
    if not readable:
        pytest.skip(f"{user} may not read the environment at {sys.prefix}")
    folder = Path(tempfile.mkdtemp(prefix="matinee-other-"))  # not below pytest's folder, which only root may enter
    app = folder / "stack_app.py"
    try:
        shutil.copyfile(Path(__file__).with_name("stack_app.py"), app)
        shutil.chown(folder, user)
        folder.chmod(0o755)
        whole_stack.app, whole_stack.home, whole_stack.user = app, folder / "home", user
        whole_stack.services = [{"name": "app", "code": SLEEP, "after": ["postgres", "redis"]}]
        up = whole_stack.run("up", "--detach")
        assert (up.returncode, up.stderr) == (0, "")
        rows = whole_stack.status()
        assert [row["state"] for row in rows.values()] == ["ready"] * 3
        assert {psutil.Process(row["pid"]).username() for row in rows.values()} == {user}
        refused = Stack(folder / "second", app=app, user="daemon").run("up")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "Permission denied" in refused.stderr
        assert whole_stack.run("down").returncode == 0
    finally:
        whole_stack.tidy()
        shutil.rmtree(folder)


def test_status_as_json_is_a_plain_list(stack: Stack) -> None:
    stack.services = [{"name": "one", "code": SLEEP}]
    done = stack.run("status", "--json")
    assert json.loads(done.stdout)[0]["log"].endswith("home/logs/one.log")
    assert stack.run("status").returncode == 0
