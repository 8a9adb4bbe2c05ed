"""The real parts, started once a session; every test that asks gets a database of its own."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from xdist.scheduler import LoadFileScheduling

from matinee.doctor import chromium
from matinee.settings import Settings
from matinee.stack.session import services

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHARED = Path(os.environ.get("MATINEE_SHARED", Path(__file__).resolve().parents[2] / "shared")).absolute()


def in_memory(needed_gb: float = 4.0) -> str | None:
    """A folder in memory with that much room, or None for the usual place of temporary files."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > needed_gb * 1e9 else None


class Rooms(LoadFileScheduling):
    """Files to workers, those that take longest first; what is dear to make or to import is made in one of them."""

    # Seconds of CPU, by what the path begins with: what comes together stays together.
    COSTS = {  # noqa: RUF012 - a table
        "tests/e2e/test_build": 190, "tests/warehouse": 110, "tests/models": 110, "tests/transforms": 45,
        "tests/e2e/test_truth": 60, "tests/transcoding/test_worker": 60, "tests/e2e/test_analyst": 50,
        "tests/transcoding/test_build": 45, "tests/e2e/test_play.": 40, "tests/orchestration": 40,
        "tests/e2e/test_players": 35, "tests/transcoding/test_watermark": 30, "tests/e2e/test_cmcd": 25,
        "tests/e2e/test_chaos": 20, "tests/e2e/test_web_screens": 20, "tests/matinee/test_launch": 30,
        "tests/ingest/test_collector": 25, "tests/features": 15, "tests/serving/billing/test_crash": 20,
    }  # fmt: skip

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((start for start in self.COSTS if file.startswith(start)), file)

    def _assign_work_unit(self, node: Any) -> None:
        longest = max(self.workqueue, key=lambda scope: self.COSTS.get(scope, 0))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rooms | None:
    return Rooms(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def base() -> Iterator[Settings]:
    """Settings of a home whose PostgreSQL and Redis run for the whole session.

    They need not outlive a failure of the machine, so they lie in memory where there is room and wait for no disk: a
    database for a test then costs 0.03 s instead of 0.4. Tests that kill a server start one of their own, as it is
    configured for people.
    """
    import redis

    root = Path(tempfile.mkdtemp(prefix="matinee-test-", dir=in_memory()))
    settings = Settings.load(home=root)
    try:
        with services(settings):
            admin = psycopg.conninfo.make_conninfo(settings.database(), dbname="postgres")
            with psycopg.connect(admin, autocommit=True) as connection:
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
                connection.execute("SELECT pg_reload_conf()")
                connection.execute("CREATE DATABASE template_matinee TEMPLATE matinee")
            with redis.Redis.from_url(settings.redis()) as client:
                client.config_set("appendfsync", "no")
            yield settings
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def settings(base: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A home of its own for the test, with a fresh migrated database and an empty Redis."""
    import redis

    name = f"test_{uuid.uuid4().hex}"
    admin = psycopg.conninfo.make_conninfo(base.database(), dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template_matinee STRATEGY file_copy").format(sql.Identifier(name))
        )
    client = redis.Redis.from_url(base.redis())
    client.flushall()
    client.close()
    own = Settings.model_validate(
        {
            "MATINEE_HOME": tmp_path / "home",
            "database_url": base.database().replace("/matinee?", f"/{name}?"),
            "redis_url": base.redis(),
            "transcode_treatment": "fast",  # what measures first takes minutes
        }
    )
    own.home.create()
    yield own
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class Gateway:
    """An API behind the real NGINX. `url` is HTTPS with the home's own certificate, `api` the API's own address."""

    settings: Settings
    app: Any
    url: str
    http: str
    api: str
    certificate: Path

    def client(self, **options: Any) -> Any:
        """An `httpx.AsyncClient` that trusts the certificate and sends the page's origin."""
        import ssl

        import httpx

        trusting = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.AsyncClient(base_url=self.url, verify=trusting, headers={"origin": self.url}, **options)


@pytest.fixture(scope="session")
def behind_gateway() -> Callable[..., AbstractContextManager[Gateway]]:
    """`with behind_gateway(settings, clock) as gateway`: the API in a thread of this process, and NGINX before it."""

    @contextmanager
    def run(settings: Settings, clock: Any = None) -> Iterator[Gateway]:
        import threading
        import time

        from matinee.ports import claim_port, known_port
        from serving.app import create_app
        from serving.gateway.process import running
        from serving.run import Server

        port = claim_port(settings.home, "api")
        app = create_app(settings, clock)
        server = Server(app, settings, port)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the API did not start"
                time.sleep(0.005)
            with running(settings):
                https, http = (known_port(settings.home, name) for name in ("gateway", "gateway_http"))
                yield Gateway(
                    settings, app, f"https://localhost:{https}", f"http://localhost:{http}",
                    f"http://127.0.0.1:{port}", settings.home.secrets / "gateway.pem",
                )  # fmt: skip
        finally:
            server.should_exit = True
            thread.join(15)

    return run


@pytest.fixture
def shared() -> Path:
    """The folder of real films and ratings; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is not here: {SHARED} (set MATINEE_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def ffmpeg() -> Path:
    import imageio_ffmpeg

    return Path(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="session")
def package(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of 20 s: 360p and 180p, six-second CMAF segments, sound apart."""
    folder = tmp_path_factory.mktemp("package")
    source = folder.parent / "package-source.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24:duration=20", "-f", "lavfi",
         "-i", "sine=frequency=330:duration=20", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
         "-c:a", "aac", source],
        check=True,
    )  # fmt: skip
    for rung, height in (("360p", 360), ("180p", 180)):
        video = f"-map 0:v -vf scale=-2:{height} -c:v libx264 -preset ultrafast -profile:v main -g 48 -sc_threshold 0"
        _rendition(ffmpeg, source, folder / "video" / rung, [*video.split(), "-pix_fmt", "yuv420p"])
    _rendition(ffmpeg, source, folder / "audio" / "en", ["-map", "0:a", "-c:a", "copy"])
    (folder / "master.m3u8").write_text(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="audio/en/main.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1500000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=640x360,AUDIO="aac"\n'
        "video/360p/main.m3u8\n"
        '#EXT-X-STREAM-INF:BANDWIDTH=500000,CODECS="avc1.4d400d,mp4a.40.2",RESOLUTION=320x180,AUDIO="aac"\n'
        "video/180p/main.m3u8\n"
    )
    subprocess.run([ffmpeg, "-v", "error", "-i", source, "-frames:v", "1", folder / "poster.jpg"], check=True)
    (folder / "package.json").write_text("{}")
    return folder


def _rendition(ffmpeg: Path, source: Path, folder: Path, options: list[str]) -> None:
    folder.mkdir(parents=True)
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", source, *options, "-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod",
         "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4", "-start_number", "1",
         "-hls_segment_filename", folder / "%05d.m4s", folder / "main.m3u8"],
        check=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def clip(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated film: 4 s, 640x360, 24 fps, H.264 and AAC."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24:duration=4", "-f", "lavfi",
         "-i", "sine=frequency=440:duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
         "-c:a", "aac", "-shortest", path],
        check=True,
    )  # fmt: skip
    return path


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    executable = chromium()
    if executable is None:
        pytest.skip("Chromium is not installed: `make system-deps` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()
