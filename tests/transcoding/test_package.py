"""A real package, held against the specifications with other people's parsers."""

import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import m3u8
import pytest

from transcoding.boxes import Segment, Track, read_segment, read_track
from transcoding.encode import encode
from transcoding.errors import TranscodingError
from transcoding.package import (
    DRAFTS,
    clear_drafts,
    describe,
    measure,
    new_draft,
    package_id,
    publish,
    write_manifests,
    write_poster,
)
from transcoding.plan import Plan, plan_ladder
from transcoding.playlists import media_playlist
from transcoding.renditions import Rendition, Renditions, target_duration
from transcoding.source import Source, read_source
from transcoding.verify import verify

NTSC = Fraction(30_000, 1001)


@dataclasses.dataclass(frozen=True)
class Made:
    folder: Path
    source: Source
    plan: Plan
    renditions: Renditions

    @property
    def video(self) -> tuple[Rendition, ...]:
        return self.renditions.video

    @property
    def audio(self) -> tuple[Rendition, ...]:
        return self.renditions.audio

    def verify(self) -> None:
        verify(self.folder, self.source, self.plan, self.renditions)


def make(folder: Path, path: Path) -> Made:
    source = read_source(path)
    plan = plan_ladder(source)
    encode(plan, source, folder)
    renditions = measure(folder, plan)
    write_manifests(folder, renditions)
    write_poster(folder, renditions)
    return Made(folder, source, plan, renditions)


