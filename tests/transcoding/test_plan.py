"""The ladder and ffmpeg's command line, as rules over all sources."""

import dataclasses
import itertools
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.arguments import encode_arguments, filter_graph, folders
from transcoding.ladder import cap_kbps
from transcoding.plan import HEIGHTS, TREATMENTS, Plan, Sidecar, plan_ladder
from transcoding.source import AudioTrack, Source, SubtitleTrack, frame_rate, language_tag
from transcoding.vmaf import sampled_segments

SOURCE = Source(
    path=Path("/films/a: 100 %.mkv"),
    container="matroska,webm",
    video_index=0,
    width=1920,
    height=1080,
    sample_aspect=Fraction(1),
    rotation=0,
    frame_rate=Fraction(24),
    steady=True,
    frames=240,
    offset=Fraction(0),
    duration=Fraction(10),
    interlaced=False,
    hdr=False,
    audio=(AudioTrack(1, "en", 6), AudioTrack(2, "ru", 2), AudioTrack(3, "en", 2)),
)
RATES = [Fraction(text) for text in ("24000/1001", "24", "25", "30000/1001", "50", "60", "100", "120000/1001", "23/2")]

sources = st.builds(
    dataclasses.replace,
    st.just(SOURCE),
    width=st.integers(1, 8192),
    height=st.integers(1, 4320),
    sample_aspect=st.sampled_from([Fraction(1), Fraction(64, 45), Fraction(32, 27), Fraction(7664, 7677)]),
    rotation=st.sampled_from([0, 90, 180, 270]),
    frame_rate=st.sampled_from(RATES) | st.fractions(Fraction(1, 2), 240, max_denominator=1001),
    steady=st.booleans(),
    duration=st.fractions(Fraction(1, 60), 200, max_denominator=1000),
    interlaced=st.booleans(),
    hdr=st.booleans(),
)


def rungs(**changes: object) -> list[tuple[str, int, int]]:
    plan = plan_ladder(dataclasses.replace(SOURCE, **changes))  # pyright: ignore[reportArgumentType] - named by each test
    return [(rung.name, rung.width, rung.height) for rung in plan.rungs]


@given(sources)
def test_sizes_are_even_keep_the_shape_and_never_exceed_the_source(source: Source) -> None:
    width, height = source.width * source.sample_aspect, Fraction(source.height)
    if source.rotation in (90, 270):
        width, height = height, width
    plan = plan_ladder(source)
    assert plan.rungs
    for rung in plan.rungs:
        assert rung.width % 2 == rung.height % 2 == 0
        assert 2 <= rung.width <= max(2, width)
        assert 2 <= rung.height <= max(2, height)
        assert height < 2 or width < 2 or abs(rung.width - width * rung.height / height) <= 2
        assert rung.name == f"{rung.height}p"
        assert rung.maxrate_kbps < rung.bufsize_kbps
    for larger, smaller in itertools.pairwise(plan.rungs):
        assert larger.height > smaller.height
        assert larger.maxrate_kbps >= smaller.maxrate_kbps
    usual = [rung for rung in HEIGHTS if rung <= height] or [max(2, int(height) // 2 * 2)]
    half = [usual[0] // 4 * 2] if len(usual) == 1 and usual[0] >= 128 else []
    assert [rung.height for rung in plan.rungs] == usual + half


@given(sources)
def test_rate_gop_and_length(source: Source) -> None:
    plan = plan_ladder(source)
    assert 0 < plan.frame_rate <= 60
    assert plan.gop == max(1, round(2 * plan.frame_rate))
    assert plan.segment == 3 * plan.gop / plan.frame_rate
    assert abs(plan.duration - source.duration) <= 1 / plan.frame_rate
    fields = 2 if source.interlaced else 1
    if source.frame_rate * fields < 1:
        assert plan.frame_rate == 12, "a slideshow"
    elif source.steady and source.frame_rate * fields <= 60:
        assert abs(plan.frame_rate / (fields * source.frame_rate) - 1) <= Fraction(1, 2000)


@given(sources)
def test_the_command_line_is_one_decode_with_every_rung_aligned(source: Source) -> None:
    plan = plan_ladder(source)
    arguments = encode_arguments(plan, source, Path("out"))
    assert arguments.count("-i") == 1

    def values(option: str) -> list[str]:
        return [value for name, value in itertools.pairwise(arguments) if name == option]

    assert values("-g") == values("-keyint_min") == [str(plan.gop)] * len(plan.rungs)
    assert set(values("-sc_threshold")) == {"0"}
    assert set(values("-flags")) == {"+cgop"}
    assert len(set(values("-hls_time"))) == 1
    assert Fraction(values("-hls_time")[0]) <= plan.segment < Fraction(values("-hls_time")[0]) + Fraction(1, 500_000)
    assert [Path(argument).parent for argument in arguments if argument.endswith("main.m3u8")] == [
        "out" / folder for folder in folders(plan)
    ]
    graph = filter_graph(plan, source)
    assert graph.count("fps=fps=") == 1
    assert graph.count("split") == len(plan.rungs) - 1
    assert ("bwdif" in graph, "tonemap" in graph) == (source.interlaced, source.hdr)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("1080p", 1920, 1080), ("720p", 1280, 720), ("480p", 854, 480)]),
        ({"width": 3840, "height": 2160}, ["2160p", "1440p", "1080p", "720p", "480p"]),
        ({"width": 960, "height": 540}, [("480p", 854, 480), ("240p", 426, 240)]),
        ({"width": 640, "height": 360}, [("360p", 640, 360), ("180p", 320, 180)]),
        ({"width": 853, "height": 479}, [("478p", 852, 478), ("238p", 424, 238)]),
        ({"width": 1, "height": 1}, [("2p", 2, 2)]),
        ({"width": 720, "height": 576, "sample_aspect": Fraction(64, 45)}, [("480p", 854, 480), ("240p", 426, 240)]),
        ({"width": 960, "height": 540, "rotation": 90}, [("720p", 404, 720), ("480p", 270, 480)]),
    ],
)
def test_known_ladders(changes: dict[str, object], expected: list) -> None:
    made = rungs(**changes)
    assert (made if isinstance(expected[0], tuple) else [name for name, _, _ in made]) == expected


