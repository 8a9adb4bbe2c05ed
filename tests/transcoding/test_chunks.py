"""Chunks: the frames and bytes that an undivided encode has, wherever a worker enters the film."""

import dataclasses
import hashlib
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from transcoding import chunks, ffmpeg, package
from transcoding.arguments import filter_graph, input_arguments
from transcoding.boxes import read_segment
from transcoding.encode import encode, encode_chunk
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Chunk, Plan, Rung, plan_ladder
from transcoding.source import Source, read_source

# Name, options of the encoder and the container: what makes seeking hard.
FILMS = {
    "times of a whole second's fraction.mp4": ["-g", "48", "-bf", "2"],
    "times in milliseconds.mkv": ["-g", "48", "-bf", "2"],
    "an index by bytes.ts": ["-g", "48", "-bf", "2"],
    "frames left out.mkv": ["-g", "48", "-vf", "select='not(mod(n,7))+lt(random(0),0.3)'", "-fps_mode", "vfr"],
    "open groups.mp4": ["-c:v", "libx265", "-x265-params", "open-gop=1:keyint=48:log-level=error"],
}


def pictures(plan: Plan, source: Source, chunk: Chunk | None) -> list[str]:
    """A digest of each frame that the encoders are given."""
    rung = dataclasses.replace(plan.rungs[-1], width=64, height=36)
    graph = filter_graph(plan, source, rungs=[rung], chunk=chunk)
    arguments = [ffmpeg.executable(), "-v", "error", "-nostdin", *input_arguments(plan, source, chunk)]
    arguments += ["-filter_complex", graph, "-map", "[v0]", "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    return [line.rpartition(",")[2].strip() for line in told.splitlines() if not line.startswith("#")]


def small_chunks(source: Source, gop_s: float = 0.5) -> Plan:
    """A plan whose chunks are one segment each, a second and a half long."""
    plan = dataclasses.replace(plan_ladder(source), tone_map=False)
    return dataclasses.replace(plan, gop=max(1, round(plan.frame_rate * gop_s)), chunk_segments=1)


def assert_exact(source: Source, plan: Plan) -> None:
    whole = pictures(plan, source, None)
    assert len(whole) == plan.frames
    found = [picture for chunk in plan.chunks for picture in pictures(plan, source, chunk)]
    assert found == whole


@pytest.mark.parametrize("name", FILMS)
def test_chunks_show_the_frames_of_the_undivided_film(name: str, film: Callable[..., Path]) -> None:
    picture = "testsrc2=size=160x90:rate=30000/1001:duration=9"
    source = read_source(film(name, picture, {"eng": 440}, options=["-pix_fmt", "yuv420p", *FILMS[name]]))
    plan = small_chunks(source)
    assert len(plan.chunks) > 4
    assert_exact(source, plan)
    if source.seekable:
        sought = [chunk for chunk in plan.chunks if "-ss" in input_arguments(plan, source, chunk)]
        assert sought, "nothing was sought, so nothing was shown about seeking"


@pytest.mark.parametrize(
    "name",
    [
        "damaged/interlaced_576i25.mpg", "damaged/vfr_phone.mp4", "damaged/rotated_90.mp4",
        "damaged/odd_853x479_yuv444.mp4", "real/bbb_hevc_ac3_360p24_8s.mp4", "real/bbb_720p25_5s_51.mp4",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("damaged/hdr10_720p2997_3s.mp4", "damaged/no_audio.mp4", "damaged/surround51_eac3_subs.mkv",
                         "real/bbb_1080p60_2s_51.mp4", "real/nasa_multitrack_270p_13s.mp4",
                         "real/sam_dog_720p2997_10s.mp4", "real/sam_juggle_720p24_10s.mp4",
                         "real/tos_wave_1080p2997_8s.mp4")
        ),
    ],
)  # fmt: skip
def test_chunks_of_real_films_show_the_frames_of_the_undivided_film(name: str, shared: Path) -> None:
    source = read_source(shared / "data" / "clips" / name)
    assert_exact(source, small_chunks(source, 1.0))


def test_a_picture_that_starts_after_the_sound_stands_still_in_the_first_chunks(
    film: Callable[..., Path], tmp_path: Path
) -> None:
    late = tmp_path / "late.mkv"
    made = film("punctual.mkv", "testsrc2=size=160x90:rate=25:duration=4", {"eng": 440})
    inputs = ["-i", made, "-itsoffset", "2.2", "-i", made]
    maps = ["-map", "1:v", "-map", "0:a", "-c", "copy"]
    subprocess.run([ffmpeg.executable(), "-v", "error", *inputs, *maps, late], check=True)
    source = read_source(late)
    assert source.offset > 2
    plan = small_chunks(source)
    assert_exact(source, plan)
    first = pictures(plan, source, plan.chunks[0])
    assert len(set(first)) == 1, "the first chunk is one still picture"


