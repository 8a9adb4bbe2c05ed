"""Two variants of a rung that differ by the pattern alone, and a session named by a worn copy of what it was given."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from matinee.settings import Settings
from transcoding import watermark
from transcoding.arguments import encode_arguments, folders
from transcoding.assemble import whole_segments
from transcoding.build import transcode_pending
from transcoding.commands import app
from transcoding.encode import encode, encode_chunk
from transcoding.errors import TranscodingError
from transcoding.forensics.detect import Copy, Reading, Window, fit_window, place
from transcoding.forensics.trace import Session, Trace, by_chance, open_package, rank, trace
from transcoding.ladder import marked
from transcoding.plan import Plan, Rung
from transcoding.protect import encrypt_segment
from transcoding.source import read_source

KEY, TITLE, PACKAGE = b"k" * 32, "otters", "package-of-otters"
SECONDS, SEGMENT = 14, 12  # frames a segment
TOP = Rung("480p", 854, 480, 23, 3000, 6000, preset="veryfast", marked=True)
SHORT = "testsrc2=size=1280x720:rate=24:duration=0.5"
LOW = Rung("180p", 320, 180, 23, 400, 800, preset="ultrafast")


def picture(seconds: float) -> np.ndarray:
    """Frames x 480 x 854 of luma: a landscape under a wandering camera, something before it that goes its own way."""
    from PIL import Image

    random = np.random.default_rng(7)

    def texture(width: int, height: int) -> np.ndarray:
        layers = [
            np.asarray(
                Image.fromarray(random.normal(0, size, (height // size, width // size)).astype(np.float32)).resize(
                    (width, height), Image.Resampling.BICUBIC
                )
            )
            for size in (4, 16, 64)
        ]
        return np.clip(110 + 1.2 * sum(layers), 0, 255).astype(np.uint8)

    ground, thing = texture(1200, 720), texture(160, 120)
    path = np.cumsum(random.normal(0, 0.4, (24 * 60, 4)), axis=0) + np.cumsum(
        random.normal(0, 1.5, (24 * 60, 4)), axis=0
    )
    frames = []
    for x, y, u, v in path[: round(seconds * 24)]:
        left, top = int(170 + 60 * np.sin(x / 20)), int(120 + 60 * np.sin(y / 20))
        frame = ground[top : top + 480, left : left + 854].copy()
        right, down = int(350 + 300 * np.sin(u / 30)), int(180 + 150 * np.sin(v / 30))
        frame[down : down + 120, right : right + 160] = thing
        frames.append(frame)
    return np.stack(frames)


@pytest.fixture(scope="module")
def master(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("master") / "otters.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "rawvideo", "-pixel_format", "gray", "-video_size", "854x480", "-framerate", "24",
         "-i", "-", "-vf", "noise=alls=2:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", "-pix_fmt",
         "yuv420p", path],
        check=True, input=picture(SECONDS).tobytes(),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def package(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a marked rung and a small one that is not, in segments of half a second."""
    plan = Plan(Fraction(24), SEGMENT // 3, 24 * SECONDS, (TOP, LOW), ())
    folder = tmp_path_factory.mktemp("marked")
    encode(plan, read_source(master), folder, mark=watermark.Mark(KEY, TITLE))
    (folder / "package.json").write_text(json.dumps({"plan": plan.as_json()}))
    return folder


@pytest.fixture
def home(settings: Settings, package: Path) -> Settings:
    """A home with the package, and eight sessions that were given it."""
    (settings.home.secrets / "watermark").write_bytes(KEY)
    (settings.media / TITLE).mkdir(parents=True)
    (settings.media / TITLE / PACKAGE).symlink_to(package)
    with psycopg.connect(settings.database()) as connection:
        for statement in (
            f"INSERT INTO title (title_id, kind, maturity) VALUES ('{TITLE}', 'film', 0)",
            "INSERT INTO master (master_id, file_name, bytes, state) VALUES ('m', 'f', 1, 'accepted')",
            f"""INSERT INTO package (package_id, title_id, master_id, state)
                VALUES ('{PACKAGE}', '{TITLE}', 'm', 'published')""",
            "INSERT INTO account (account_id) SELECT 'account-' || n FROM generate_series(1, 8) n",
            "INSERT INTO profile (profile_id, account_id, name) SELECT account_id, account_id, 'x' FROM account",
            f"""INSERT INTO playback_session (playback_id, account_id, profile_id, title_id, package_id, expires_at)
                SELECT 'play-' || n, 'account-' || n, 'account-' || n, '{TITLE}', '{PACKAGE}', now()
                FROM generate_series(1, 8) n""",
        ):
            connection.execute(statement)
    return settings


@pytest.fixture
def worn(package: Path, ffmpeg: Path, tmp_path: Path) -> Callable[..., Path]:
    """What a session is given, joined and treated: `worn("play-3", "-vf", "scale=-2:360")`."""

    def make(playback_id: str | None, *options: str, secret: bytes = KEY) -> Path:
        data = [(package / "video/480p/init.mp4").read_bytes()]
        for path in sorted((package / "video/480p").glob("*.m4s")):
            name = f"video/480p/{path.name}"
            data.append((package / watermark.variant(secret, playback_id or "", name)).read_bytes())
        joined, copy = tmp_path / "joined.mp4", tmp_path / "copy.mp4"
        joined.write_bytes(b"".join(data))
        subprocess.run([ffmpeg, "-v", "error", "-y", "-i", joined, *options, "-an", copy], check=True)
        return copy

    return make


def traced(settings: Settings, copy: Path) -> Trace:
    with psycopg.connect(settings.database()) as connection:
        return trace(settings, connection, copy, TITLE)


X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "32")


