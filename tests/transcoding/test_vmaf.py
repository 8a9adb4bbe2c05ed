"""VMAF on real files: the right frames meet, and what does not match is told."""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from transcoding.arguments import encode_arguments, folders
from transcoding.errors import TranscodingError
from transcoding.plan import Chunk, Plan, plan_ladder
from transcoding.source import Source, read_source
from transcoding.vmaf import measure_chunk, reference_size, sampled_segments, vmaf

# Every frame has its own number in it: a pairing that is one frame off costs many points.
PICTURE = "testsrc2=size=320x240:rate=25:duration=14"


@pytest.fixture(scope="module")
def source(film: Callable[..., Path]) -> Source:
    return read_source(film("numbers.mp4", PICTURE, options=["-g", "75", "-crf", "12"]))


@pytest.fixture(scope="module")
def plan(source: Source) -> Plan:
    return plan_ladder(source, heights=(240, 120))


def encode_chunk(plan: Plan, source: Source, chunk: Chunk, out: Path, ffmpeg: Path) -> None:
    for folder in folders(plan):
        (out / folder).mkdir(parents=True)
    arguments = encode_arguments(plan, source, out, chunk=chunk)
    subprocess.run([ffmpeg, *arguments], check=True, capture_output=True)


def test_finished_segments_of_a_later_chunk_meet_their_own_frames(
    plan: Plan, source: Source, tmp_path: Path, ffmpeg: Path
) -> None:
    cut = dataclasses.replace(plan, chunk_segments=1)
    last = cut.chunks[-1]
    assert last == Chunk(1, 1, 2, 150, 200)
    encode_chunk(cut, source, last, tmp_path, ffmpeg)
    made = measure_chunk(cut, source, last, tmp_path, cut.rungs)
    assert list(made) == ["240p", "120p"]
    assert [(score.segment, score.frames) for score in made["240p"]] == [(2, 50)]
    full, half = made["240p"][0].vmaf, made["120p"][0].vmaf
    assert full > 85
    assert half < full - 10
    shifted = dataclasses.replace(last, first_frame=last.first_frame - 1)
    assert measure_chunk(cut, source, shifted, tmp_path, cut.rungs[:1])["240p"][0].vmaf < full - 5


def test_hdr_is_not_scored(plan: Plan, source: Source, tmp_path: Path) -> None:
    rungs = [dataclasses.replace(rung, hdr=True) for rung in plan.rungs]
    assert measure_chunk(plan, source, plan.chunks[0], tmp_path, rungs) == {}


def test_a_file_with_frames_missing_is_refused(plan: Plan, source: Source, tmp_path: Path, ffmpeg: Path) -> None:
    short = tmp_path / "short.nut"
    command = [ffmpeg, "-v", "error", "-i", source.path, "-frames:v", "60", "-c:v", "libx264", "-an", short]
    subprocess.run(command, check=True)
    with pytest.raises(TranscodingError, match=r"short\.nut: 12 frames could be compared with the source, 20 were"):
        vmaf([short], plan, source, Chunk(0, 0, 0, 0, 100))


def test_the_same_picture_scores_highest(plan: Plan, source: Source, tmp_path: Path, ffmpeg: Path) -> None:
    copy = tmp_path / "copy.nut"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", source.path, "-frames:v", "50", "-c:v", "libx264", "-qp", "0", "-an", copy],
        check=True,
    )
    [score] = vmaf([copy], plan, source, Chunk(0, 0, 0, 0, 50))
    assert score.vmaf > 97
    assert score.frames == 50


@pytest.mark.parametrize(("segments", "chosen"), [(1, (0,)), (2, (1,)), (10, (5,)), (11, (5,)), (20, (5, 15))])
def test_about_one_segment_in_ten(segments: int, chosen: tuple[int, ...]) -> None:
    assert sampled_segments(Chunk(0, 0, segments, 0, segments * 150)) == chosen


def test_quality_is_measured_at_the_size_of_the_source(source: Source) -> None:
    assert reference_size(source) == (320, 240)
    assert reference_size(dataclasses.replace(source, width=853, height=479)) == (852, 478)
    assert reference_size(dataclasses.replace(source, width=7680, height=4320)) == (3840, 2160)
