"""Clients that load a server: `wrk` where the system has it, else one of ours; and one that keeps to a pace."""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONNECTIONS = 32
ROUND_S = 2.0
_REPOSITORY = Path(__file__).resolve().parent.parent

_LUA = """
local requests, i = {}, 0
function init(args)
  local file = io.open(os.getenv("BENCH_REQUESTS"), "rb")
  for request in (file:read("*a") .. "\\0"):gmatch("(.-)%z") do requests[#requests + 1] = request end
end
function request() i = i % #requests + 1; return requests[i] end
function done(summary, latency, _)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('RESULT {"done": %d, "us": %d, "failed": %d}', summary.requests, summary.duration, failed))
end
"""


def saturate(port: int, file: Path, seconds: float = ROUND_S) -> tuple[float, int]:
    """As many requests of the file (apart by NUL) as the server bears: requests a second, and how many there were.

    Raises:
        RuntimeError: one failed.
    """
    result = _wrk(port, file, seconds) if shutil.which("wrk") else _own(port, file, seconds)
    if result["failed"] or not result["done"]:
        raise RuntimeError(f"{result['failed']} of {result['done']} requests failed")
    return result["done"] / result["us"] * 1e6, result["done"]


def pace(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    """Milliseconds of each answer, counted from when the request was due: at `rate` a second, whatever comes back."""
    return asyncio.run(_paced(port, requests, rate, seconds))


def _wrk(port: int, file: Path, seconds: float) -> dict[str, int]:
    script = file.with_name("bench.lua")
    script.write_text(_LUA)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    environment = {**os.environ, "BENCH_REQUESTS": str(file)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.rsplit("RESULT ", 1)[1])


def _own(port: int, file: Path, seconds: float) -> dict[str, int]:
    argv = [sys.executable, "-m", "benchmarks.serving_load", str(port), str(file), str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=_REPOSITORY)
    return json.loads(done.stdout)


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Whether the next answer is a good one."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head[9:10] == b"2"


async def _saturated(port: int, requests: Sequence[bytes], seconds: float) -> dict[str, int]:
    start = time.monotonic()
    counts = [0, 0]

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < start + seconds:
            writer.write(requests[number % len(requests)])
            counts[1] += not await _answered(reader)
            counts[0] += 1
            number += CONNECTIONS
        writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return {"done": counts[0], "us": int((time.monotonic() - start) * 1e6), "failed": counts[1]}


async def _paced(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    every = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for link in every:
        free.put_nowait(link)
    waited: list[float] = []

    async def ask(request: bytes, due: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request)
        if not await _answered(reader):
            raise RuntimeError("a request failed")
        waited.append((time.monotonic() - due) * 1000)
        free.put_nowait((reader, writer))

    start, tasks = time.monotonic(), []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        link = await free.get()  # to wait for one counts: the request was due
        tasks.append(asyncio.ensure_future(ask(requests[number % len(requests)], due, *link)))
    await asyncio.gather(*tasks)
    for _, writer in every:
        writer.close()
    return sorted(waited)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(_saturated(given.port, given.file.read_bytes().split(b"\0"), given.seconds))))
