import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.judge import Verdict, corrections, judge
from ingest.masters import ingest_masters
from ingest.probe import LARGEST_BYTES, Probe, Stream
from matinee import film, sandbox
from matinee.confined import call
from matinee.sandbox import Limits

TESTSRC = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=1")
SINE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SOUND = ("-ar", "48000", "-ac", "2")


def _make(ffmpeg: Path, target: Path, *arguments: str) -> Path:
    subprocess.run([ffmpeg, "-v", "error", "-y", *arguments, target], check=True)
    return target


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("damaged/hdr10_720p2997_3s.mp4", ("tone-map pq", "no audio")),
        ("damaged/interlaced_576i25.mpg", ("square pixels 1024x576", "deinterlace 25i->50p")),
        ("damaged/no_audio.mp4", ("no audio",)),
        ("damaged/odd_853x479_yuv444.mp4", ("square pixels 852x479", "crop odd size 852x478", "4:4:4->4:2:0")),
        ("damaged/rotated_90.mp4", ("rotate 90",)),
        ("damaged/surround51_eac3_subs.mkv", ("downmix 5.1->stereo, 5.1 kept", "cut subtitles to 5.0 s")),
        ("damaged/text_renamed.mp4", "a text file, not a film"),
        ("damaged/truncated_no_moov.mp4", "cut short: an MP4 without its index (moov)"),
        ("damaged/vfr_phone.mp4", ("vfr->24", "no audio")),
        ("damaged/zero_byte.mp4", "empty: the file has no content"),
        ("real/bbb_1080p60_2s_51.mp4", ("downmix 5.1->stereo, 5.1 kept",)),
        ("real/bbb_hevc_ac3_360p24_8s.mp4", ()),
        (
            "real/nasa_multitrack_270p_13s.mp4",
            ("drop 1 other video", "resample 8 kHz", "resample 16 kHz", "cut subtitles to 13.0 s"),
        ),
        ("real/sam_dog_720p2997_10s.mp4", ()),
        ("real/tos_wave_1080p2997_8s.mp4", ("no audio",)),
    ],
)
def test_each_clip_gets_its_verdict(shared, name, expected):
    verdict = judge(shared / "data" / "clips" / name)
    if isinstance(expected, str):
        assert not verdict.accepted
        assert verdict.probe is None
        assert (verdict.reason or "").startswith(expected)
    else:
        assert (verdict.accepted, verdict.reason, verdict.corrections) == (True, None, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*TESTSRC, "-itsoffset", "1.7", *SINE, *X264, *SOUND), ("audio 1.7 s late", "cut audio by 1.7 s")),
        ((*SINE, "-itsoffset", "0.5", *TESTSRC, *X264, *SOUND), ("picture 0.5 s late",)),
        ((*TESTSRC, *SINE, *X264, "-ar", "44100", "-ac", "1"), ("mono->stereo", "resample 44.1 kHz")),
        ((*TESTSRC, *X264, "-r", "120"), ("frame rate 120->60", "no audio")),
        ((*TESTSRC, *X264[:-1], "yuv420p10le"), ("10 bit->8 bit", "no audio")),
        ((*TESTSRC, *X264, "-vf", "setsar=32/27"), ("square pixels 190x90", "no audio")),
        ((*TESTSRC, *X264, "-frames:v", "1"), ("no audio",)),
        (("-f", "lavfi", "-i", "color=size=8448x4320:duration=0.04", *X264), "8448x4320 is larger than 8192x4320"),
    ],
)
def test_what_is_made_gets_its_verdict(ffmpeg, tmp_path, arguments, expected):
    verdict = judge(_make(ffmpeg, tmp_path / "film.mp4", *arguments))
    assert verdict.corrections == (() if isinstance(expected, str) else expected)
    assert (verdict.reason or "").startswith(expected if isinstance(expected, str) else "")


def test_a_verdict_is_kept_with_the_master(connection, settings, shared):
    ingest_masters(connection, shared / "data" / "clips" / "damaged" / "rotated_90.mp4", settings.media)
    assert connection.execute("SELECT probe->'corrections' FROM master").fetchone() == (["rotate 90"],)