def test_a_re_encoded_copy_names_its_session(home: Settings, worn: Callable[..., Path]) -> None:
    found = traced(home, worn("play-3", "-vf", "scale=-2:360", *X264))
    assert found.found is not None
    assert found.found.session.playback_id == "play-3"
    assert found.found.matched == found.found.read >= 24, "of 28 bits of half a second each nearly all, none wrong"
    assert [match.significant for match in found.matches[1:]] == [False] * 7


def test_a_piece_that_was_cropped_and_brightened_names_its_session(home: Settings, worn: Callable[..., Path]) -> None:
    treated = "crop=iw*0.94:ih*0.94,scale=640:360,eq=contrast=1.15:brightness=0.04:gamma=1.1"
    found = traced(home, worn("play-5", "-ss", "1.6", "-t", "10", "-vf", treated, *X264))
    assert found.found is not None
    assert found.found.session.playback_id == "play-5"
    assert found.copy.first_frame == pytest.approx(1.6 * 24, abs=1)
    window = found.copy.window
    assert (window.left, window.top, window.width, window.height) == pytest.approx((0.03, 0.03, 0.94, 0.94), abs=0.004)


def test_what_no_session_was_given_names_none(
    home: Settings, worn: Callable[..., Path], film: Callable[..., Path], master: Path
) -> None:
    stranger = traced(home, worn("play-of-another-package", "-t", "8", *X264))
    assert stranger.found is None
    assert all(reading.bit is not None for reading in stranger.copy.readings), "marked, but by nobody here"
    unmarked = traced(home, master)
    assert unmarked.found is None
    assert sum(reading.bit is not None for reading in unmarked.copy.readings) < 14, "mostly unread"
    with pytest.raises(TranscodingError, match="does not show otters"):
        traced(home, film("other.mp4", "testsrc2=size=640x360:rate=24:duration=9"))


