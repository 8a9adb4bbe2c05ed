"""Chunks that were encoded apart become one film: the same frames, one clock, and nothing that is not whole."""

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from transcoding.assemble import assemble, require_whole_sound
from transcoding.audio import encode_audio
from transcoding.boxes import read_segment
from transcoding.encode import encode_chunk
from transcoding.errors import TranscodingError, TransientError
from transcoding.package import measure, write_manifests
from transcoding.plan import AudioRendition, Plan, Rung
from transcoding.source import Source, read_source
from transcoding.verify import verify

# Segments of 15 frames, two chunks: 30 frames in two segments, 37 in three.
PLAN = Plan(
    frame_rate=Fraction(25),
    gop=5,
    frames=67,
    rungs=(Rung("180p", 320, 180, 28, 900, 1800, preset="ultrafast"), Rung("90p", 160, 90, 28, 300, 600)),
    audio=(AudioRendition("en", "en", 2, 1),),
    chunk_segments=2,
)


@dataclasses.dataclass(frozen=True)
class Job:
    source: Source
    work: Path


@pytest.fixture(scope="module")
def job(film: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The larger rung was made by another part of the job than the smaller one, as for long films."""
    source = read_source(film("parts.mp4", "testsrc2=size=320x180:rate=25:duration=2.68", {"eng": 440}))
    work = tmp_path_factory.mktemp("work")
    for part, rung in enumerate(PLAN.rungs):
        for chunk in PLAN.chunks:
            folder = work / "chunks" / str(part) / f"{chunk.number:05d}"
            folder.mkdir(parents=True)
            encode_chunk(PLAN, source, chunk, [rung], folder)
    encode_audio(PLAN, source, work)
    return Job(source, work)


@pytest.fixture
def damaged(job: Job, tmp_path: Path) -> Path:
    """A copy of the work folder to damage."""
    return Path(shutil.copytree(job.work, tmp_path / "work"))


def frames(ffmpeg: Path, playlist: Path) -> list[tuple[int, str]]:
    """Time in ticks and MD5 of each decoded frame."""
    out = subprocess.run(
        [ffmpeg, "-v", "error", "-xerror", "-i", playlist, "-fps_mode", "passthrough", "-f", "framemd5", "-"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = [line.split(",") for line in out.splitlines() if not line.startswith("#")]
    return [(int(row[2]), row[5].strip()) for row in rows]


def test_the_film_has_the_frames_of_its_chunks_on_one_clock(job: Job, ffmpeg: Path, tmp_path: Path) -> None:
    assemble(job.work, tmp_path, PLAN)
    for part, rung in enumerate(PLAN.rungs):
        whole = frames(ffmpeg, tmp_path / "video" / rung.name / "main.m3u8")
        apart = [
            digest
            for chunk in PLAN.chunks
            for _, digest in frames(
                ffmpeg, job.work / f"chunks/{part}/{chunk.number:05d}/video/{rung.name}" / "main.m3u8"
            )
        ]
        assert len(whole) == 67
        assert [digest for _, digest in whole] == apart
        steps = {after - before for (before, _), (after, _) in pairwise(whole)}
        assert (whole[0][0], len(steps)) == (0, 1), "frames are not evenly spaced from zero on"


def test_segments_are_numbered_and_timed_through_the_film(job: Job, tmp_path: Path) -> None:
    assemble(job.work, tmp_path, PLAN)
    for rung in PLAN.rungs:
        paths = sorted((tmp_path / "video" / rung.name).glob("*.m4s"))
        segments = [read_segment(path) for path in paths]
        assert [(segment.name, segment.samples) for segment in segments] == [
            ("00000.m4s", 15), ("00001.m4s", 15), ("00002.m4s", 15), ("00003.m4s", 15), ("00004.m4s", 7),
        ]  # fmt: skip
        ends = [0, *(segment.start + segment.duration for segment in segments)]
        assert [segment.start for segment in segments] == ends[:-1]
        numbers = [path.read_bytes().partition(b"mfhd")[2][7] for path in paths]
        assert numbers == [1, 2, 3, 4, 5]


def test_what_was_assembled_passes_verification(job: Job, tmp_path: Path) -> None:
    assemble(job.work, tmp_path, PLAN)
    renditions = measure(tmp_path, PLAN)
    write_manifests(tmp_path, renditions)
    verify(tmp_path, job.source, PLAN, renditions)


def test_the_small_rungs_alone_make_a_package(job: Job, tmp_path: Path) -> None:
    small = PLAN.rungs[1:]
    assemble(job.work, tmp_path, PLAN, small)
    renditions = measure(tmp_path, PLAN, small)
    write_manifests(tmp_path, renditions)
    verify(tmp_path, job.source, PLAN, renditions, small)
    assert [path.name for path in (tmp_path / "video").iterdir()] == ["90p"]


def test_a_chunk_that_is_missing_or_not_whole_is_named_and_thrown_away(job: Job, damaged: Path, tmp_path: Path) -> None:
    chunk, whole = damaged / "chunks/0/00001", job.work / "chunks/0/00001"
    (chunk / "video/180p/00002.m4s").unlink()
    with pytest.raises(TransientError, match=r"chunk 1 of 180p has 2 segments, 3 are planned"):
        assemble(damaged, tmp_path / "a", PLAN)
    assert not chunk.exists()
    shutil.copytree(whole, chunk)
    shutil.copyfile(chunk / "video/180p/00002.m4s", chunk / "video/180p/00001.m4s")
    with pytest.raises(TransientError, match=r"chunk 1 of 180p: 00001.m4s holds 7 frames .* planned are 15"):
        assemble(damaged, tmp_path / "b", PLAN)
    with pytest.raises(TransientError, match="chunk 1 of video 180p is not in"):
        assemble(damaged, tmp_path / "c", PLAN)


@pytest.mark.parametrize("name", ["init.mp4", "00001.m4s"])
@pytest.mark.parametrize("left", [0, 5, 200])
def test_a_chunk_that_a_machine_took_down_with_it_is_made_again(
    damaged: Path, tmp_path: Path, name: str, left: int
) -> None:
    chunk = damaged / "chunks/0/00000"
    path = chunk / "video/180p" / name
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(TransientError, match="chunk 0 of video 180p is damaged"):
        assemble(damaged, tmp_path / "a", PLAN)
    assert not chunk.exists()
    assert (damaged / "chunks/0/00001").exists()


def test_a_lost_sound_is_named(damaged: Path, tmp_path: Path) -> None:
    shutil.rmtree(damaged / "audio/en")
    with pytest.raises(TransientError, match="sound en is not in"):
        assemble(damaged, tmp_path / "a", PLAN)


@pytest.mark.parametrize("left", [0, 5, 200, None])
def test_a_sound_that_is_not_whole_is_thrown_away(job: Job, damaged: Path, tmp_path: Path, left: int | None) -> None:
    require_whole_sound(job.work / "audio/en", PLAN)
    last = max((damaged / "audio/en").glob("*.m4s"), key=lambda path: int(path.stem))
    last.unlink() if left is None else last.write_bytes(last.read_bytes()[:left])
    with pytest.raises(TransientError, match="sound en is not whole"):
        assemble(damaged, tmp_path / "a", PLAN)
    assert not (damaged / "audio").exists()


def test_chunks_of_different_encoders_are_not_put_together(damaged: Path, tmp_path: Path) -> None:
    init = damaged / "chunks/0/00001/video/180p/init.mp4"
    data = bytearray(init.read_bytes())
    data[data.index(b"avcC") + 10] ^= 1
    init.write_bytes(data)
    with pytest.raises(TranscodingError, match="initialisation segment of chunk 1 differs"):
        assemble(damaged, tmp_path / "a", PLAN)


def test_variants_are_cut_alike_or_refused(job: Job, damaged: Path, tmp_path: Path) -> None:
    marked = dataclasses.replace(PLAN, rungs=(dataclasses.replace(PLAN.rungs[0], marked=True), *PLAN.rungs[1:]))
    for chunk in PLAN.chunks:
        folder = damaged / f"chunks/0/{chunk.number:05d}"
        shutil.copytree(folder / "video/180p", folder / "variants/180p")
    assemble(damaged, tmp_path / "a", marked)
    assert sorted(path.name for path in (tmp_path / "a/variants/180p").iterdir()) == [
        f"{number:05d}.m4s" for number in range(5)
    ]
    renditions = measure(tmp_path / "a", marked)
    write_manifests(tmp_path / "a", renditions)
    verify(tmp_path / "a", job.source, marked, renditions)
    for init in damaged.glob("chunks/0/*/variants/180p/init.mp4"):
        data = bytearray(init.read_bytes())
        data[data.index(b"avcC") + 10] ^= 1
        init.write_bytes(data)
    with pytest.raises(TranscodingError, match="180p: the two variants need different initialisation segments"):
        assemble(damaged, tmp_path / "b", marked)