SOUND_FILM = Probe(
    container="mov", duration_ms=4000, video_index=0, width=640, height=360, fps=24.0, frame_rate="24", vfr=False,
    rotation=0, sar="1:1", pix_fmt="yuv420p", chroma="4:2:0", bit_depth=8, interlaced=False, hdr=None, has_audio=True,
    channels=(2,), languages=("ru",),
    streams=(
        Stream(0, "video", "h264", None, width=640, height=360, start_ms=0, end_ms=4000),
        Stream(1, "audio", "aac", "ru", channels=2, sample_rate=48_000, layout="stereo", start_ms=0, end_ms=4000),
    ),
)  # fmt: skip


def test_a_film_as_players_want_it_needs_nothing():
    assert corrections(SOUND_FILM) == ()
    assert Probe.from_json(json.loads(json.dumps(SOUND_FILM.as_json()))) == SOUND_FILM


def test_what_cannot_be_shown_is_dropped_and_said():
    video, sound = SOUND_FILM.streams
    extra = (
        replace(video, index=2, cover=True),
        replace(sound, index=3, codec=None),
        Stream(4, "subtitle", "pgssub", "en", end_ms=4000),
    )
    found = corrections(replace(SOUND_FILM, streams=(*SOUND_FILM.streams, *extra)))
    assert found == ("drop 1 undecodable audio", "drop 1 picture subtitle")


@given(
    width=st.integers(1, 8192), height=st.integers(1, 4320), sar=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    rate=st.fractions(1, 300, max_denominator=1001), vfr=st.booleans(), interlaced=st.booleans(),
)  # fmt: skip
def test_every_film_has_corrections_with_even_sizes_and_rates_that_play(width, height, sar, rate, vfr, interlaced):
    found = replace(
        SOUND_FILM, width=width, height=height, sar=f"{sar[0]}:{sar[1]}", frame_rate=str(rate), vfr=vfr,
        interlaced=interlaced,
    )  # fmt: skip
    for correction in corrections(found):
        word, _, value = correction.rpartition(" ")
        if word == "crop odd size":
            assert all(int(side) % 2 == 0 for side in value.split("x"))
        if word in ("frame rate", "deinterlace"):
            assert 0 < float(value.rpartition("->")[2].rstrip("p")) <= 60


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A local server that must hear of nobody: its port, and who called."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def wait() -> None:
            while True:
                try:
                    calls.append(server.accept()[1])
                except OSError:
                    return

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield server.getsockname()[1], calls
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
@pytest.mark.parametrize("disguise", ["film.mp4", "film.m3u8", "concat:a|b.mp4"])
def test_a_playlist_dressed_as_a_film_opens_nothing(kind, disguise, tmp_path, listener):
    port, calls = listener
    planted = tmp_path / "secret.ts"
    os.mkfifo(planted)  # whoever opens it waits for a writer that never comes
    before = time.monotonic()
    for target in (f"http://127.0.0.1:{port}/x.ts", f"file:{planted}", planted.name):
        path = tmp_path / disguise
        path.write_text(PLAYLISTS[kind].format(target=target, port=port))
        verdict = judge(path)
        assert not verdict.accepted
        assert verdict.reason == "a text file, not a film"
    assert time.monotonic() - before < 15
    assert calls == []


@pytest.mark.skipif(not sandbox.has_seccomp(), reason="no seccomp here")
@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/x.ts", "file:{folder}/secret.ts"])
def test_the_process_that_looks_could_not_open_it_either(target, tmp_path, listener):
    port, calls = listener
    os.mkfifo(tmp_path / "secret.ts")
    path = tmp_path / "film.m3u8"  # a name that lets FFmpeg take it for a playlist, and no whitelist
    path.write_text(PLAYLISTS["hls"].format(target=target.format(port=port, folder=tmp_path)))
    closed = Limits((path,), (), memory_mb=film.LOOK_MB, cpu_s=20, file_mb=1)
    with pytest.raises((OSError, RuntimeError)):
        call("av:open", str(path), limits=closed, timeout_s=20, load=("av",))
    assert calls == []


def test_a_file_that_promises_too_much_is_refused(ffmpeg, tmp_path):
    """An MP4 whose index claims 400 million frames: a table of 9.6 GB."""
    made = bytearray(_make(ffmpeg, tmp_path / "film.mp4", *TESTSRC, *X264).read_bytes())
    for box, fields in ((b"stsz", {4: 1, 8: 400_000_000}), (b"stts", {8: 400_000_000}), (b"stsc", {12: 400_000_000})):
        for place, value in fields.items():
            struct.pack_into(">I", made, made.index(box) + 4 + place, value)
    (tmp_path / "film.mp4").write_bytes(made)
    before = time.monotonic()
    assert not judge(tmp_path / "film.mp4").accepted
    assert time.monotonic() - before < 15


