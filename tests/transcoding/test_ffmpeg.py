import resource
import threading
from pathlib import Path

import pytest

from matinee.sandbox import landlock_version
from transcoding import ffmpeg
from transcoding.errors import TimeLimitError, TranscodingError, TransientError
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
        ("[vist#0:0/h264 @ 0x5a] [dec:h264 @ 0x6b] corrupt decoded frame\n", 1, "corrupt decoded frame"),
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
    with pytest.raises(TimeLimitError, match="not done after 1 s"):
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


def _copy(source: Path, target: Path, *more: str) -> list[str]:
    return ["-nostdin", "-v", "error", "-progress", "pipe:1", "-i", f"file:{source}", *more, f"file:{target}"]


def test_a_closed_off_ffmpeg_reads_and_writes_what_it_may(clip: Path, tmp_path: Path) -> None:
    allowed = ffmpeg.confined(clip, write=[tmp_path], timeout_s=20)
    assert ffmpeg.run(_copy(clip, tmp_path / "copy.mkv", "-t", "1"), timeout_s=20, sandbox=allowed).frames == 24
    small = ffmpeg.confined(clip, write=[tmp_path], timeout_s=20, memory_mb=40)
    with pytest.raises(TranscodingError, match=r"allocate memory|crashed|temporarily unavailable"):
        ffmpeg.run(_copy(clip, tmp_path / "again.mkv"), timeout_s=20, sandbox=small)
    short = ffmpeg.confined(clip, write=[tmp_path], timeout_s=20, file_mb=0)
    with pytest.raises(TranscodingError, match=r"wrote more than it may|File too large"):
        ffmpeg.run(_copy(clip, tmp_path / "full.mkv"), timeout_s=20, sandbox=short)


@pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")
def test_a_closed_off_ffmpeg_reads_and_writes_nothing_else(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(TranscodingError, match="Permission denied"):
        ffmpeg.run(
            _copy(clip, tmp_path / "copy.mkv"),
            timeout_s=20,
            sandbox=ffmpeg.confined(clip, write=[tmp_path / "other"], timeout_s=20),
        )
    with pytest.raises(TranscodingError, match="Permission denied"):
        ffmpeg.run(
            _copy(clip, tmp_path / "other" / "copy.mkv"),
            timeout_s=20,
            sandbox=ffmpeg.confined(tmp_path, write=[tmp_path], timeout_s=20),
        )


def living_encoders() -> list[str]:
    import psutil

    return [child.name() for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_the_bundled_ffmpeg_tone_maps(ffmpeg: Path) -> None:
    from transcoding.ffmpeg import executable, has_tone_mapper, version

    assert executable() == str(ffmpeg)
    assert version()
    assert has_tone_mapper()


def test_a_meter_counts_the_cpu_of_what_runs_within_it(clip: Path, tmp_path: Path) -> None:
    whole = resource.getrusage(resource.RUSAGE_CHILDREN)
    with ffmpeg.metered() as meter:
        ffmpeg.run(_copy(clip, tmp_path / "one.mkv", "-c:v", "libx264", "-threads", "1"), timeout_s=60)
        one = meter.cpu_s
        with pytest.raises(TranscodingError):
            ffmpeg.run(_copy(clip, tmp_path / "no" / "such" / "folder.mkv"), timeout_s=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - whole.ru_utime - whole.ru_stime
    assert 0 < one <= meter.cpu_s
    assert meter.cpu_s == pytest.approx(used, rel=0.1, abs=0.05)
    ffmpeg.run(_copy(clip, tmp_path / "two.mkv"), timeout_s=60)
    assert meter.cpu_s == pytest.approx(used, rel=0.1, abs=0.05), "what runs outside is not counted"
