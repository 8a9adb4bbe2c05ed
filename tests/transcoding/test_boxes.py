"""Codec names, colours and times read from boxes; segments moved in time."""

import struct
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.boxes import find, patch_segment, read_segment, read_track, sample_durations
from transcoding.codecs import aac_name, av1_name, avc_name, hevc_name
from transcoding.errors import TranscodingError

HDR10 = (
    "hdr10=1:repeat-headers=0:info=0:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
    "L(10000000,1):max-cll=1000,400"
)
SDR = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
PQ = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
ENCODERS = {
    "h264": [SDR, "-c:v", "libx264", "-preset", "ultrafast"],
    "hdr10": [PQ, "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", HDR10,
              "-tag:v", "hvc1"],
    "av1": [SDR, "-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p10le"],
    "av1-hdr": [PQ, "-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p10le"],
}  # fmt: skip


@pytest.fixture(scope="module")
def muxed(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each encoder with `init.mp4`, segments of half a second, and ffmpeg's DASH manifest over them."""
    root = tmp_path_factory.mktemp("muxed")
    for name, (filters, *options) in ENCODERS.items():
        (root / name).mkdir()
        source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=1", "-vf", filters]
        mux = ["-g", "12", "-keyint_min", "12", "-flags", "+cgop", "-f", "dash", "-seg_duration", "0.5",
               "-init_seg_name", "init.mp4", "-media_seg_name", "$Number%05d$.m4s", "manifest.mpd"]  # fmt: skip
        subprocess.run(
            [ffmpeg, "-v", "error", *source, *options, *mux], cwd=root / name, check=True, capture_output=True
        )
    return root


@pytest.mark.parametrize("name", ENCODERS)
def test_codec_names_are_those_of_another_writer(muxed: Path, name: str) -> None:
    representation = next(ET.parse(muxed / name / "manifest.mpd").iter("{urn:mpeg:dash:schema:mpd:2011}Representation"))
    # The long form of AV1's usual colours may be left out, and we do.
    theirs = representation.get("codecs", "").removesuffix(".0.110.01.01.01.0")
    assert read_track(muxed / name / "init.mp4").codec == theirs


def test_colours_and_static_metadata(muxed: Path) -> None:
    tracks = {name: read_track(muxed / name / "init.mp4") for name in ENCODERS}
    assert tracks["h264"].colour == tracks["av1"].colour == (1, 1, 1, False)
    assert tracks["hdr10"].colour == tracks["av1-hdr"].colour == (9, 16, 9, False)
    assert {name: track.video_range for name, track in tracks.items()} == {
        "h264": "SDR", "hdr10": "PQ", "av1": "SDR", "av1-hdr": "PQ",
    }  # fmt: skip
    assert [name for name, track in tracks.items() if track.mastering_display and track.light_level] == ["hdr10"]
    assert {(track.width, track.height) for track in tracks.values()} == {(320, 180)}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        # Main, compatible with Main and Main 10, main tier, level 3.1; progressive, no interlace, frames only.
        ("01 01 60000000 b00000000000 5d", "hvc1.1.6.L93.B0"),
        ("01 22 20000000 b00000000000 99", "hvc1.2.4.H153.B0"),
        ("01 02 20000000 000000000000 78", "hvc1.2.4.L120"),
        ("01 41 60000000 900000000001 3c", "hvc1.A1.6.L60.90.0.0.0.0.1"),
    ],
)
def test_hevc_names(record: str, name: str) -> None:
    assert hevc_name("hvc1", bytes.fromhex(record)) == name


@pytest.mark.parametrize(
    ("record", "colour", "name"),
    [
        ("81 04 0c 00", (1, 1, 1, False), "av01.0.04M.08"),
        ("81 08 4c 00", (1, 1, 1, False), "av01.0.08M.10"),
        # The binding's own example: ten bits, co-located chroma, BT.2100 PQ.
        ("81 04 4e 00", (9, 16, 9, False), "av01.0.04M.10.0.112.09.16.09.0"),
        ("81 2d cc 00", (1, 1, 1, True), "av01.1.13H.10.0.110.01.01.01.1"),
    ],
)
def test_av1_names(record: str, colour: tuple[int, int, int, bool], name: str) -> None:
    assert av1_name(bytes.fromhex(record), colour) == name