def test_a_file_that_is_too_large_or_too_long_is_refused(ffmpeg, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    os.truncate(path, LARGEST_BYTES + 1)  # nothing of it is written
    assert judge(path).reason == "too large: 200 GB, 200 GB are the most that is taken"
    path.unlink()
    slow = "color=size=64x36:rate=1/20000:duration=60000"
    verdict = judge(_make(ffmpeg, path, "-f", "lavfi", "-i", slow, *X264))
    assert verdict.reason == "too long: 17 h, 12 h are the most that is taken"


def test_a_look_that_takes_too_much_is_a_refusal(monkeypatch, clip):
    monkeypatch.setattr(film, "LOOK_MB", 24)
    verdict = judge(clip)
    assert not verdict.accepted
    assert "memory" in (verdict.reason or "")


def test_only_regular_files_are_looked_into(tmp_path):
    os.mkfifo(tmp_path / "film.mp4")
    assert judge(tmp_path / "film.mp4") == judge(tmp_path) == Verdict(False, "not a regular file")
    with pytest.raises(FileNotFoundError):
        judge(tmp_path / "none.mp4")


@pytest.fixture(scope="session")
def small_films(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    forms = ("mp4", "mkv", "ts", "avi")
    return {f: _make(ffmpeg, folder / f"a.{f}", *TESTSRC, *SINE, *X264, "-t", "0.4").read_bytes() for f in forms}


@st.composite
def damage(draw: st.DrawFn) -> tuple[str, str, float, list[tuple[float, int]], bool]:
    """Which film, under which name, how much of it is left, which bytes are others, and whether text stands before."""
    forms = st.sampled_from(["mp4", "mkv", "ts", "avi"])
    left = draw(st.just(1.0) | st.floats(0, 1))
    # Headers are where the harm is: half of the hits are in the first part of the file.
    places = st.floats(0, 1) | st.floats(0, 0.02)
    changed = draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=40))
    return draw(forms), draw(forms), left, changed, draw(st.sampled_from([False, False, False, True]))


def _damaged(whole: bytes, left: float, changed: list[tuple[float, int]], dressed: bool) -> bytes:
    made = bytearray(whole[: int(len(whole) * left)])
    for place, value in changed:
        if made:
            made[int(place * (len(made) - 1))] = value
    return (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n" if dressed else b"") + made


def _judged(small_films: dict[str, bytes], folder: Path, case: tuple) -> Verdict:
    form, name, *how = case
    path = folder / f"film.{name}"
    path.write_bytes(_damaged(small_films[form], *how))
    before = time.monotonic()
    verdict = judge(path)
    assert time.monotonic() - before < 30
    return verdict


def _check(verdict: Verdict) -> None:
    assert verdict.accepted == (verdict.probe is not None) == (verdict.reason is None)
    if verdict.probe is not None:
        assert verdict.probe.width * verdict.probe.height > 0
        assert corrections(verdict.probe) == verdict.corrections


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(case=damage())
@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
def test_whatever_is_damaged_gets_a_verdict(small_films, tmp_path, case):
    _check(_judged(small_films, tmp_path, case))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(case=damage())
@settings(max_examples=600, deadline=None, suppress_health_check=QUIET)
def test_whatever_is_damaged_gets_a_verdict_at_length(small_films, tmp_path, case):
    _check(_judged(small_films, tmp_path, case))


def test_a_slideshow_of_an_hour_a_picture_is_taken(ffmpeg, tmp_path):
    slow = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=1/3600:duration=7200")
    verdict = judge(_make(ffmpeg, tmp_path / "slides.mkv", *slow, *X264))
    assert verdict.accepted, verdict.reason
    assert "frame rate 0.001->12" in verdict.corrections


def test_a_look_that_falls_over_refuses_this_file_and_no_other(ffmpeg, tmp_path, monkeypatch):
    film_file = _make(ffmpeg, tmp_path / "film.mp4", *TESTSRC, *X264)
    monkeypatch.setattr(film, "confined", lambda *_: {"container": "mp4"})  # an answer of a child that was taken over
    verdict = judge(film_file)
    assert not verdict.accepted
    assert "looking into it failed" in (verdict.reason or "")