@pytest.fixture(scope="module")
def made(film: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """13 s at 29.97 frames/s, two rungs, two languages."""
    picture = "testsrc2=size=1280x720:rate=30000/1001:duration=13"
    path = film("two: 50 %d.mp4", picture, {"eng": 440, "rus": 660})
    return make(tmp_path_factory.mktemp("package %d"), path)


def load(made: Made, name: str) -> m3u8.M3U8:
    return m3u8.loads((made.folder / name).read_text())


def test_it_passes_its_own_verification(made: Made) -> None:
    made.verify()


def test_the_master_playlist_lists_every_rendition_truly(made: Made) -> None:
    master = load(made, "master.m3u8")
    assert master.is_variant
    assert master.is_independent_segments
    assert {playlist.uri for playlist in master.playlists} == {"video/720p/main.m3u8", "video/480p/main.m3u8"}
    for playlist in master.playlists:
        info = playlist.stream_info
        name = playlist.uri.split("/")[1]
        assert info.resolution == {"720p": (1280, 720), "480p": (854, 480)}[name]
        assert info.frame_rate == 29.97
        assert (info.audio, info.closed_captions) == ("audio", "NONE")
        video, sound = info.codecs.split(",")
        assert re.fullmatch(r"avc1\.64[0-9a-f]{4}", video)
        assert sound == "mp4a.40.2"
        sizes = [path.stat().st_size * 8 for path in (made.folder / "video" / name).glob("*.m4s")]
        assert info.average_bandwidth <= info.bandwidth
        expected = sum(sizes) / made.plan.duration + max(a.average_bps for a in made.audio)
        assert info.average_bandwidth == pytest.approx(float(expected), rel=0.001)
    assert [(m.language, m.name, m.default, m.uri) for m in master.media] == [
        ("en", "English", "YES", "audio/en/main.m3u8"),
        ("ru", "Русский", "NO", "audio/ru/main.m3u8"),
    ]


def test_media_playlists_add_up_and_share_their_boundaries(made: Made) -> None:
    length = float(made.plan.duration)
    durations = {}
    for name in ("video/720p", "video/480p", "audio/en", "audio/ru"):
        playlist = load(made, f"{name}/main.m3u8")
        assert (playlist.version, playlist.playlist_type, playlist.is_endlist) == (7, "vod", True)
        assert playlist.target_duration == 6
        assert playlist.segment_map[0].uri == "init.mp4"
        assert [segment.uri for segment in playlist.segments] == [f"{n:05d}.m4s" for n in range(3)]
        durations[name] = [segment.duration for segment in playlist.segments]
        assert sum(durations[name]) == pytest.approx(length, abs=0.022)
        assert max(durations[name]) <= 6.5
    assert durations["video/720p"] == durations["video/480p"] == [6.006, 6.006, 1.001]


def test_every_segment_decodes_alone_to_its_frames(made: Made, ffmpeg: Path, tmp_path: Path) -> None:
    for rendition in made.video:
        counts = []
        for segment in rendition.segments:
            alone = tmp_path / "alone.mp4"
            folder = made.folder / rendition.folder
            alone.write_bytes((folder / "init.mp4").read_bytes() + (folder / segment.name).read_bytes())
            out = subprocess.run(
                [ffmpeg, "-v", "error", "-xerror", "-i", alone, "-f", "framecrc", "-"], capture_output=True, text=True
            )
            assert out.returncode == 0, out.stderr
            counts.append(sum(not line.startswith("#") for line in out.stdout.splitlines()))
        assert counts == [180, 180, 30]


def test_closed_gops_of_two_seconds(made: Made) -> None:
    import av

    for rung in ("720p", "480p"):
        with av.open(str(made.folder / "video" / rung / "main.m3u8")) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert [number for number, key in enumerate(keys) if key] == list(range(0, 390, 60))


def test_picture_and_sound_begin_together_at_zero(made: Made) -> None:
    import av

    for name in ("video/720p", "video/480p", "audio/en"):
        with av.open(str(made.folder / name / "main.m3u8")) as container:
            assert next(container.decode(container.streams[0])).time == 0, name


def test_dash_describes_the_same_files(made: Made, ffmpeg: Path) -> None:
    space = {"m": "urn:mpeg:dash:schema:mpd:2011"}
    root = ET.parse(made.folder / "manifest.mpd").getroot()
    assert root.get("mediaPresentationDuration") == f"PT{float(made.plan.duration):.6f}S"
    listed = set()
    for representation in root.iterfind(".//m:Representation", space):
        template = representation.find("m:SegmentTemplate", space)
        assert template is not None
        number, at = int(template.get("startNumber", "")), 0
        for run in template.iterfind(".//m:S", space):
            assert int(run.get("t", "-1")) == at
            for _ in range(int(run.get("r", "0")) + 1):
                name = template.get("media", "").replace("$Number%05d$", f"{number:05d}")
                segment = read_segment(made.folder / name)
                assert (segment.start, segment.duration) == (at, int(run.get("d", "")))
                listed.add(name)
                number, at = number + 1, at + segment.duration
    assert listed == {str(path.relative_to(made.folder)) for path in made.folder.rglob("*.m4s")}
    decoded = subprocess.run(
        [ffmpeg, "-v", "error", "-xerror", "-i", made.folder / "manifest.mpd", "-map", "0", "-f", "null", "-"],
        capture_output=True,
        text=True,
    )
    assert (decoded.returncode, decoded.stderr) == (0, "")


def test_the_poster_is_a_picture_of_at_most_1280(made: Made) -> None:
    from PIL import Image

    with Image.open(made.folder / "poster.jpg") as poster:
        assert poster.format == "JPEG"
        assert poster.size == (1280, 720)
        assert len(poster.convert("RGB").getcolors(maxcolors=10**6) or []) > 100


def test_the_description_is_json_and_true(made: Made) -> None:
    text = json.dumps(describe("p", "t", "s", made.plan, made.renditions))
    facts = json.loads(text)
    assert facts["duration_ms"] == 13_013
    assert [(rung["name"], rung["frames"], rung["segments"]) for rung in facts["video"]] == [
        ("720p", 390, 3),
        ("480p", 390, 3),
    ]
    assert facts["video"][0]["bytes"] == sum(f.stat().st_size for f in (made.folder / "video/720p").glob("*.m4s"))
    assert "ffmpeg" in facts["tools"]


def test_the_name_follows_title_source_plan_and_tools(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    name = package_id("t", "s", made.plan)
    assert name == package_id("t", "s", made.plan)
    slower = dataclasses.replace(made.plan, treatment="premium")
    others = [package_id("u", "s", made.plan), package_id("t", "z", made.plan), package_id("t", "s", slower)]
    monkeypatch.setattr("transcoding.package.PLAN_VERSION", "next")
    assert len({name, *others, package_id("t", "s", made.plan), package_id("t", "s", None)}) == 6


def test_the_name_follows_protection_rungs_and_files_beside_the_source(made: Made) -> None:
    plan = made.plan
    names = [
        package_id("t", "s", plan),
        package_id("t", "s", plan, protection="aes128"),
        package_id("t", "s", plan, rungs=plan.rungs[1:]),
        package_id("t", "s", plan, sidecars=["a"]),
        package_id("t", "s", dataclasses.replace(plan, treatment="premium")),
    ]
    assert len(set(names)) == 5
    assert package_id("t", "s", plan, rungs=plan.rungs) == names[0]
    assert package_id("t", "s", plan, sidecars=["b", "a"]) == package_id("t", "s", plan, sidecars=["a", "b"])


def test_of_two_who_publish_the_same_the_first_one_wins(tmp_path: Path) -> None:
    for draft in ("one", "two"):
        (new_draft(tmp_path, draft) / "package.json").write_text(draft)
    destination = tmp_path / "title" / "package"
    assert publish(tmp_path / DRAFTS / "one", destination)
    assert not publish(tmp_path / DRAFTS / "two", destination)
    assert (destination / "package.json").read_text() == "one"
    assert [path.name for path in (tmp_path / DRAFTS).iterdir()] == ["two"], "its owner throws it away"


def test_only_drafts_of_nobody_are_thrown_away(tmp_path: Path) -> None:
    for name in ("lost", "working"):
        new_draft(tmp_path, name)

    def alive() -> list[str]:
        new_draft(tmp_path, "begun meanwhile")
        return ["working"]

    clear_drafts(tmp_path, alive)
    assert sorted(path.name for path in (tmp_path / DRAFTS).iterdir()) == ["begun meanwhile", "working"]


@pytest.fixture
def broken(made: Made, tmp_path: Path) -> Made:
    """A copy to break."""
    shutil.copytree(made.folder, tmp_path / "copy")
    return dataclasses.replace(made, folder=tmp_path / "copy")


def test_verification_finds_a_damaged_segment(broken: Made) -> None:
    segment = broken.folder / "video/480p/00001.m4s"
    data = bytearray(segment.read_bytes())
    # Long enough to reach into the next picture: a decoder cannot know a few wrong bytes from right ones.
    data[len(data) // 2 : len(data) // 2 + 20_000] = bytes(20_000)
    segment.write_bytes(data)
    with pytest.raises(TranscodingError, match=r"NAL|invalid|Invalid|decod"):
        broken.verify()


def test_verification_finds_a_missing_segment(broken: Made) -> None:
    (broken.folder / "video/480p/00002.m4s").unlink()
    renditions = measure(broken.folder, broken.plan)
    with pytest.raises(TranscodingError, match="480p has 360 frames, the source gives 390"):
        dataclasses.replace(broken, renditions=renditions).verify()


def test_verification_finds_a_lost_sound(broken: Made) -> None:
    (broken.folder / "audio/ru/00002.m4s").unlink()
    renditions = measure(broken.folder, broken.plan)
    with pytest.raises(TranscodingError, match="sound ru lasts"):
        dataclasses.replace(broken, renditions=renditions).verify()


def test_verification_finds_rungs_that_do_not_line_up(made: Made) -> None:
    low = made.video[1]
    first, second, third = low.segments
    shifted = (
        dataclasses.replace(first, duration=first.duration - 60 * 1001),
        dataclasses.replace(second, start=second.start - 60 * 1001, duration=second.duration + 60 * 1001),
        third,
    )
    video = (made.video[0], dataclasses.replace(low, segments=shifted))
    crooked = dataclasses.replace(made, renditions=dataclasses.replace(made.renditions, video=video))
    with pytest.raises(TranscodingError, match="480p is cut at other times than 720p"):
        crooked.verify()


def test_boxes_that_lie_about_their_size_are_refused(broken: Made) -> None:
    segment = broken.folder / "video/480p/00001.m4s"
    segment.write_bytes(segment.read_bytes()[:-100])
    with pytest.raises(TranscodingError, match="claims"):
        read_segment(segment)


def test_codecs_of_initialisation_segments(made: Made) -> None:
    video = read_track(made.folder / "video/480p/init.mp4")
    sound = read_track(made.folder / "audio/en/init.mp4")
    assert (video.width, video.height, video.timescale) == (854, 480, 30_000)
    assert (sound.codec, sound.timescale, sound.skipped) == ("mp4a.40.2", 48_000, 1024)


def test_peaks_are_measured_over_windows_of_half_to_one_and_a_half_targets() -> None:
    sizes = [100, 900, 100, 700]
    segments = tuple(Segment(f"{n:05d}.m4s", 6 * n, 6 if n < 3 else 1, 1, size, True) for n, size in enumerate(sizes))
    rendition = Rendition("video", "480p", Track(1, "avc1.64001f", 854, 480, 0), segments, NTSC)
    # The last second alone is too short to count; with the segment before it, it is 800 bytes in 7 s.
    assert rendition.peak_bps == 900 * 8 / 6
    assert rendition.average_bps == -(-1800 * 8 // 19)
    assert target_duration([rendition]) == 6
    assert "#EXTINF:1.000000,\n00003.m4s" in media_playlist(rendition, 6)


@pytest.mark.parametrize(
    ("name", "picture", "sounds", "options", "sizes"),
    [
        ("silent.mp4", "testsrc2=size=320x180:rate=25:duration=2", {}, [], [(320, 180), (160, 90)]),
        (
            "odd.mkv",
            "testsrc2=size=321x181:rate=25:duration=2",
            {"rus": 500},
            ["-pix_fmt", "yuv444p"],
            [(320, 180), (160, 90)],
        ),
        ("tiny.mp4", "testsrc2=size=16x16:rate=12:duration=1", {"eng": 300}, [], [(16, 16)]),
        ("speck.mkv", "testsrc2=size=2x2:rate=12:duration=1", {}, ["-c:v", "ffv1"], [(2, 2)]),
        ("frame.mp4", "testsrc2=size=64x64:rate=25:duration=0.04", {}, [], [(64, 64)]),
        ("fast.mp4", "testsrc2=size=64x64:rate=120:duration=2", {"eng": 300}, [], [(64, 64)]),
        ("squeezed.mp4", "testsrc2=size=180x144:rate=25:duration=1,setsar=16/11", {}, [], [(260, 144), (130, 72)]),
        ("tall.mp4", "testsrc2=size=270x480:rate=25:duration=1", {}, [], [(270, 480), (136, 240)]),
    ],
)
def test_unusual_sources(
    name: str,
    picture: str,
    sounds: dict[str, int],
    options: list[str],
    sizes: list,
    film: Callable[..., Path],
    tmp_path: Path,
) -> None:
    made = make(tmp_path, film(name, picture, sounds, options))
    made.verify()
    assert [(r.track.width, r.track.height) for r in made.video] == sizes
    assert len(made.audio) == len(sounds)
    master = load(made, "master.m3u8")
    assert len(master.media) == len(sounds)
    assert ("mp4a" in master.playlists[0].stream_info.codecs) == bool(sounds)
