"""A package with everything in it (three codecs, 5.1, subtitles, key frames), and what is found in damaged ones."""

import dataclasses
import hashlib
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import m3u8
import pytest

from matinee.cues import read_cues
from transcoding.assemble import assemble
from transcoding.audio import encode_audio
from transcoding.checker import check
from transcoding.encode import encode_chunk
from transcoding.errors import TranscodingError
from transcoding.package import describe, measure, write_manifests
from transcoding.plan import AudioRendition, Plan, Rung, SubtitleRendition
from transcoding.protect import Key, encrypt
from transcoding.renditions import Renditions
from transcoding.source import Source, read_source
from transcoding.subtitles import write_subtitles
from transcoding.trick import write_iframes
from transcoding.verify import verify, verify_protected

SUBTITLES = "WEBVTT\n\n00:00.500 --> 00:01.800\nover a boundary\n\n00:02.000 --> 00:02.300\nlater\n"
PLAN = Plan(
    frame_rate=Fraction(25),
    gop=10,
    frames=75,
    rungs=(
        Rung("180p", 320, 180, 30, 900, 1800, preset="ultrafast"),
        Rung("180p-av1", 320, 180, 40, 900, 1800, "av1", preset="12"),
        Rung("180p-hevc", 320, 180, 30, 900, 1800, "hevc", preset="ultrafast"),
    ),
    audio=(AudioRendition("en", "en", 2, 1), AudioRendition("en-6ch", "en", 6, 1, 320)),
    subtitles=(SubtitleRendition("ru", "ru", None, "film.ru.vtt"),),
    chunk_segments=1,
)


@dataclasses.dataclass(frozen=True)
class Draft:
    folder: Path
    source: Source
    renditions: Renditions

    def verify(self, plan: Plan = PLAN) -> None:
        verify(self.folder, self.source, plan, measure(self.folder, plan))


@pytest.fixture(scope="module")
def whole(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Draft:
    root = tmp_path_factory.mktemp("whole")
    path, work, folder = root / "film.mkv", root / "work", root / "draft"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=3", "-f", "lavfi", "-i",
         "sine=duration=3,aformat=channel_layouts=5.1", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "ac3", path],
        check=True,
    )  # fmt: skip
    source = read_source(path)
    for chunk in PLAN.chunks:
        out = work / "chunks/0" / f"{chunk.number:05d}"
        out.mkdir(parents=True)
        encode_chunk(PLAN, source, chunk, PLAN.rungs, out)
    encode_audio(PLAN, source, work)
    (root / "film.ru.vtt").write_text(SUBTITLES)
    assemble(work, folder, PLAN)
    write_subtitles(PLAN, source, root, folder)
    write_iframes(folder, PLAN)
    renditions = measure(folder, PLAN)
    write_manifests(folder, renditions)
    return Draft(folder, source, renditions)


@pytest.fixture
def broken(whole: Draft, tmp_path: Path) -> Draft:
    """A copy to break."""
    return dataclasses.replace(whole, folder=Path(shutil.copytree(whole.folder, tmp_path / "copy")))


def test_a_whole_package_passes(whole: Draft) -> None:
    whole.verify()
    assert not check(whole.folder).musts_broken
    assert [video.codec for video in whole.renditions.video] == ["h264", "av1", "hevc"]
    assert [sound.track.channels for sound in whole.renditions.audio] == [2, 6]
    assert [len(frames.segments) for frames in whole.renditions.iframes] == [3]


def test_its_master_playlist_lists_all_of_it(whole: Draft) -> None:
    master = m3u8.load(str(whole.folder / "master.m3u8"))
    assert len(master.playlists) == 6
    codecs = {playlist.stream_info.codecs.split(".")[0] for playlist in master.playlists}
    assert codecs == {"avc1", "av01", "hvc1"}
    assert {playlist.stream_info.audio for playlist in master.playlists} == {"stereo", "surround"}
    for listed in [*master.playlists, *master.media, *master.iframe_playlists]:
        playlist = m3u8.load(str(whole.folder / listed.uri))
        length = sum(segment.duration for segment in playlist.segments)
        assert length == pytest.approx(3, abs=0.022), listed.uri
        for segment in playlist.segments:
            assert (whole.folder / listed.uri).with_name(segment.uri).is_file()


def test_another_player_reads_its_dash(whole: Draft, ffmpeg: Path) -> None:
    # ffmpeg would not open `.vtt` otherwise.
    arguments = [
        "-allowed_extensions",
        "ALL",
        "-i",
        whole.folder / "manifest.mpd",
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-f",
        "null",
        "-",
    ]
    decoded = subprocess.run([ffmpeg, "-v", "error", "-xerror", *arguments], capture_output=True, text=True)
    assert (decoded.returncode, decoded.stderr) == (0, "")


