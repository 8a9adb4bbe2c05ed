import random
import threading
from pathlib import Path

import pytest

from transcoding.deepcheck import check_master
from transcoding.errors import TranscodingError, TransientError
from transcoding.source import read_source

CLIPS = (
    "damaged/hdr10_720p2997_3s.mp4", "damaged/interlaced_576i25.mpg", "damaged/surround51_eac3_subs.mkv",
    "damaged/vfr_phone.mp4", "real/bbb_1080p60_2s_51.mp4", "real/bbb_720p25_5s_51.mp4",
    "real/bbb_hevc_ac3_360p24_8s.mp4", "real/nasa_multitrack_270p_13s.mp4", "real/sam_dog_720p2997_10s.mp4",
    "real/sam_juggle_720p24_10s.mp4", "real/tos_wave_1080p2997_8s.mp4",
)  # fmt: skip


def flip(path: Path, target: Path, share: float, bits: int = 60) -> Path:
    """A copy with bits flipped in a short stretch that begins at this share of the file."""
    data, chance = bytearray(path.read_bytes()), random.Random(3)
    start = int(len(data) * share)
    for _ in range(bits):
        data[start + chance.randrange(len(data) // 20)] ^= 1 << chance.randrange(8)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("name", CLIPS)
def test_sound_films_pass(shared: Path, name: str) -> None:
    done: list[float] = []
    check_master(read_source(shared / "data" / "clips" / name), on_progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", CLIPS)
def test_flipped_bits_are_found(shared: Path, tmp_path: Path, name: str) -> None:
    whole = shared / "data" / "clips" / name
    damaged = flip(whole, tmp_path / whole.name, 0.5)
    with pytest.raises(TranscodingError, match=r"damaged near \d+:\d\d\.\d: |frames can be decoded"):
        check_master(read_source(damaged))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_time_of_the_damage_is_named(clip: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(TranscodingError, match=r"film.mp4: damaged near 0:0\d\.\d: ") as caught:
        check_master(read_source(flip(clip, tmp_path / "film.mp4", share, bits=200)))
    named = float(str(caught.value).split("near 0:")[1].split(": ")[0])
    assert abs(named - 4 * share) < 1.0


def test_a_damaged_sound_is_found(ffmpeg: Path, clip: Path, tmp_path: Path) -> None:
    import subprocess

    film = tmp_path / "sound.mkv"  # frames of AC-3 carry a checksum
    subprocess.run([ffmpeg, "-v", "error", "-i", clip, "-c:v", "copy", "-c:a", "ac3", "-b:a", "640k", film], check=True)
    check_master(read_source(film))
    data = bytearray(film.read_bytes())
    start = data.index(b"\x0b\x77", len(data) // 2) + 40
    data[start : start + 30] = bytes(30)
    film.write_bytes(data)
    with pytest.raises(TranscodingError, match="damaged near"):
        check_master(read_source(film))


def test_a_check_can_be_cancelled(clip: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TransientError, match="cancelled"):
        check_master(read_source(clip), cancel=cancel)