def test_avc_and_aac_names() -> None:
    assert avc_name("avc1", bytes.fromhex("01 64 00 1f")) == "avc1.64001f"
    #  ES descriptor (3) with decoder configuration (4) and AudioSpecificConfig (5): AAC-LC, 48 kHz, 5.1.
    descriptor = bytes.fromhex("03 19 0000 00 04 11 40 15 000000 0004e200 0004e200 05 02 11b0 06 01 02")
    assert aac_name(descriptor) == ("mp4a.40.2", 6)
    # A sampling rate that is written out (24 bits): stereo.
    explicit = (2 << 43 | 15 << 39 | 48_000 << 15 | 2 << 11).to_bytes(6)
    assert aac_name(descriptor[:20] + b"\x05\x06" + explicit) == ("mp4a.40.2", 2)
    with pytest.raises(TranscodingError, match="without a decoder configuration"):
        aac_name(descriptor[:20])


@given(offset=st.integers(0, 2**60), sequence=st.integers(1, 2**32 - 1))
def test_moving_changes_times_and_numbers_alone(muxed: Path, offset: int, sequence: int) -> None:
    path = muxed / "h264/00002.m4s"
    data = without_index(path.read_bytes())
    moved = patch_segment(data, offset, sequence)
    mfhd, (tfdt, end) = find(data, "moof/mfhd")[0], find(data, "moof/traf/tfdt")
    assert struct.unpack_from(">I", moved, mfhd + 4)[0] == sequence
    before, after = (struct.unpack_from(">Q", text, tfdt + 4)[0] for text in (data, moved))
    assert after - before == offset
    blank = bytearray(moved)
    blank[mfhd + 4 : mfhd + 8], blank[tfdt + 4 : end] = data[mfhd + 4 : mfhd + 8], data[tfdt + 4 : end]
    assert bytes(blank) == data
    assert patch_segment(moved, -offset, struct.unpack_from(">I", data, mfhd + 4)[0]) == data


def without_index(data: bytes) -> bytes:
    """What ffmpeg's DASH muxer wrote, less its segment index."""
    at = data.find(b"sidx") - 4
    return data if at < 0 else data[:at] + data[at + int.from_bytes(data[at : at + 4]) :]


def box(kind: bytes, *inside: bytes) -> bytes:
    content = b"".join(inside)
    return struct.pack(">I", 8 + len(content)) + kind + content


def fragment(time: int, number: int, ticks: list[int]) -> bytes:
    """A fragment with 32-bit times; its default of 7 ticks is not used where `ticks` are written."""
    tfhd = box(b"tfhd", struct.pack(">III", 0x020008, 1, 7))
    tfdt = box(b"tfdt", struct.pack(">II", 0, time))
    trun = box(b"trun", struct.pack(">II", 0x000100, len(ticks)), struct.pack(f">{len(ticks)}I", *ticks))
    return box(b"moof", box(b"mfhd", struct.pack(">II", 0, number)), box(b"traf", tfhd, tfdt, trun)) + box(b"mdat")


def test_short_times_and_several_fragments(tmp_path: Path) -> None:
    data = fragment(0, 1, [2, 3]) + fragment(5, 2, [4])
    path = tmp_path / "00003.m4s"
    path.write_bytes(patch_segment(data, 1000, 41))
    segment = read_segment(path)
    assert (segment.start, segment.duration, segment.samples, segment.fragments) == (1000, 9, 3, 2)
    assert sample_durations(path.read_bytes()) == [2, 3, 4]
    assert path.read_bytes() == fragment(1000, 41, [2, 3]) + fragment(1005, 42, [4])
    with pytest.raises(TranscodingError, match="4294967296 does not fit into 32 bits"):
        patch_segment(data, 2**32, 1)
    with pytest.raises(TranscodingError, match="does not fit"):
        patch_segment(data, -1, 1)


def test_an_index_would_become_wrong() -> None:
    with pytest.raises(TranscodingError, match="index"):
        patch_segment(box(b"sidx", bytes(24)) + fragment(0, 1, [1]), 5, 1)


def test_a_run_that_claims_too_many_samples(tmp_path: Path) -> None:
    data = bytearray(fragment(0, 1, [2, 3]))
    at = data.index(b"trun") + 8
    data[at : at + 4] = struct.pack(">I", 2**31)
    path = tmp_path / "s.m4s"
    path.write_bytes(data)
    with pytest.raises(TranscodingError, match="claims 2147483648 samples"):
        read_segment(path)
