"""The bundled ffmpeg as a child process: progress, a time limit, cancelling, and one line when it fails."""

import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from matinee import launcher
from matinee.sandbox import Limits
from transcoding.errors import TimeLimitError, TranscodingError, TransientError

_NOISE = re.compile(
    r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] ?)+|^Svt\[(info|warn)\].*|^Conversion failed!$"
    r"|^Error (opening|while) (output|filtering)"
)
_POLL_S = 0.25
_MOST_TOLD = 2**20  # bytes of complaints that are read: a damaged film can make gigabytes of them
# Signals that end an ffmpeg which took more than it may, or which a film made crash: trying again would not help.
_OF_THE_FILM: dict[int, str] = {
    signal.SIGXCPU: "ffmpeg took more computing than it may",
    signal.SIGXFSZ: "ffmpeg wrote more than it may",
    signal.SIGSEGV: "ffmpeg crashed",
}


@dataclass(frozen=True)
class Progress:
    """How far ffmpeg is: `seconds` of output and `frames` of the first video output."""

    seconds: float
    frames: int


@cache
def executable() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@cache
def version() -> str:
    """ffmpeg's own version word, such as `n9.0.2-17-g2a571b6068-20260930`."""
    out = subprocess.run([executable(), "-version"], capture_output=True, text=True, check=True).stdout
    return out.split()[2]


@cache
def has_tone_mapper() -> bool:
    """Whether this ffmpeg can turn HDR into SDR (filters `zscale` and `tonemap`)."""
    out = subprocess.run([executable(), "-v", "error", "-filters"], capture_output=True, text=True, check=True).stdout
    return {"zscale", "tonemap"} <= {words[1] for line in out.splitlines() if len(words := line.split()) > 1}


def confined(
    *read: Path, write: Sequence[Path] = (), timeout_s: float, memory_mb: int | None = None, file_mb: int = 2**20
) -> Limits:
    """Limits for an ffmpeg that reads a master: those files, those folders to write into, and no more.

    Memory is three quarters of the machine's unless given; computing as much as all cores do until the time is over.
    """
    if memory_mb is None:
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4 // 2**20
    computing = int(timeout_s * (os.cpu_count() or 1)) + 1
    return Limits(read, tuple(write), memory_mb=memory_mb, cpu_s=computing, file_mb=file_mb)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    timeout_s: float,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    strict: bool = False,
    sandbox: Limits | None = None,
) -> Progress:
    """Run ffmpeg to its end; the arguments must contain `-progress pipe:1`. Returns the last progress it told.

    With `strict` an error that it reports and then conceals is a failure too. `sandbox` (see `confined`) closes it off
    from all other files, from the network and from more memory: for all that reads a master.

    ffmpeg and its children are one process group, killed when the time is over, when `cancel` is set, when
    `on_progress` raises, and when this process dies.

    Raises:
        TransientError: cancelled, killed from outside, or out of disk space.
        TimeLimitError: it took longer than `timeout_s`.
        TranscodingError: ffmpeg failed (the line that says why), or took more than `sandbox` allows.
    """
    if gone := [path for path in (*sandbox.read, *sandbox.write) if not path.exists()] if sandbox else []:
        raise TransientError(f"{gone[0]} is not there, so no process can be allowed to use it")
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            launcher.command(Path(executable()), arguments, sandbox),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            last = _follow(process, time.monotonic() + timeout_s, timeout_s, on_progress, cancel)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _account(process.pid)
            process.wait()
            if process.stdout:
                process.stdout.close()
        complaints.seek(0)
        told = complaints.read(_MOST_TOLD).decode(errors="replace")
        if process.returncode != 0 or (strict and told.strip()):
            line = telling_line(told, process.returncode)
            if of_the_film := _OF_THE_FILM.get(-process.returncode):
                raise TranscodingError(of_the_film)
            closed_off = process.returncode != launcher.REFUSED
            not_its_own = process.returncode < 0 or not closed_off or "No space left on device" in line
            raise (TransientError if not_its_own else TranscodingError)(line)
        return last


def _follow(
    process: subprocess.Popen[bytes],
    deadline: float,
    timeout_s: float,
    on_progress: Callable[[Progress], None] | None,
    cancel: threading.Event | None,
) -> Progress:
    assert process.stdout is not None
    last, pending = Progress(0.0, 0), b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if cancel is not None and cancel.is_set():
                raise TransientError("cancelled")
            if time.monotonic() > deadline:
                raise TimeLimitError(f"ffmpeg was not done after {timeout_s:.0f} s")
            if not selector.select(_POLL_S):
                continue
            chunk = _read(process.stdout)
            if not chunk:
                _await_exit(process.pid, max(deadline, time.monotonic() + 0.1), timeout_s)
                return last
            *blocks, pending = (pending + chunk).split(b"progress=")
            for block in blocks:
                last = parse_progress(block.decode(), last)
                if on_progress is not None:
                    on_progress(last)


def _await_exit(pid: int, deadline: float, timeout_s: float) -> None:
    """Wait for the end of a child and leave it unreaped: what it used is told until then."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            raise TimeLimitError(f"ffmpeg was not done after {timeout_s:.0f} s")
        time.sleep(0.005)


@dataclass
class Meter:
    """CPU seconds (user and system) of the ffmpeg processes that one thread ran."""

    cpu_s: float = 0.0


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """Count what every `run` of this thread uses within the block."""
    meter = Meter()
    before = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(before)


def _account(pid: int) -> None:
    meter = _METER.get()
    if meter is None:
        return
    import psutil

    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    used = psutil.Process(pid).cpu_times()
    meter.cpu_s += used.user + used.system


def _read(stream: IO[bytes]) -> bytes:
    return os.read(stream.fileno(), 65_536)


def parse_progress(block: str, before: Progress) -> Progress:
    """One block of ffmpeg's `-progress` output; what it leaves out or calls N/A stays as it was."""
    told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)

    def number(key: str, otherwise: float) -> float:
        text = told.get(key, "").strip()
        return float(text) if re.fullmatch(r"-?\d+", text) else otherwise

    seconds = number("out_time_us", before.seconds * 1e6) / 1e6
    return Progress(max(seconds, before.seconds), int(number("frame", before.frames)))


def telling_line(complaints: str, code: int) -> str:
    """The line of ffmpeg's standard error that names the cause: the first one that is not decoration."""
    lines = [_NOISE.sub("", line).strip() for line in complaints.splitlines()]
    telling = [line for line in lines if line]
    if telling:
        return telling[0]
    return f"ffmpeg was killed by signal {-code}" if code < 0 else f"ffmpeg ended with code {code}"
