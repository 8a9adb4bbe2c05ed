"""Close this process off, then become the program that is named.

What a `preexec_fn` would do between fork and exec, done where it is safe: in a process with threads and large libraries
the copy that a fork makes may not run Python any more. Started as a script, so that it loads next to nothing.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matinee.sandbox import SandboxError, die_with, limits

if TYPE_CHECKING:
    from matinee.sandbox import Limits

REFUSED = 125  # the exit code where the process could not be closed off; the reason is on stderr


def command(program: Path, arguments: Sequence[str | Path], closed: "Limits | None") -> list[str]:
    """What to start in place of `program`: it dies with the thread that starts it, and keeps to `closed` if given."""
    told: dict[str, Any] = {"parent": os.getpid(), "limits": None}
    if closed is not None:
        told["limits"] = {
            "read": [str(path.absolute()) for path in closed.read],
            "write": [str(path.absolute()) for path in closed.write],
            "execute": [str(program)],
            "memory_mb": closed.memory_mb,
            "cpu_s": closed.cpu_s,
            "file_mb": closed.file_mb,
        }
    return [sys.executable, "-I", "-S", __file__, json.dumps(told), str(program), *map(str, arguments)]


def _main(told: dict[str, Any], argv: list[str]) -> None:
    die_with(told["parent"])
    if closed := told["limits"]:
        paths = {name: [Path(path) for path in closed.pop(name)] for name in ("read", "write", "execute")}
        try:
            limits(**paths, **closed)()
        except SandboxError as error:
            print(error, file=sys.stderr)
            sys.exit(REFUSED)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and what is ignored stays so
        signal.signal(number, signal.SIG_DFL)
    os.execv(argv[0], argv)  # noqa: S606 - the program that the caller named


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]), sys.argv[2:])
