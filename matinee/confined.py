"""Call a function in a child process that is closed off: for code that reads what a stranger sent."""

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from matinee import sandbox
from matinee.errors import MatineeError
from matinee.sandbox import Limits, SandboxError

_LARGEST_ANSWER = 64 * 2**20


class ExceededError(SandboxError):
    """The call took more than it may; the message says of what, as in 'takes more than 30 s'."""


def call(function: str, *arguments: Any, limits: Limits, timeout_s: float, load: Sequence[str] = ()) -> Any:
    """`function` ('module:name') of these arguments, all as JSON, in a new Python that can open `limits.read` alone.

    It loads the function's module and the packages of `load` first. What is loaded later is found in these packages
    and the standard library alone.

    Raises:
        ExceededError: too long, too much memory, or the process crashed.
        MatineeError, OSError: what the function raised.
        SandboxError: no child can be started.
        RuntimeError: anything else that it raised, a defect; the message is its traceback.
    """
    task = {
        "function": function,
        "arguments": arguments,
        "load": list(load),
        "limits": [[str(path.absolute()) for path in limits.read], limits.memory_mb, limits.cpu_s, limits.file_mb],
        "parent": os.getpid(),
    }
    argv = [sys.executable, "-S", "-m", __name__, json.dumps(task)]
    # Where this process finds its modules the child does, too, without reading what `site` would read again.
    places = [str(Path(place).absolute()) for place in [*sys.path, Path(__file__).parents[1]] if place]
    environment = {"PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start {sys.executable}: {error.strerror or error}") from error
        try:
            said = _read(process, time.monotonic() + timeout_s, timeout_s)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        if not said:
            complaints.seek(0)
            raise _ended(process.returncode, limits, complaints.read(_LARGEST_ANSWER).decode(errors="replace"))
    return _answer(json.loads(said), limits)


def _read(process: subprocess.Popen[bytes], deadline: float, timeout_s: float) -> bytes:
    assert process.stdout is not None
    said = bytearray()
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(process.stdout.fileno(), 2**20)
        if not piece:
            process.wait(max(0.1, deadline - time.monotonic()))
            return bytes(said)
        said += piece
        if len(said) > _LARGEST_ANSWER:
            raise ExceededError(f"answers with more than {_LARGEST_ANSWER >> 20} MB")
    raise ExceededError(f"takes more than {timeout_s:g} s")


def _ended(code: int, limits: Limits, complaints: str) -> Exception:
    if code == -signal.SIGXCPU:
        return ExceededError(f"takes more than {limits.cpu_s} s of computing")
    if code < 0:
        return ExceededError(f"makes the program crash ({signal.Signals(-code).name})")
    return RuntimeError(f"a confined call ended with code {code}:\n{complaints}")


def _answer(said: dict[str, Any], limits: Limits) -> Any:
    if "value" in said:
        return said["value"]
    if said["error"] == "MemoryError":
        raise ExceededError(f"needs more than {limits.memory_mb:,} MB of memory")
    if said["error"] == "OSError":
        raise OSError(*said["arguments"])
    # Only what is known here already: the child was given something that may have taken it over.
    kind = getattr(sys.modules.get(said["module"]), said["error"], None)
    if isinstance(kind, type) and issubclass(kind, MatineeError):
        raise kind(*said["arguments"])
    raise RuntimeError(said["traceback"])


def _main(task: dict[str, Any]) -> None:
    sandbox.die_with(task["parent"])
    module, name = task["function"].split(":")
    packages = [importlib.import_module(other) for other in task["load"]]
    function = getattr(importlib.import_module(module), name)
    read, memory_mb, cpu_s, file_mb = task["limits"]
    paths = [*map(Path, read), *(Path(str(package.__file__)).parent for package in (os, *packages))]
    sandbox.limits(paths, (), memory_mb=memory_mb, cpu_s=cpu_s, file_mb=file_mb)()
    try:
        answer = {"value": function(*task["arguments"])}
    except MemoryError:
        answer = {"error": "MemoryError"}
    except OSError as error:
        answer = {"error": "OSError", "arguments": [error.errno, error.strerror or str(error)]}
    except Exception as error:  # noqa: BLE001 - told to the parent, who raises it
        answer = {"error": type(error).__name__, "module": type(error).__module__, "arguments": [str(error)]}
        answer["traceback"] = traceback.format_exc()
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