def test_the_command_prints_the_session(
    home: Settings, worn: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in home.environment().items():
        monkeypatch.setenv(name, value)
    copy = worn("play-7", "-t", "9", "-vf", "scale=-2:360", *X264)
    told = CliRunner().invoke(app, ["watermark", "detect", str(copy), "--title", TITLE], catch_exceptions=False)
    assert told.exit_code == 0
    assert "session play-7 of account account-7" in told.output


def test_a_package_without_a_mark_says_so(home: Settings, tmp_path: Path) -> None:
    with psycopg.connect(home.database()) as connection:
        with pytest.raises(TranscodingError, match="is not there"):
            open_package(home, connection, TITLE, "nothing")
        with pytest.raises(TranscodingError, match="no published package"):
            trace(home, connection, Path(__file__), "nothing")
        with pytest.raises(TranscodingError, match="no such file"):
            trace(home, connection, tmp_path / "nothing.mp4", TITLE)
        plan = Plan(Fraction(24), 4, 24, (LOW,), ())
        plain = home.media / TITLE / "plain"
        plain.mkdir()
        (plain / "package.json").write_text(json.dumps({"plan": plan.as_json()}))
        with pytest.raises(TranscodingError, match="carries no watermark"):
            open_package(home, connection, TITLE, "plain")


def test_an_encrypted_package_is_read_by_its_keys(home: Settings, package: Path) -> None:
    from transcoding.keys import content_key

    folder = home.media / TITLE / "sealed"
    (folder / "video/480p").mkdir(parents=True)
    (folder / "variants/480p").mkdir(parents=True)
    (folder / "package.json").write_bytes((package / "package.json").read_bytes())
    with psycopg.connect(home.database(), autocommit=True) as connection:
        key = content_key(connection, home, TITLE, "sd", 0)
        lines = [
            "#EXTM3U",
            '#EXT-X-MAP:URI="init.mp4"',
            f'#EXT-X-KEY:METHOD=AES-128,URI="/api/watch/keys/{key.key_id}"',
        ]
        for number in range(2):
            name = f"{number:05d}.m4s"
            lines += ["#EXTINF:0.5,", name]
            for kind in ("video", "variants"):
                clear = (package / kind / "480p" / name).read_bytes()
                (folder / kind / "480p" / name).write_bytes(encrypt_segment(clear, key.secret, number))
        (folder / "video/480p/main.m3u8").write_text("\n".join(lines))
        (folder / "video/480p/init.mp4").write_bytes((package / "video/480p/init.mp4").read_bytes())
        read = open_package(home, connection, TITLE, "sealed").read
        for name in ("video/480p/00001.m4s", "variants/480p/00001.m4s", "video/480p/init.mp4"):
            assert read(name) == (package / name).read_bytes()


def test_a_home_with_the_watermark_on_packages_both_variants(
    settings: Settings, add_master: Callable[..., str], clip: Path
) -> None:
    add_master(clip, TITLE)
    own = settings.model_copy(update={"watermark": True, "transcode_treatment": "fast"})
    (outcome,) = transcode_pending(own)
    assert outcome.state == "published", outcome.reason
    folder = settings.media / TITLE / outcome.package_id
    marked = {path.name for path in (folder / "variants").iterdir()}
    assert len(marked) == 2, "the two best rungs of its codec"
    for rung in marked:
        segments = {path.name for path in (folder / "video" / rung).glob("*.m4s")}
        assert {path.name for path in (folder / "variants" / rung).glob("*.m4s")} == segments
    with psycopg.connect(settings.database()) as connection:
        assert open_package(own, connection, TITLE, outcome.package_id).rung in marked


def test_the_two_best_rungs_of_each_codec_are_marked() -> None:
    sizes = {"1080p": (1920, 1080), "720p": (1280, 720), "540p": (960, 540)}
    rungs = tuple(
        Rung(f"{name}-{codec}", *size, 23, 3000, 6000, codec, hdr=codec == "hevc")
        for name, size in sizes.items()
        for codec in ("h264", "av1", "hevc")
    )
    found = {rung.name for rung in marked(rungs) if rung.marked}
    assert found == {f"{name}-{codec}" for name in ("1080p", "720p") for codec in ("h264", "av1", "hevc")}


def test_marked_chunks_of_every_codec_have_one_header(film: Callable[..., Path], tmp_path: Path) -> None:
    source = read_source(film("short.mp4", "testsrc2=size=320x180:rate=24:duration=1", options=["-pix_fmt", "yuv420p"]))
    small = dataclasses.replace(TOP, width=160, height=90, preset="ultrafast")
    rungs = (
        dataclasses.replace(small, name="h264"),
        dataclasses.replace(small, name="av1", codec="av1", preset="12"),
        dataclasses.replace(small, name="hevc", codec="hevc", hdr=True),
    )
    plan = Plan(Fraction(24), 4, 24, rungs, ())
    encode_chunk(plan, source, plan.chunks[0], rungs, tmp_path, mark=watermark.Mark(KEY, TITLE))
    for rung in rungs:
        whole_segments(tmp_path / "video" / rung.name, plan.chunks[0], plan, rung)
        whole_segments(tmp_path / "variants" / rung.name, plan.chunks[0], plan, rung)
        one, other = (tmp_path / kind / rung.name for kind in ("video", "variants"))
        assert (one / "init.mp4").read_bytes() == (other / "init.mp4").read_bytes()
        assert (one / "00000.m4s").read_bytes() != (other / "00000.m4s").read_bytes()


def test_only_the_marked_rung_has_variants_and_no_pattern_stays(package: Path) -> None:
    assert [path.name for path in (package / "variants").iterdir()] == ["480p"]
    names = sorted(path.name for path in (package / "video/480p").glob("*.m4s"))
    assert names == sorted(path.name for path in (package / "variants/480p").glob("*.m4s"))
    assert (package / "video/480p/init.mp4").read_bytes() == (package / "variants/480p/init.mp4").read_bytes()
    assert not list(package.glob("pattern*")), "who has the pattern can take it out"


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_the_variants_are_the_picture_plus_and_minus_the_pattern(
    ffmpeg: Path, film: Callable[..., Path], tmp_path: Path, codec: str
) -> None:
    rung = dataclasses.replace(TOP, codec=codec)
    source = read_source(
        film("short.mp4", "testsrc2=size=1280x720:rate=24:duration=0.5", options=["-pix_fmt", "yuv420p"])
    )
    plan = Plan(Fraction(24), 4, 12, (rung,), ())
    watermark.Mark(KEY, TITLE).write((rung,), tmp_path)
    arguments = encode_arguments(plan, source, tmp_path)
    end = arguments.index("-map")
    graph = arguments[arguments.index("-filter_complex") + 1]
    arguments[end - 1] = graph.replace("[u0]split", "[u0]split=3[o]") if "[u0]split[" in graph else graph
    for label in ("o", "v0", "w0"):
        raw = ["-map", f"[{label}]", "-frames:v", "3", "-f", "rawvideo", str(tmp_path / label)]
        arguments[end:end] = raw
        end += len(raw)
    subprocess.run([ffmpeg, *arguments[:end]], check=True, stdout=subprocess.DEVNULL)
    unit, form = (4, "<u2") if codec == "av1" else (1, "u1")
    size = 854 * 480
    picture, a, b = (np.fromfile(tmp_path / label, form).astype(int).reshape(3, -1) for label in ("o", "v0", "w0"))
    pattern = watermark.pattern(KEY, TITLE, 854, 480).ravel() * unit
    assert np.array_equal((a - picture)[:, :size], np.broadcast_to(pattern, (3, size)))
    assert np.array_equal((picture - b)[:, :size], np.broadcast_to(pattern, (3, size)))
    assert np.array_equal(a[:, size:], b[:, size:]), "colour stays"


def test_a_plan_that_marks_needs_a_watermark(film: Callable[..., Path], tmp_path: Path) -> None:
    source = read_source(film("half.mp4", SHORT))
    plan = Plan(Fraction(24), 4, 12, (TOP,), ())
    assert folders(plan) == [Path("video/480p"), Path("variants/480p")]
    with pytest.raises(TranscodingError, match="no watermark was given"):
        encode(plan, source, tmp_path)


def test_patterns_are_faint_secret_and_the_same_at_every_size() -> None:
    large, small = watermark.pattern(KEY, TITLE, 1280, 720), watermark.pattern(KEY, TITLE, 640, 360)
    assert set(np.unique(large)) == {-1, 0, 1}
    assert abs(large.mean()) < 0.05
    assert np.corrcoef(large[::2, ::2].ravel(), small.ravel())[0, 1] > 0.9
    for other in (watermark.pattern(KEY, "badgers", 640, 360), watermark.pattern(b"x" * 32, TITLE, 640, 360)):
        assert abs(np.corrcoef(other.ravel(), small.ravel())[0, 1]) < 0.2


@given(st.text(max_size=40), st.lists(st.integers(0, 5000), max_size=40))
def test_bits_are_the_same_one_by_one(playback_id: str, segments: list[int]) -> None:
    assert watermark.bits(KEY, playback_id, segments) == [watermark.bit(KEY, playback_id, n) for n in segments]


def test_bits_are_fair_and_independent() -> None:
    drawn = np.array([watermark.bits(KEY, f"play-{n}", range(600)) for n in range(60)])
    assert abs(drawn.mean() - 0.5) < 0.02
    agree = (drawn[:, None] == drawn[None]).mean(2)[np.triu_indices(60, 1)]
    assert 0.38 < agree.min() < agree.max() < 0.62


@given(st.text(alphabet="abcv/.0123456789ms4iden", max_size=30))
def test_only_segments_of_the_picture_have_variants(name: str) -> None:
    given_name = watermark.variant(KEY, "play-1", name)
    if given_name != name:
        assert name.startswith("video/")
        assert name.endswith(".m4s")
        assert given_name == "variants" + name.removeprefix("video")


def readings(bits: list[int | None]) -> Copy:
    scores = [0.0 if bit is None else 9.0 - 18 * bit for bit in bits]
    return Copy(0, 1.0, Window(), tuple(Reading(n, SEGMENT, score) for n, score in enumerate(scores)))


def sessions(count: int) -> list[Session]:
    from datetime import UTC, datetime

    return [Session(f"play-{n}", f"account-{n}", datetime(2026, 1, 1, tzinfo=UTC)) for n in range(count)]


def test_false_accusations_are_as_rare_as_they_say() -> None:
    """Random bits against 50 sessions each: a chance below 0.05 comes up in about one copy of twenty."""
    random, everybody = np.random.default_rng(1), sessions(50)
    best = [
        rank(readings([int(bit) for bit in random.integers(0, 2, 40)]), everybody, KEY)[0].chance for _ in range(300)
    ]
    assert 0.005 <= np.mean(np.array(best) < 0.05) <= 0.08


def test_unread_segments_do_not_count() -> None:
    theirs: list[int | None] = [*watermark.bits(KEY, "play-3", range(30))]
    theirs[5:10] = [None] * 5
    match, *others = rank(readings(theirs), sessions(9), KEY)
    assert (match.session.playback_id, match.matched, match.read) == ("play-3", 25, 25)
    assert match.chance == pytest.approx(9 * 2**-25, rel=1e-3)
    assert all(other.matched < 25 for other in others)
    assert rank(readings([None] * 9), sessions(2), KEY)[0].chance == 1.0


def test_chances() -> None:
    assert by_chance(0, 0, 5) == 1.0
    assert by_chance(10, 10, 1) == pytest.approx(2**-10)
    assert by_chance(5, 10, 1) == pytest.approx(0.623, abs=1e-3)


@pytest.mark.parametrize(("first", "length"), [(0, 100), (37, 40), (160, 40), (-10, 60)])
def test_a_piece_finds_its_place(first: int, length: int) -> None:
    random = np.random.default_rng(3)
    film = np.cumsum(random.normal(0, 6, (200, 9, 16)), axis=0) % 200 + 20
    lead = random.uniform(0, 200, (max(0, -first), 9, 16))
    piece = (
        np.concatenate([lead, film[max(0, first) : first + length]]) * 0.8 + 30 + random.normal(0, 3, (length, 9, 16))
    )
    found, likeness = place(piece, film)
    assert found == first
    assert likeness > 0.7


def test_a_crop_is_measured() -> None:
    from PIL import Image

    random = np.random.default_rng(4)
    rough = Image.fromarray(random.uniform(0, 255, (30, 50)).astype(np.float32))
    large = rough.resize((1920, 1080), Image.Resampling.BICUBIC)
    film = np.asarray(large.resize((192, 108), Image.Resampling.BOX))[None]
    box = (0.05 * 1920, 0.02 * 1080, 0.98 * 1920, 0.96 * 1080)
    seen = np.asarray(large.resize((192, 108), Image.Resampling.BOX, box=box))[None] * 1.2 - 9
    window = fit_window(seen, film)
    assert (window.left, window.top) == pytest.approx((0.05, 0.02), abs=0.002)
    assert (window.width, window.height) == pytest.approx((0.93, 0.94), abs=0.003)
