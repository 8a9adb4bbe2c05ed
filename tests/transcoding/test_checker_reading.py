"""What the checker reads from playlists, boxes and samples; and that nothing which it reads makes it fall over."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transcoding.checker import check
from transcoding.checker.bitstream import read_codec, sei_types
from transcoding.checker.load import load
from transcoding.checker.playlist import read_attributes, read_playlist
from transcoding.checker.reader import Limits, open_reader
from transcoding.checker.samples import read_fragments, read_init
from transcoding.errors import TranscodingError

LISTS = ["master.m3u8", "video/360p/main.m3u8", "audio/ru/main.m3u8", "subtitles/en/main.m3u8", "manifest.mpd"]
FILES = ["video/360p/init.mp4", "video/360p/00001.m4s", "audio/en/init.mp4", "iframes/360p/00003.m4s",
         "subtitles/en/00001.vtt"]  # fmt: skip
WORDS = [
    b"", b"\n", b",", b'"', b"=", b"-1", b"1e400", b"\xff", b"\0", b"#EXT-X-BYTERANGE:9@", b"#EXT-X-KEY:METHOD=AES-128",
    b"#EXT-X-STREAM-INF:", b"#EXT-X-MAP:", b"#EXT-X-DISCONTINUITY\n", b"..", b"main.m3u8", b"99999999999999999",
    "٣".encode(), b"#EXTINF:0,\n", b"<!ENTITY x 'y'>", b"$Number$", b"0", b"NaN",
]  # fmt: skip
PIECE = st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(WORDS), st.binary(max_size=12)))
LIGHT = "max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
HDR = [
    "-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc,format=yuv420p10le",
    "-x265-params", f"log-level=none:open-gop=0:{LIGHT}",
]  # fmt: skip


def test_attributes() -> None:
    assert read_attributes('A=1,B="x,y=z",C=') == ({"A": "1", "B": "x,y=z", "C": ""}, True)
    assert read_attributes("A=1,A=2")[1] is False
    assert read_attributes('A="1') == ({}, False)


def test_a_hostile_line_takes_no_more_than_its_length() -> None:
    for text in (" " * 2_000_000 + '"', "A=" + " " * 2_000_000 + '"', "A" * 2_000_000, 'A="' * 500_000):
        read_attributes(text)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("avc1.64001f", ("avc", 100, 31, False)),
        ("avc1.66.30", ("avc", 66, 30, False)),
        ("hvc1.2.4.H153.B0", ("hevc", 2, 153, True)),
        ("hev1.A1.6.L93", ("hevc", 1, 93, False)),
        ("av01.0.08M.08", ("av1", 0, 8, False)),
        ("dvh1.05.07", ("dolby", 5, 7, False)),
        ("mp4a.40.5", ("he-aac", 0, 0, False)),
        ("avc1.xyz", ("unknown", 0, 0, False)),
        ("hvc1", ("unknown", 0, 0, False)),
        ("what.1", ("unknown", 0, 0, False)),
    ],
)
def test_codec_words(word: str, expected: tuple[str, int, int, bool]) -> None:
    codec = read_codec(word)
    assert (codec.family, codec.profile, codec.level, codec.high_tier) == expected


def test_sei_types() -> None:
    assert list(sei_types(bytes([137, 2, 0, 0, 255, 1, 1, 9, 0x80]))) == [137, 256]


def test_playlists_keep_what_is_wrong() -> None:
    listing = read_playlist("x", b"#EXTM3U\n#EXTINF:six,\na.ts\nb.ts\n#EXT-X-MAP:BYTERANGE=1@0\n")
    assert [entry.uri for entry in listing.entries] == ["a.ts", "b.ts"]
    assert len(listing.faults) == 4  # no duration, no EXTINF, no URI, no target duration


def test_ranges_follow_one_another() -> None:
    listing = read_playlist("x", b"#EXTM3U\n#EXT-X-BYTERANGE:10@5\n#EXTINF:1,\na\n#EXT-X-BYTERANGE:7\n#EXTINF:1,\na\n")
    assert [entry.span for entry in listing.entries] == [(5, 10), (15, 7)]


@pytest.mark.parametrize(
    ("codec", "options", "word"),
    [
        ("libx264", ["-preset", "ultrafast", "-color_trc", "bt709", "-color_primaries", "bt709"], "avc1."),
        ("libx265", ["-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", "log-level=none:open-gop=0"], "hvc1.1."),
        ("libx265", ["-preset", "ultrafast", "-tag:v", "hvc1", *HDR], "hvc1.2."),
        ("libsvtav1", ["-preset", "12"], "av01.0."),
    ],
)  # fmt: skip
def test_samples_are_read_as_another_demuxer_reads_them(
    codec: str, options: list[str], word: str, ffmpeg: Path, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=3", "-c:v", codec,
         "-g", "25", *options, "-movflags", "+cmaf+frag_keyframe+empty_moov", path],
        check=True, env={"SVT_LOG": "0"},
    )  # fmt: skip
    data = path.read_bytes()
    (track,) = read_init(data)
    (line,), fragments = read_fragments(data, (track,))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert track.codec.startswith(word)
    assert (track.width, track.height, line.samples) == (320, 180, len(packets))
    assert line.flagged == len(line.keys) == sum(packet.is_keyframe for packet in packets)
    assert (line.first_key, line.first_sync, fragments) == (True, True, len(line.keys))
    assert line.end - line.start == 3
    if HDR[1] in options:
        assert track.video is not None
        assert (track.video.transfer, track.video.primaries, track.video.bit_depth) == (16, 9, 10)
        assert {137, 144} <= track.video.sei | line.messages


def test_what_is_measured_of_a_package(packaged: Path) -> None:
    package = load(open_reader(packaged / "clear", Limits()), None)
    picture = package.renditions["video/360p/main.m3u8"]
    sizes = [path.stat().st_size * 8 for path in sorted((packaged / "clear/video/360p").glob("*.m4s"))]
    length = Fraction(390 * 1001, 30_000)
    assert picture.frame_rate == Fraction(30_000, 1001)
    assert picture.rates == (round(sum(sizes) / length), round(max(sizes[:2]) / Fraction("6.006")))
    assert [len(segment.timelines[0].keys) for segment in picture.segments] == [3, 3, 1]
    for name, cues in (("en", 2), ("en-forced", 1)):
        texts = package.renditions[f"subtitles/{name}/main.m3u8"]
        assert sum(len(segment.cues) for segment in texts.segments) == cues


@pytest.fixture(scope="module")
def victim(packaged: Path) -> Path:
    return packaged / "clear"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(LISTS), cuts=st.lists(PIECE, min_size=1, max_size=4))
def test_no_damage_of_playlists_raises(name: str, cuts: list[tuple[float, int, bytes]], victim: Path) -> None:
    damaged(victim, name, cuts)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), seed=st.integers(0, 1 << 30), flips=st.integers(1, 30))
def test_no_damage_of_boxes_raises(name: str, seed: int, flips: int, victim: Path) -> None:
    draw = random.Random(seed)
    # Most of a segment is samples; what is interesting stands in front.
    cuts = [(draw.random() ** 6, 1, bytes([draw.randrange(256)])) for _ in range(flips)]
    damaged(victim, name, cuts)


def damaged(victim: Path, name: str, cuts: list[tuple[float, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "package"
        shutil.copytree(victim, folder, copy_function=os.link)
        data = (folder / name).read_bytes()
        for place, length, words in cuts:
            at = int(place * len(data))
            data = data[:at] + words + data[at + length :]
        (folder / name).unlink()
        (folder / name).write_bytes(data)
        try:
            report = check(folder)
        except TranscodingError:
            return
        assert len(report.findings) > 100
        assert all(finding.evidence or finding.state != "fail" for finding in report.findings)


def test_the_reader_is_chosen_by_the_location(packaged: Path, film: Callable[..., Path]) -> None:
    assert open_reader(packaged / "clear", Limits()).start == "master.m3u8"
    assert open_reader(packaged / "clear/video/360p/main.m3u8", Limits()).start == "main.m3u8"
    assert open_reader("https://host/a/", Limits()).start == "https://host/a/master.m3u8"
    with pytest.raises(TranscodingError, match="no playlist"):
        open_reader(film("x.mp4", "testsrc2=size=32x32:rate=5:duration=0.4").parent, Limits())