@pytest.mark.parametrize(
    ("rate", "steady", "interlaced", "expected"),
    [
        ("24000/1001", True, False, "24000/1001"),
        ("2997/100", True, False, "30000/1001"),
        ("120", True, False, "60"),
        ("100", True, False, "50"),
        ("90", True, False, "45"),
        ("25", True, True, "50"),
        ("30000/1001", True, True, "60000/1001"),
        ("47/2", False, False, "24000/1001"),
        ("29", False, False, "30000/1001"),
        ("7", True, False, "7"),
    ],
)
def test_frame_rates(rate: str, steady: bool, interlaced: bool, expected: str) -> None:
    changed = dataclasses.replace(SOURCE, frame_rate=Fraction(rate), steady=steady, interlaced=interlaced)
    assert plan_ladder(changed).frame_rate == Fraction(expected)


def test_the_first_track_of_each_language_in_stereo_and_its_surround_sound_beside_it() -> None:
    made = [
        (audio.name, audio.language, audio.channels, audio.stream_index, audio.kbps)
        for audio in plan_ladder(SOURCE).audio
    ]
    assert made == [("en", "en", 2, 1, 128), ("ru", "ru", 2, 2, 128), ("en-6ch", "en", 6, 1, 320)]
    assert plan_ladder(dataclasses.replace(SOURCE, audio=())).audio == ()


def test_a_late_picture_is_held_from_the_beginning() -> None:
    plan = plan_ladder(dataclasses.replace(SOURCE, offset=Fraction(17, 10)))
    assert plan.frames == round((10 + Fraction(17, 10)) * 24)


def test_the_input_is_a_plain_file_of_the_known_format_whatever_its_name() -> None:
    arguments = encode_arguments(plan_ladder(SOURCE), SOURCE, Path())
    at = arguments.index("-i")
    assert arguments[at - 4 : at + 2] == [
        "-protocol_whitelist", "file,pipe", "-format_whitelist", "matroska,webm", "-i", "file:/films/a: 100 %.mkv",
    ]  # fmt: skip


def test_without_a_tone_mapper_hdr_is_taken_as_it_is() -> None:
    source = dataclasses.replace(SOURCE, hdr=True)
    assert plan_ladder(source).tone_map
    assert not plan_ladder(source, tone_mapper=False).tone_map


def test_a_plan_as_json_tells_plans_apart() -> None:
    plan = plan_ladder(SOURCE)
    assert plan.as_json() == plan_ladder(SOURCE).as_json()
    assert plan.as_json() != Plan(**{**vars(plan), "frame_rate": Fraction(25)}).as_json()


@given(sources, st.sampled_from(["fast", "standard", "premium"]), st.booleans())
def test_a_plan_survives_json(source: Source, treatment: str, watermark: bool) -> None:
    plan = plan_ladder(source, TREATMENTS[treatment], watermark=watermark)
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert sum(rung.marked for rung in plan.rungs) == (min(2, len(plan.rungs)) if watermark else 0)
    assert {rung.preset for rung in plan.rungs} == {"veryfast" if treatment == "fast" else "medium"}


