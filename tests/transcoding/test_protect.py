"""An encrypted package: what players get from it, and that nothing of the clear one is left."""

import dataclasses
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.db.connect import connect
from matinee.settings import Settings
from transcoding.boxes import Segment, Track
from transcoding.encode import encode
from transcoding.errors import TranscodingError
from transcoding.keys import content_key, open_key, rotate
from transcoding.package import measure, write_manifests
from transcoding.plan import AudioRendition, Plan, Rung
from transcoding.protect import (
    Key,
    Protected,
    decrypt_segment,
    encrypt,
    encrypt_segment,
    periods,
    playlist_keys,
    tier,
)
from transcoding.renditions import Rendition, Renditions
from transcoding.source import read_source
from transcoding.verify import verify_protected

# 126 segments of three frames: three key periods of sound and picture.
PLAN = Plan(
    frame_rate=Fraction(25),
    gop=1,
    frames=378,
    rungs=(Rung("90p", 160, 90, 35, 200, 400, preset="ultrafast"),),
    audio=(AudioRendition("en", "en", 2, 1, 64),),
)


def key_of(tier: str, period: int) -> Key:
    return Key(f"{tier}-{period}", hashlib.sha256(f"{tier} {period}".encode()).digest()[:16])


def key_for(key_id: str) -> bytes:
    tier, _, period = key_id.partition("-")
    return key_of(tier, int(period)).secret


@dataclasses.dataclass(frozen=True)
class Package:
    folder: Path
    clear: Path
    renditions: Renditions
    protected: Protected


@pytest.fixture(scope="module")
def package(film: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Package:
    source = read_source(film("locked.mp4", "testsrc2=size=160x90:rate=25:duration=15.12", {"eng": 440}))
    folder = tmp_path_factory.mktemp("locked") / "package"
    folder.mkdir()
    encode(PLAN, source, folder)
    # The second variant of a marked rung; here the first one again.
    shutil.copytree(folder / "video/90p", folder / "variants/90p", ignore=shutil.ignore_patterns("init*", "*.m3u8"))
    renditions = measure(folder, PLAN)
    write_manifests(folder, renditions)
    clear = Path(shutil.copytree(folder, folder.with_name("clear")))
    protected = encrypt(folder, renditions, key_of)
    write_manifests(folder, protected.renditions, key_of)
    return Package(folder, clear, renditions, protected)


def test_decrypted_it_is_what_it_was(package: Package) -> None:
    verify_protected(package.folder, package.protected, key_for)
    assert package.protected.key_ids == ("sd-0", "sd-1", "sd-2", "audio-0", "audio-1", "audio-2")
    assert not (package.folder / "manifest.mpd").exists()
    assert (package.folder / "video/90p/init.mp4").read_bytes() == (package.clear / "video/90p/init.mp4").read_bytes()


def test_no_segment_is_left_clear(package: Package) -> None:
    segments = [*package.folder.rglob("*.m4s")]
    assert len(segments) == 3 * 126
    for path in segments:
        data = path.read_bytes()
        assert b"moof" not in data
        assert len(data) % 16 == 0
    assert not list(package.folder.rglob(".*")), "a half written file was left"


def test_sizes_are_those_of_the_encrypted_files(package: Package) -> None:
    (video,), (sound,) = package.protected.renditions.video, package.protected.renditions.audio
    for rendition in (video, sound):
        paths = [package.folder / rendition.folder / segment.name for segment in rendition.segments]
        assert [segment.size for segment in rendition.segments] == [path.stat().st_size for path in paths]
    assert sum(video.twins) == sum(path.stat().st_size for path in (package.folder / "variants/90p").iterdir())


def test_a_key_changes_every_fifty_segments_and_comes_after_the_map(package: Package) -> None:
    for name, tier_name in (("video/90p", "sd"), ("audio/en", "audio")):
        lines = (package.folder / name / "main.m3u8").read_text().splitlines()
        keys = [line for line in lines if line.startswith("#EXT-X-KEY")]
        assert keys == [f'#EXT-X-KEY:METHOD=AES-128,URI="/api/watch/keys/{tier_name}-{period}"' for period in range(3)]
        assert lines.index('#EXT-X-MAP:URI="init.mp4"') < lines.index(keys[0])
        assert [lines[lines.index(key) + 2] for key in keys] == ["00000.m4s", "00050.m4s", "00100.m4s"]


def test_another_player_decrypts_it_by_its_playlists(package: Package, ffmpeg: Path, tmp_path: Path) -> None:
    """ffmpeg's HLS demuxer; only the keys' address is changed, for it cannot ask our server."""
    folder = Path(shutil.copytree(package.folder, tmp_path / "package"))
    for name in ("video/90p", "audio/en"):
        playlist = folder / name / "main.m3u8"
        for key_id in package.protected.key_ids:
            (folder / name / f"{key_id}.key").write_bytes(key_for(key_id))
        playlist.write_text(re.sub(r"/api/watch/keys/([\w-]+)", r"\1.key", playlist.read_text()))

        def decoded(path: Path) -> list[str]:
            arguments = ["-allowed_extensions", "ALL", "-i", path, "-map", "0:0", "-f", "framemd5", "-"]
            out = subprocess.run([ffmpeg, "-v", "error", "-xerror", *arguments], capture_output=True, text=True)
            assert (out.returncode, out.stderr) == (0, "")
            return [line for line in out.stdout.splitlines() if not line.startswith("#")]

        assert decoded(playlist) == decoded(package.clear / name / "main.m3u8")


def test_verification_finds_a_wrong_key_a_lost_period_and_a_flipped_bit(package: Package, tmp_path: Path) -> None:
    with pytest.raises(TranscodingError, match=r"damaged or the key is another's|not what went in"):
        verify_protected(package.folder, package.protected, lambda _: bytes(16))
    folder = Path(shutil.copytree(package.folder, tmp_path / "package"))
    write_manifests(folder, package.protected.renditions, lambda tier, _: key_of(tier, 0))
    with pytest.raises(TranscodingError, match="00050"):
        verify_protected(folder, package.protected, key_for)
    write_manifests(folder, package.protected.renditions, key_of)
    twin = folder / "variants/90p/00007.m4s"
    data = bytearray(twin.read_bytes())
    data[40] ^= 1
    twin.write_bytes(data)
    with pytest.raises(TranscodingError, match=r"variants/90p/00007\.m4s: what comes out"):
        verify_protected(folder, package.protected, key_for)
    write_manifests(folder, package.renditions)
    with pytest.raises(TranscodingError, match="names the key None"):
        verify_protected(folder, package.protected, key_for)


def test_packages_play_on_after_the_key_encryption_key_was_changed(
    package: Package, settings: Settings, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(package.clear, tmp_path / "package"))
    with connect(settings, autocommit=True) as connection:
        connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES ('one', 'film', 0)")
        kept = cache(partial(content_key, connection, settings, "one"))
        protected = encrypt(folder, package.renditions, kept)
        write_manifests(folder, protected.renditions, kept)
        assert rotate(connection, settings) == (2, 6)
        assert rotate(connection, settings) == (3, 6)
        verify_protected(folder, protected, lambda key_id: open_key(connection, settings, key_id))
    # Nobody finds a key in what is handed out.
    secrets = [kept(tier, period).secret for tier in ("sd", "audio") for period in range(3)]
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        assert not any(secret in data or secret.hex().encode() in data for secret in secrets)


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16), st.integers(0, 2**32))
def test_what_is_encrypted_comes_back(data: bytes, secret: bytes, sequence: int) -> None:
    locked = encrypt_segment(data, secret, sequence)
    assert len(locked) == len(data) // 16 * 16 + 16
    assert decrypt_segment(locked, secret, sequence) == data
    assert encrypt_segment(data, secret, sequence + 1) != locked