def ladder(plan: Plan) -> tuple[Rung, ...]:
    """A rung of each codec, rates so low that the encoders' buffer models bind."""

    def rung(name: str, codec: str, preset: str, lines: int) -> Rung:
        return dataclasses.replace(
            plan.rungs[0], name=name, codec=codec, preset=preset, width=lines * 2, height=lines, maxrate_kbps=150,
            bufsize_kbps=300,
        )  # fmt: skip

    return (rung("a", "h264", "medium", 180), rung("b", "av1", "10", 180), rung("c", "h264", "veryfast", 90),
            rung("d", "hevc", "ultrafast", 180))  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.suffix in {".m4s", ".mp4"}]
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_every_worker_gives_the_same_bytes_and_one_header_serves_all_chunks(
    film: Callable[..., Path], tmp_path: Path
) -> None:
    picture = "testsrc2=size=320x180:rate=24:duration=4,noise=alls=20:allf=t"
    source = read_source(film("noise.mp4", picture, options=["-pix_fmt", "yuv420p"]))
    plan = small_chunks(source, 0.25)
    plan = dataclasses.replace(plan, rungs=ladder(plan), crf_shifts=(0.0, 4.0, -3.0, 0.0, 0.0, 0.0))
    folders = {}
    for chunk, attempt in itertools.product(plan.chunks[:3], "xy"):
        out = folders[chunk.number, attempt] = tmp_path / f"{chunk.number}{attempt}"
        out.mkdir()
        encode_chunk(plan, source, chunk, plan.rungs, out)
        for rung in plan.rungs:
            segments = [read_segment(path) for path in sorted((out / "video" / rung.name).glob("*.m4s"))]
            assert sum(segment.samples for segment in segments) == chunk.frames
            assert (segments[0].start, segments[0].independent) == (0, True)
    for chunk in plan.chunks[:3]:
        assert digests(folders[chunk.number, "x"]) == digests(folders[chunk.number, "y"])
    for rung in plan.rungs:
        headers = {(folder / "video" / rung.name / "init.mp4").read_bytes() for folder in folders.values()}
        assert len(headers) == 1, rung.name


def test_a_source_that_gives_fewer_frames_than_planned_is_an_error(clip: Path, tmp_path: Path) -> None:
    source = read_source(clip)
    plan = plan_ladder(source)
    beyond = dataclasses.replace(plan.chunks[-1], frames=plan.chunks[-1].frames + 50)
    with pytest.raises(TranscodingError, match=r"gives 96 frames from 0\.000 s on where 146 were planned"):
        encode_chunk(plan, source, beyond, plan.rungs, tmp_path)


def test_an_undivided_film_is_one_chunk(clip: Path, tmp_path: Path) -> None:
    source = read_source(clip)
    plan = plan_ladder(source)
    (tmp_path / "whole").mkdir()
    (tmp_path / "chunk").mkdir()
    encode(plan, source, tmp_path / "whole")
    encode_chunk(plan, source, plan.chunks[0], plan.rungs, tmp_path / "chunk")
    assert digests(tmp_path / "chunk").items() <= digests(tmp_path / "whole").items()


def test_a_folder_is_whole_or_not_there_and_the_first_one_counts(tmp_path: Path) -> None:
    target = tmp_path / "chunks" / "00000"

    def fail(folder: Path) -> dict:
        (folder / "half").touch()
        raise TranscodingError("broken off")

    with pytest.raises(TranscodingError, match="broken off"):
        chunks.once(target, "one", fail)
    assert list(target.parent.iterdir()) == []

    def slow(folder: Path) -> dict:
        # While this worker is at it, another one that took over its lease is done.
        chunks.once(target, "three", lambda _: {"by": "three"})
        return {"by": "two"}

    assert chunks.once(target, "two", slow) == {"by": "three"}
    assert [path.name for path in target.parent.iterdir()] == ["00000"]
    assert chunks.once(target, "four", fail) == {"by": "three"}, "what is there is not made again"


def test_notes_that_cannot_be_read_are_missing_and_made_again(tmp_path: Path) -> None:
    folder = chunks.chunk_folder(tmp_path, 0, 3)
    chunks.once(folder, "one", lambda _: {"by": "one"})
    (folder / "result.json").write_bytes(b"")
    assert chunks.missing(tmp_path, [("chunk", 0, 3)]) == [("chunk", 0, 3)]
    assert chunks.once(folder, "two", lambda _: {"by": "two"}) == {"by": "two"}
    assert chunks.missing(tmp_path, [("chunk", 0, 3)]) == []


def test_what_fails_on_a_full_disk_is_excused_though_there_is_room_once_it_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> dict:
        (folder / "large").touch()
        # The disk is as full as it says only while the draft lies there.
        monkeypatch.setattr(package, "FULL_BYTES", float("inf"))
        raise TranscodingError("00000.m4s: is empty")

    with pytest.raises(TransientError, match=r"is full .*00000\.m4s: is empty"):
        chunks.once(tmp_path / "audio", "one", fail)
    assert list(tmp_path.iterdir()) == []
