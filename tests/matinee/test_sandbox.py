import socket
import subprocess
import sys
from pathlib import Path

import pytest

from matinee import sandbox
from matinee.sandbox import SandboxError

CODE = {
    "read": "open({path!r}).read()",
    "list": "import os; os.listdir({path!r})",
    "write": "open({path!r} + '/new', 'wb').write(bytes(100))",
    "write much": "open({path!r} + '/much', 'wb').write(bytes(3_000_000))",
    "remove": "import os; os.unlink({path!r} + '/old')",
    "connect": "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "memory": "bytearray(500_000_000)",
    "kill": "import os, signal; os.kill(os.getppid(), 0)",
    "compute": "while True: pass",
}
needs_landlock = pytest.mark.skipif(not sandbox.landlock_version(), reason="this kernel has no Landlock")


@pytest.fixture
def attempt(tmp_path: Path):
    """Runs one of `CODE` in a closed-off Python; `folder` may be read and written if told. Returns the last line."""
    (tmp_path / "old").write_text("old")
    python = [Path(sys.executable).resolve(), *(Path(p) for p in sys.path if Path(p).is_dir() and p)]
    used = {"execute": python, "memory_mb": 200, "cpu_s": 1, "file_mb": 1}

    def run(what: str, read: bool = False, write: bool = False, **values: object) -> str:
        code = CODE[what].format(path=str(tmp_path), **values)
        close_off = sandbox.limits([tmp_path] if read else [], [tmp_path] if write else [], **used)
        argv = [python[0], "-S", "-c", code]
        done = subprocess.run(argv, preexec_fn=close_off, capture_output=True, text=True, timeout=30)
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]

    return run


@needs_landlock
@pytest.mark.parametrize("what", ["list", "write", "remove"])
def test_no_folder_but_the_named_ones(attempt, what):
    assert attempt(what).startswith("PermissionError")
    assert attempt(what, write=True) == ""


@needs_landlock
def test_what_may_be_read_may_not_be_written(attempt):
    assert attempt("list", read=True) == ""
    assert attempt("write", read=True).startswith("PermissionError")


@pytest.mark.skipif(not sandbox.has_seccomp(), reason="no seccomp here")
def test_no_network(attempt):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        assert attempt("connect", port=server.getsockname()[1]).startswith("PermissionError")
        with pytest.raises(TimeoutError):
            server.accept()


def test_limits_of_memory_time_and_size(attempt):
    assert attempt("memory") == "MemoryError"
    assert attempt("compute") == "-24"
    assert attempt("write much", write=True).startswith("OSError: [Errno 27]")


@pytest.mark.skipif(sandbox.landlock_version() < 6, reason="Landlock 6 keeps signals inside")
def test_no_signal_to_others(attempt):
    assert attempt("kill").startswith("PermissionError")


def test_a_path_that_is_not_there_is_named(tmp_path):
    if not sandbox.landlock_version():
        pytest.skip("no Landlock: paths are not looked at")
    with pytest.raises(SandboxError, match=r"gone.*is not there"):
        sandbox.limits([tmp_path / "gone"], [], memory_mb=1, cpu_s=1, file_mb=1)
