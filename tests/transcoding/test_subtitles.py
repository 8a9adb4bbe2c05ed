import dataclasses
import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.cues import Cue, read_cues
from matinee.settings import Settings
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Plan, Rung, Sidecar, SubtitleRendition, plan_ladder
from transcoding.source import Source, SubtitleTrack, read_source
from transcoding.subtitles import (
    TextTrack,
    boundaries,
    cut,
    fit,
    picture_subtitles,
    sidecars,
    text_facts,
    write_subtitles,
)

HEADER = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n"
NTSC = Fraction(30_000, 1001)
RUSSIAN = "1\n00:00:01,000 --> 00:00:03,000\nЧто это?\n\n2\n00:00:05,000 --> 00:00:07,000\n{\\an8}Это <i>поезд</i>.\n"


def planned(frames: int, rate: Fraction, *subtitles: SubtitleRendition) -> Plan:
    rung = Rung("64p", 64, 64, 23, 100, 200)
    return Plan(rate, round(2 * rate), frames, (rung,), (), subtitles)


@pytest.fixture(scope="module")
def talkie(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """13 s with SRT in Russian, WebVTT in German, and ASS in English, whose last line outlasts the film."""
    folder = tmp_path_factory.mktemp("talkie")
    (folder / "ru.srt").write_text(RUSSIAN)
    (folder / "en.srt").write_text(
        "1\n00:00:02,000 --> 00:00:13,000\n{\\an7}<i>A long line</i>\n\n"
        "2\n00:00:12,500 --> 00:00:40,000\nThe end & more\n\n"
        "3\n00:00:50,000 --> 00:00:51,000\nnever seen\n"
    )
    (folder / "de.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nDer <b>Zug</b>\n")
    path = folder / "talkie.mkv"
    command = [
        ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=30000/1001:duration=13",
        "-i", folder / "ru.srt", "-i", folder / "en.srt", "-i", folder / "de.vtt",
        *(word for number in range(4) for word in ("-map", str(number))),
        "-metadata:s:s:0", "language=rus", "-metadata:s:s:1", "language=eng", "-metadata:s:s:2", "language=ger",
        "-c:v", "libx264", "-preset", "ultrafast", "-c:s:0", "srt", "-c:s:1", "ass", "-c:s:2", "webvtt", path,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return read_source(path)


def shown(folder: Path) -> list[list[str]]:
    """The texts of every segment, each a WebVTT file of its own."""
    found = []
    for path in sorted(folder.glob("*.vtt")):
        written = path.read_text()
        assert written.startswith(HEADER)
        found.append([cue.text for cue in read_cues(written.encode(), "vtt").cues] if "-->" in written else [])
    return found


def test_text_streams_are_cut_like_the_picture(talkie: Source, tmp_path: Path) -> None:
    plan = plan_ladder(talkie)
    assert [(track.language, track.is_text) for track in talkie.subtitles] == [("ru", True), ("en", True), ("de", True)]
    plan = dataclasses.replace(
        plan, subtitles=tuple(SubtitleRendition(t.language, t.language, t.index) for t in talkie.subtitles)
    )
    tracks = write_subtitles(plan, talkie, tmp_path, tmp_path)
    assert tracks[0] == TextTrack("ru", "ru", False, 2)
    assert (tracks[1].cues, tracks[1].dropped) == (2, 1)
    assert tracks[1].reasons == ("3: begins after the film's end",)
    assert shown(tmp_path / "subtitles" / "ru") == [["Что это?", "Это <i>поезд</i>."], ["Это <i>поезд</i>."], []]
    long, end = "<i>A long line</i>", "The end &amp; more"
    assert shown(tmp_path / "subtitles" / "en") == [[long], [long], [long, end]]
    assert "00:00:05.000 --> 00:00:07.000 line:0\n" in (tmp_path / "subtitles" / "ru" / "00000.vtt").read_text()
    assert (
        "00:00:02.000 --> 00:00:13.000 line:0 align:start\n"
        in (tmp_path / "subtitles" / "en" / "00000.vtt").read_text()
    )
    assert shown(tmp_path / "subtitles" / "de") == [["Der <b>Zug</b>"], [], []]
    last = (tmp_path / "subtitles" / "en" / "00002.vtt").read_text()
    assert "00:00:12.500 --> 00:00:13.013" in last, "cut to the film's length"
    assert [path.name for path in tmp_path.iterdir()] == ["subtitles"]


def test_a_file_beside_the_master_in_an_old_encoding(talkie: Source, tmp_path: Path) -> None:
    (tmp_path / "film.srt").write_bytes(RUSSIAN.encode("cp1251"))
    plan = planned(390, NTSC, SubtitleRendition("ru", "ru", path="film.srt"))
    (track,) = write_subtitles(plan, talkie, tmp_path, tmp_path)
    assert track.cues == 2
    assert shown(tmp_path / "subtitles" / "ru")[1] == ["Это <i>поезд</i>."]


def test_a_file_that_is_gone_or_broken_stops_the_package(talkie: Source, tmp_path: Path) -> None:
    plan = planned(390, NTSC, SubtitleRendition("ru", "ru", path="film.srt"))
    with pytest.raises(TransientError, match="not in the media store"):
        write_subtitles(plan, talkie, tmp_path, tmp_path)
    (tmp_path / "film.srt").write_text("no subtitles")
    with pytest.raises(TranscodingError, match=r"film\.srt: no subtitle in it can be used"):
        write_subtitles(plan, talkie, tmp_path, tmp_path)


def test_a_stream_without_a_cue_is_not_offered(ffmpeg: Path, tmp_path: Path) -> None:
    (tmp_path / "late.srt").write_text("1\n00:01:00,000 --> 00:01:01,000\nlate\n")
    path = tmp_path / "film.mkv"
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=7", "-i"]
    subprocess.run([*command, tmp_path / "late.srt", "-preset", "ultrafast", path], check=True)
    source = read_source(path)
    plan = planned(175, Fraction(25), SubtitleRendition("und", "und", source.subtitles[0].index))
    (track,) = write_subtitles(plan, source, tmp_path, tmp_path)
    assert (track.cues, track.dropped) == (0, 1)
    assert not (tmp_path / "subtitles").exists()


def test_real_films(shared: Path, tmp_path: Path) -> None:
    """Text streams in MP4 and Matroska; one of them runs longer than its film."""
    clips = shared / "data" / "clips"
    for name in ("real/nasa_multitrack_270p_13s.mp4", "damaged/surround51_eac3_subs.mkv"):
        source = read_source(clips / name)
        assert source.subtitles, name
        assert picture_subtitles(source) == ()
        named = [SubtitleRendition(f"s{track.index}", "und", track.index) for track in source.subtitles]
        plan = dataclasses.replace(plan_ladder(source), subtitles=tuple(named))
        draft = tmp_path / name.replace("/", "-")
        draft.mkdir()
        tracks = write_subtitles(plan, source, tmp_path, draft)
        assert any(track.cues for track in tracks), name
        for track in tracks:
            if not track.cues:
                continue
            files = sorted((draft / "subtitles" / track.name).iterdir())
            assert len(files) == len(boundaries(plan)) - 1
            ends = [
                cue.end_ms
                for path in files
                if "-->" in path.read_text()
                for cue in read_cues(path.read_bytes(), "vtt").cues
            ]
            assert all(end <= plan.duration * 1000 for end in ends)


def test_pictures_of_text_are_left_out_and_named(talkie: Source) -> None:
    source = dataclasses.replace(talkie, subtitles=(*talkie.subtitles, SubtitleTrack(7, "fr", "dvdsub", False, False)))
    assert [track.index for track in picture_subtitles(source)] == [7]
    assert text_facts([TextTrack("ru", "ru", False, 2, 1, ("4: has no text",))], source) == {
        "subtitles": [
            {
                "name": "ru", "language": "ru", "forced": False, "cues": 2, "dropped": 1,
                "reasons": ("4: has no text",),
            }
        ],
        "subtitles_left_out": [{"stream": 7, "language": "fr", "codec": "dvdsub", "reason": "pictures of text"}],
    }  # fmt: skip


def test_shared_subtitle_files(shared: Path, talkie: Source, tmp_path: Path) -> None:
    for path in sorted((shared / "data" / "clips" / "subtitles").iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        plan = planned(3600, Fraction(30), SubtitleRendition(path.stem, "und", path=path.name))
        (track,) = write_subtitles(plan, talkie, tmp_path, tmp_path)
        assert (track.cues, track.dropped) == (path.read_text().count("-->"), 0)


def test_boundaries_are_those_of_the_frames() -> None:
    plan = planned(390, NTSC)
    assert [float(bound) for bound in boundaries(plan)] == pytest.approx([0, 6.006, 12.012, 13.013])


rates = st.sampled_from([Fraction(24_000, 1001), Fraction(25), NTSC, Fraction(60)])
spans = st.tuples(st.integers(0, 60_000), st.integers(1, 20_000))


@given(rates, st.integers(1, 2400), st.lists(spans, max_size=30))
def test_cues_are_cut_exactly(rate: Fraction, frames: int, written: list[tuple[int, int]]) -> None:
    plan = planned(frames, rate)
    cues = sorted(
        (Cue(start, start + length, str(n)) for n, (start, length) in enumerate(written)),
        key=lambda cue: (cue.start_ms, cue.end_ms),
    )
    kept, late = fit(cues, plan.duration)
    assert len(kept) + len(late) == len(cues)
    assert all(cue.end_ms <= plan.duration * 1000 for cue in kept)
    bounds = boundaries(plan)
    segments = cut(kept, bounds)
    assert len(segments) == len(bounds) - 1
    # Every segment holds exactly what is on screen at some time of it.
    for (start, end), inside in zip(pairwise(bounds), segments, strict=True):
        assert inside == [cue for cue in kept if cue.start_ms < end * 1000 and cue.end_ms > start * 1000]
    # Together they give the cues back, and nothing else.
    again = dict.fromkeys(cue for inside in segments for cue in inside)
    assert sorted(again, key=kept.index) == kept
    for cue in kept:
        covered = sum(
            min(cue.end_ms, end * 1000) - max(cue.start_ms, start * 1000)
            for (start, end), inside in zip(pairwise(bounds), segments, strict=True)
            if cue in inside
        )
        assert covered == cue.end_ms - cue.start_ms


def test_the_files_of_a_master_for_its_plan(settings: Settings, add_master: Callable[..., str], clip: Path) -> None:
    master = add_master(clip, "film-1")
    with psycopg.connect(settings.database()) as connection:
        for language, forced in (("ru", True), ("ru", False), ("en", False)):
            connection.execute(
                "INSERT INTO master_sidecar (master_id, language, forced, format, stored_path, sha256, file_name, path,"
                " cues, dropped) VALUES (%s, %s, %s, 'srt', %s, '', '', '', 1, 0)",
                (master, language, forced, f"{language}-{forced}"),
            )
        assert sidecars(connection, master) == (
            Sidecar("en", "en-False"),
            Sidecar("ru", "ru-False"),
            Sidecar("ru", "ru-True", forced=True),
        )
        assert sidecars(connection, "another") == ()