def test_the_cipher_is_that_of_the_standard() -> None:
    """NIST SP 800-38A, F.2.1; its IV as a sequence number."""
    secret = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    iv = int.from_bytes(bytes(range(16)))
    locked = encrypt_segment(bytes.fromhex("6bc1bee22e409f96e93d7e117393172a"), secret, iv)
    assert locked[:16].hex() == "7649abac8119b246cee98e9b12e9197d"
    with pytest.raises(TranscodingError, match="of 15 bytes"):
        encrypt_segment(b"", bytes(15), 0)
    with pytest.raises(TranscodingError, match=r"segment 0 \(5 bytes\)"):
        decrypt_segment(b"12345", secret, 0)


def rendition(kind: str, height: int, times: list[tuple[int, int]]) -> Rendition:
    segments = tuple(Segment(f"{n:05d}.m4s", at, length, 1, 10, True) for n, (at, length) in enumerate(times))
    return Rendition(kind, f"{height}p", Track(1, "avc1.64001f", height * 16 // 9, height, 0), segments)


def test_tiers_follow_the_lines_of_the_picture() -> None:
    heights = {234: "sd", 719: "sd", 720: "hd", 1080: "hd", 1082: "uhd", 2160: "uhd"}
    assert {height: tier(rendition("video", height, [])) for height in heights} == heights
    assert tier(rendition("iframes", 1080, [])) == "sd"
    assert tier(rendition("audio", 0, [])) == "audio"


def test_key_frames_change_keys_with_the_picture() -> None:
    """A key frame a second against six seconds a segment: 300 of them are one period."""
    frames = rendition("iframes", 90, [(second, 1) for second in range(700)])
    told = periods(frames, Fraction(6))
    assert [told.index(period) for period in range(3)] == [0, 300, 600]


def test_keys_of_a_playlist_with_a_clear_end() -> None:
    text = '#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-KEY:METHOD=AES-128,URI="k"\na\n#EXT-X-KEY:METHOD=NONE\nb'
    assert list(playlist_keys(text)) == [("a", 7, "k"), ("b", 8, None)]
