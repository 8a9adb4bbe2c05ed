"""Where the services' lines go: the terminal, with the service's name in front, and `logs/<name>.log`."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

KEEP_OLD_LOGS = 3
# A line longer than this is cut into pieces: a service must not make us hold all that it ever wrote.
LONGEST_LINE = 64 * 1024

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_ALARM = 31


def rotate(path: Path, keep: int = KEEP_OLD_LOGS) -> None:
    """`x.log` becomes `x.log.1`, that one `x.log.2`, and so on; the oldest goes."""
    for number in range(keep, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            os.replace(older, path.with_name(f"{path.name}.{number}"))


class RotatingLog:
    """An append-only file that is rotated when it passes `limit` bytes. A full disk loses lines, not the service."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._limit = limit
        self._file: BinaryIO | None = None
        self.broken: OSError | None = None

    def write(self, line: bytes) -> None:
        try:
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            if self._file.tell() and self._file.tell() + len(line) > self._limit:
                self._file.close()
                self._file = None
                rotate(self.path)
                self._file = self.path.open("ab", buffering=0)
            self._file.write(line)
            self.broken = None
        except OSError as error:
            self.broken = error

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


@dataclass
class Lines:
    """Cuts a stream of bytes into lines."""

    _rest: bytes = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, each with its newline."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line + b"\n" for line in lines]

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest + b"\n"] if rest else []


@dataclass
class Terminal:
    """`name | line`, each name in its colour where the stream is a terminal that wants colours."""

    width: int
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    colours: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._coloured = self.stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str, *, alarm: bool = False) -> None:
        label = f"{name:<{self.width}} |"
        if self._coloured:
            colour = self.colours.setdefault(name, _COLOURS[len(self.colours) % len(_COLOURS)])
            label = f"\x1b[{colour}m{label}\x1b[0m"
            text = f"\x1b[1;{_ALARM}m{text}\x1b[0m" if alarm else text
        try:
            print(label, text, file=self.stream, flush=True)
        except OSError:  # nobody reads any more (`matinee up | head`); the logs have it all
            self.stream = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of our life
            self._coloured = False