@given(st.sampled_from(RATES), st.integers(1, 300_000), st.integers(1, 20))
def test_chunks_partition_the_film_at_segment_boundaries(rate: Fraction, frames: int, chunk_segments: int) -> None:
    plan = Plan(rate, max(1, round(2 * rate)), frames, (), (), chunk_segments=chunk_segments)
    chunks = plan.chunks
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert (chunks[0].first_segment, chunks[0].first_frame) == (0, 0)
    for one, after in itertools.pairwise(chunks):
        assert after.first_frame == one.first_frame + one.frames
        assert after.first_segment == one.first_segment + one.segments
        assert (one.segments, one.frames) == (chunk_segments, chunk_segments * plan.segment_frames)
    last = chunks[-1]
    assert last.first_frame + last.frames == frames
    assert last.first_segment + last.segments == -(-frames // plan.segment_frames)
    assert last.first_frame == last.first_segment * plan.segment_frames
    # A chunk of less than a segment would be nothing where a source ends a frame early.
    assert last.frames >= min(frames, plan.segment_frames)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(600, [["1080p", "720p", "480p"]]), (601, [["720p", "480p"], ["1080p"]])],
)
def test_of_a_long_film_the_small_rungs_come_first(seconds: int, expected: list[list[str]]) -> None:
    plan = plan_ladder(dataclasses.replace(SOURCE, duration=Fraction(seconds)))
    assert [[rung.name for rung in part] for part in plan.parts] == expected
    small = dataclasses.replace(SOURCE, width=640, height=360, duration=Fraction(seconds))
    assert len(plan_ladder(small).parts) == 1


def test_hdr10_gets_hevc_beside_a_tone_mapped_ladder() -> None:
    source = dataclasses.replace(SOURCE, hdr=True, transfer="pq")
    plan = plan_ladder(source, TREATMENTS["standard"])
    assert plan.tone_map
    hevc = [rung for rung in plan.rungs if rung.codec == "hevc"]
    assert [rung.name for rung in hevc] == ["1080p-hevc", "720p-hevc", "480p-hevc"]
    assert all(rung.hdr for rung in hevc)
    assert [rung.name for rung in plan.rungs if rung.codec == "h264"] == ["1080p", "720p", "480p"]
    assert not any(rung.hdr for rung in plan_ladder(source).rungs)  # the fast lane stays in SDR
    assert not any(rung.hdr for rung in plan_ladder(dataclasses.replace(SOURCE, hdr=True, transfer="hlg")).rungs)


def test_subtitles_beside_the_film_win_and_pictures_of_text_are_left() -> None:
    tracks = (
        SubtitleTrack(3, "en", "subrip", is_text=True, forced=False),
        SubtitleTrack(4, "en", "subrip", is_text=True, forced=True),
        SubtitleTrack(5, "en", "subrip", is_text=True, forced=False),
        SubtitleTrack(6, "de", "hdmv_pgs_subtitle", is_text=False, forced=False),
        SubtitleTrack(7, "ru", "ass", is_text=True, forced=False),
    )
    source = dataclasses.replace(SOURCE, subtitles=tracks)
    made = plan_ladder(source, sidecars=[Sidecar("ru", "~masters/a.ru.srt")]).subtitles
    assert [(track.name, track.stream_index, track.path) for track in made] == [
        ("ru", None, "~masters/a.ru.srt"), ("en", 3, None), ("en-forced", 4, None),
    ]  # fmt: skip


@given(st.integers(1, 40_000_000), st.integers(1, 40_000_000))
def test_more_pixels_never_get_fewer_bits(one: int, other: int) -> None:
    assert (cap_kbps(one) <= cap_kbps(other)) == (cap_kbps(one) == cap_kbps(other) or one < other)


def test_the_caps_are_those_of_the_table() -> None:
    assert [cap_kbps(w * h) for w, h in ((1920, 1080), (1280, 720), (640, 360))] == [6000, 3000, 500]


@given(st.sampled_from(RATES), st.integers(3, 400), st.sampled_from([1000, 90_000, 30_000]))
def test_rates_survive_containers_that_round_times(rate: Fraction, count: int, ticks: int) -> None:
    times = [round(n / rate * ticks) for n in range(count)]
    assert frame_rate(times, Fraction(1, ticks), declared=rate) == (rate, True)


def test_a_dropped_frame_makes_a_source_uneven_but_not_slower() -> None:
    times = [n * 1001 for n in range(300) if n % 50]
    assert frame_rate(times, Fraction(1, 30_000)) == (Fraction(30_000, 1001), False)


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("eng", "en"),
        ("rus", "ru"),
        ("ger", "de"),
        ("ru", "ru"),
        ("RUS ", "ru"),
        ("haw", "haw"),
        ("mis/../x", "und"),
        (None, "und"),
        ("", "und"),
        ("und", "und"),
        ("english", "und"),
    ],
)
def test_languages(written: str | None, tag: str) -> None:
    assert language_tag(written) == tag


@pytest.mark.parametrize(("duration", "chunks"), [(5, 1), (59, 1), (240, 4), (7200, 4), (40_000, 4)])
def test_a_film_that_cannot_be_sought_is_decoded_from_its_beginning_a_few_times_only(
    duration: int, chunks: int
) -> None:
    source = dataclasses.replace(SOURCE, duration=Fraction(duration), seekable=False)
    plan = plan_ladder(source)
    assert len(plan.chunks) == chunks
    assert sum(len(sampled_segments(chunk, seekable=False)) for chunk in plan.chunks) == chunks
    seekable = plan_ladder(dataclasses.replace(source, seekable=True))
    assert len(seekable.chunks) == max(1, -(-duration // 60))
