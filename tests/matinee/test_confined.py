import os
import time
from pathlib import Path

import pytest

from matinee import sandbox
from matinee.confined import ExceededError, call
from matinee.sandbox import Limits, SandboxError

SMALL = Limits(memory_mb=300, cpu_s=1, file_mb=1)


def _call(function: str, *arguments, limits: Limits = SMALL, timeout_s: float = 20):
    return call(function, *arguments, limits=limits, timeout_s=timeout_s)


def test_what_the_function_returns_comes_back():
    assert _call("posixpath:split", "/a/b") == ["/a", "b"]
    assert _call("os:getpid") != os.getpid()


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        ("math:factorial", 10**8, "takes more than 1 s of computing"),
        ("builtins:bytearray", 10**10, "needs more than 300 MB of memory"),
        ("os:abort", None, "makes the program crash (SIGABRT)"),
        ("time:sleep", 60, "takes more than 1.5 s"),
    ],
)
def test_too_much_is_an_error_that_says_of_what(function, argument, message):
    before = time.monotonic()
    with pytest.raises(ExceededError) as caught:
        _call(function, *([] if argument is None else [argument]), timeout_s=1.5 if argument == 60 else 20)
    assert str(caught.value) == message
    assert time.monotonic() - before < 15


@pytest.mark.skipif(not sandbox.landlock_version(), reason="this kernel has no Landlock")
def test_only_what_is_named_can_be_read(tmp_path: Path):
    with pytest.raises(PermissionError):
        _call("os:listdir", str(tmp_path))
    assert _call("os:listdir", str(tmp_path), limits=Limits((tmp_path,), (), 300, 1, 1)) == []


def test_errors_of_the_function_come_back_as_themselves():
    with pytest.raises(FileNotFoundError):
        _call("os:stat", "/not/there")
    with pytest.raises(SandboxError, match="not there"):
        _call("matinee.sandbox:_check", -1, "not there")
    with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
        _call("builtins:int", "x")
