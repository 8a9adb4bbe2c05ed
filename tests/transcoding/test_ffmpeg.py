import threading
from pathlib import Path

import pytest

from transcoding import ffmpeg
from transcoding.errors import TranscodingError, TransientError
from transcoding.ffmpeg import Progress, parse_progress, telling_line

ENDLESS = ["-nostdin", "-v", "error", "-progress", "pipe:1", "-re", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-"]


def test_progress_keeps_what_a_block_leaves_out() -> None:
    first = parse_progress("frame=12\nfps=0.0\nout_time_us=480000\nspeed=2x\n", Progress(0, 0))
    assert first == Progress(0.48, 12)
    assert parse_progress("frame=13\nout_time_us=N/A\n", first) == Progress(0.48, 13)
    assert parse_progress("out_time_us=-42\n", first) == first


@pytest.mark.parametrize(
    ("complaints", "code", "line"),
    [
        ("[mov @ 0x5566aa] moov atom not found\n[in#0 @ 0x12] Error opening input\n", 1, "moov atom not found"),
        ("\nConversion failed!\n", 234, "ffmpeg ended with code 234"),
        ("", -9, "ffmpeg was killed by signal 9"),
    ],
)
def test_the_telling_line(complaints: str, code: int, line: str) -> None:
    assert telling_line(complaints, code) == line


def test_an_error_names_its_cause() -> None:
    with pytest.raises(TranscodingError, match="No such file"):
        ffmpeg.run(
            ["-nostdin", "-v", "error", "-progress", "pipe:1", "-i", "file:/nowhere.mp4", "-f", "null", "-"],
            timeout_s=20,
        )


def test_the_time_limit_ends_it() -> None:
    with pytest.raises(TranscodingError, match="not done after 1 s"):
        ffmpeg.run(ENDLESS, timeout_s=1)
    assert living_encoders() == []


def test_cancelling_ends_it() -> None:
    cancel = threading.Event()
    with pytest.raises(TransientError, match="cancelled"):
        ffmpeg.run(ENDLESS, timeout_s=60, cancel=cancel, on_progress=lambda _: cancel.set())


def test_a_listener_that_fails_ends_it() -> None:
    def fail(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffmpeg.run(ENDLESS, timeout_s=60, on_progress=fail)
    assert living_encoders() == []


def living_encoders() -> list[str]:
    import psutil

    return [child.name() for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_the_bundled_ffmpeg_tone_maps(ffmpeg: Path) -> None:
    from transcoding.ffmpeg import executable, has_tone_mapper, version

    assert executable() == str(ffmpeg)
    assert version()
    assert has_tone_mapper()