def test_dash_has_every_cue_once(whole: Draft) -> None:
    cues = read_cues((whole.folder / "subtitles/ru/whole.vtt").read_bytes(), "vtt").cues
    assert [(cue.start_ms, cue.end_ms, cue.text) for cue in cues] == [
        (500, 1800, "over a boundary"),
        (2000, 2300, "later"),
    ]


def test_its_description_tells_of_everything(whole: Draft) -> None:
    facts = describe("p", "t", "s", PLAN, whole.renditions, vmaf={"180p": 91.5}, key_ids=["k"], more={"loud": -23})
    assert [(rung["name"], rung.get("vmaf")) for rung in facts["video"]] == [
        ("180p", 91.5), ("180p-av1", None), ("180p-hevc", None),
    ]  # fmt: skip
    assert [(sound["language"], sound["channels"]) for sound in facts["audio"]] == [("en", 2), ("en", 6)]
    assert facts["bytes"] == sum(path.stat().st_size for path in whole.folder.rglob("*.m4s"))
    assert (facts["protection"], facts["key_ids"], facts["loud"]) == ("clear", ["k"], -23)


@pytest.mark.parametrize(
    ("rung", "message"),
    [
        (dataclasses.replace(PLAN.rungs[0], codec="hevc"), "180p is avc1.* planned as hevc"),
        (dataclasses.replace(PLAN.rungs[0], height=182), "180p is 320x180"),
        (dataclasses.replace(PLAN.rungs[0], hdr=True), "planned as HDR, but its boxes say SDR"),
        (dataclasses.replace(PLAN.rungs[0], marked=True), "has no second variants"),
    ],
)
def test_a_rung_that_is_not_as_planned(whole: Draft, rung: Rung, message: str) -> None:
    with pytest.raises(TranscodingError, match=message):
        whole.verify(dataclasses.replace(PLAN, rungs=(rung, *PLAN.rungs[1:])))


def test_a_lost_key_frame(broken: Draft) -> None:
    (broken.folder / "iframes/180p/00002.m4s").unlink()
    with pytest.raises(TranscodingError, match="iframes/180p: 2 key frames, 3 seconds have begun"):
        broken.verify()


def test_lost_subtitles(broken: Draft) -> None:
    (broken.folder / "subtitles/ru/00001.vtt").unlink()
    with pytest.raises(TranscodingError, match=r"subtitles/ru: 00001.vtt is missing"):
        broken.verify()


def test_surround_that_became_stereo(broken: Draft) -> None:
    shutil.rmtree(broken.folder / "audio/en-6ch")
    shutil.copytree(broken.folder / "audio/en", broken.folder / "audio/en-6ch")
    with pytest.raises(TranscodingError, match="sound en-6ch has 2 channels, not the planned 6"):
        broken.verify()


def test_a_source_with_other_frames(whole: Draft) -> None:
    other = dataclasses.replace(whole.source, frames=80)
    with pytest.raises(TranscodingError, match="planned 75 frames, the source's 80 give 80"):
        verify(whole.folder, other, PLAN, whole.renditions)


@pytest.mark.parametrize("name", ["video/180p", "video/180p-hevc", "video/180p-av1", "iframes/180p", "audio/en-6ch"])
def test_damage_in_any_rendition_is_found_by_decoding(broken: Draft, name: str) -> None:
    path = broken.folder / name / "00000.m4s"
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + (len(data) - start) // 2] = bytes((len(data) - start) // 2)
    path.write_bytes(data)
    with pytest.raises(TranscodingError):
        broken.verify()


def test_damage_in_a_second_variant_is_found_by_decoding(broken: Draft) -> None:
    shutil.copytree(broken.folder / "video/180p", broken.folder / "variants/180p")
    for name in ("init.mp4", "main.m3u8"):
        (broken.folder / "variants/180p" / name).unlink()
    plan = dataclasses.replace(PLAN, rungs=(dataclasses.replace(PLAN.rungs[0], marked=True), *PLAN.rungs[1:]))
    broken.verify(plan)
    path = broken.folder / "variants/180p/00001.m4s"
    data = bytearray(path.read_bytes())
    data[-2000:] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(TranscodingError):
        broken.verify(plan)


def test_everything_is_encrypted_and_comes_back(broken: Draft) -> None:
    def key_of(tier: str, period: int) -> Key:
        return Key(f"{tier}-{period}", hashlib.md5(tier.encode()).digest())

    protected = encrypt(broken.folder, broken.renditions, key_of)
    write_manifests(broken.folder, protected.renditions, key_of)
    verify_protected(broken.folder, protected, lambda key_id: hashlib.md5(key_id[:-2].encode()).digest())
    assert set(protected.digests) == {str(path.relative_to(broken.folder)) for path in broken.folder.rglob("*.m4s")}
    assert protected.key_ids == ("sd-0", "audio-0")
    report = check(broken.folder, key_for=lambda uri: hashlib.md5(uri.split("/")[-1][:-2].encode()).digest())
    assert not report.musts_broken
    assert not (broken.folder / "subtitles/ru/whole.vtt").exists()
