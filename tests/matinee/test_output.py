import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from matinee.stack.output import KEEP_OLD_LOGS, LONGEST_LINE, Lines, RotatingLog, Terminal, rotate


@given(st.lists(st.binary(max_size=40)), st.integers(1, 7))
def test_lines_come_whole_however_the_stream_is_cut(pieces: list[bytes], size: int) -> None:
    stream = b"\n".join(pieces)
    lines = Lines()
    found = [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])] + lines.end()
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in found)
    assert b"".join(found) == stream + (b"\n" if stream and not stream.endswith(b"\n") else b"")


def test_a_line_without_end_is_cut_instead_of_kept() -> None:
    assert [len(line) for line in Lines().feed(b"x" * (LONGEST_LINE + 1))] == [LONGEST_LINE + 2]


def test_a_log_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", limit=100)
    for number in range(60):
        log.write(f"line {number:03}\n".encode())
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert len(files) == KEEP_OLD_LOGS + 1
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert "line 059" in (tmp_path / "a.log").read_text()
    newest_first = [(tmp_path / name).read_text().split()[1] for name in files]
    assert newest_first == sorted(newest_first, reverse=True)


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    for word in (b"one\n", b"two\n"):
        log = RotatingLog(tmp_path / "a.log", limit=100)
        log.write(word)
        log.close()
    assert (tmp_path / "a.log").read_bytes() == b"one\ntwo\n"


def test_a_log_that_cannot_be_written_says_so_and_recovers(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "absent" / "a.log", limit=100)
    log.write(b"lost\n")
    assert isinstance(log.broken, FileNotFoundError)
    (tmp_path / "absent").mkdir()
    log.write(b"kept\n")
    assert log.broken is None
    assert (tmp_path / "absent" / "a.log").read_bytes() == b"kept\n"


def test_rotating_nothing_changes_nothing(tmp_path: Path) -> None:
    rotate(tmp_path / "a.log")
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_shows_who_speaks_and_survives_a_closed_pipe() -> None:
    stream = io.StringIO()
    terminal = Terminal(width=8, stream=stream)
    terminal.line("api", "hello")
    assert stream.getvalue() == "api      | hello\n"

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    terminal = Terminal(width=8, stream=Closed())
    terminal.line("api", "nobody hears this")
    terminal.line("api", "nor this")
    assert terminal.stream.name == "/dev/null"
    terminal.stream.close()


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Terminal(width=3, stream=Tty())
    for name in ("api", "web", "api"):
        coloured.line(name, "x")
    first, second, third = coloured.stream.getvalue().splitlines()
    assert first == third
    assert first.split("m")[0] != second.split("m")[0]
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal(width=3, stream=Tty())
    plain.line("api", "x")
    assert plain.stream.getvalue() == "api | x\n"
