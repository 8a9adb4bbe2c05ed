"""A viewer in Chromium: registers, finds a series, plays it on two rungs, comes back to the place, goes on."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import redis

from ingest.catalog import ingest_feed
from matinee.settings import Settings
from serving.process import service
from transcoding.build import transcode_pending

CHROMIUM = Path(os.environ.get("MATINEE_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no Chromium at {CHROMIUM}: `make system-deps` installs it"),
]

FREE = [{"kind": "free"}]
FEED = [
    {"id": "beacon", "kind": "series", "titles": {"en": "The Beacon", "ru": "Маяк"}, "genres": ["drama"], "year": 2024,
     "synopsis": {"en": "A keeper, a light, and two short nights."}, "maturity": 6, "offers": FREE},
    {"id": "beacon-1", "kind": "episode", "parent": "beacon", "titles": {"en": "First night", "ru": "Первая ночь"},
     "maturity": 6, "extra": {"number": 1}},
    {"id": "beacon-2", "kind": "episode", "parent": "beacon", "titles": {"en": "Second night", "ru": "Вторая ночь"},
     "maturity": 6, "extra": {"number": 2}},
    {"id": "grown-up", "kind": "film", "titles": {"en": "For grown-ups", "ru": "Взрослое кино"}, "genres": ["drama"],
     "maturity": 18, "year": 2023, "offers": FREE},
]  # fmt: skip


@pytest.fixture
def catalogue(settings: Settings, tmp_path: Path) -> None:
    """The titles of `FEED`."""
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected


@pytest.fixture
def films(settings: Settings, catalogue: None, ffmpeg: Path) -> None:
    """The two episodes as films of 20 s in 720p, packaged by the real pipeline."""
    with psycopg.connect(settings.database()) as connection:
        for number, tone in (("1", 330), ("2", 440)):
            path = settings.media / "~masters" / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            _film(ffmpeg, path, tone)
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, %s, %s, %s, 'accepted')",
                (number * 64, f"beacon-{number}", path.name, f"~masters/{path.name}", path.stat().st_size),
            )
    outcomes = transcode_pending(settings)
    assert [outcome.state for outcome in outcomes] == ["published", "published"]
    assert [len(outcome.rungs) for outcome in outcomes] == [2, 2]


def _film(ffmpeg: Path, path: Path, tone: int) -> None:
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=12:duration=20", "-f", "lavfi",
         "-i", f"sine=frequency={tone}:duration=20", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
         "-c:a", "aac", path],
        check=True,
    )  # fmt: skip


@pytest.fixture
def address(settings: Settings, catalogue: None) -> Iterator[str]:
    """The API as the supervisor runs it."""
    with running_api(settings) as address:
        yield address


@contextmanager
def running_api(settings: Settings) -> Iterator[str]:
    api = service(settings)
    log = settings.home.logs / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            api.argv, env={**os.environ, **api.env}, cwd=api.cwd, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while not api.ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield api.address
    finally:
        process.terminate()
        # Uvicorn shuts down in order and then hands the signal on.
        assert process.wait(15) == -signal.SIGTERM, log.read_text()
        assert "Application shutdown complete" in log.read_text()


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()


def wait(seconds: float, ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


class Video:
    """The video element of the page."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.heights: set[int] = set()

    def get(self, expression: str) -> Any:
        return self._page.evaluate(
            f"(() => {{ const v = document.querySelector('video'); return v && v.{expression}; }})()"
        )

    def at(self) -> float:
        self.heights.add(self.get("videoHeight"))
        return self.get("currentTime") or 0.0

    def frames(self) -> int:
        return self.get("getVideoPlaybackQuality().totalVideoFrames") or 0


def register(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_role("main").get_by_role("link", name="Create account").click()
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Log out").wait_for()


def test_a_viewer_plays_resumes_and_goes_on(films: None, address: str, page: Any, settings: Settings) -> None:
    register(page, address)
    page.locator(".card[data-title=beacon]").click()
    page.get_by_role("heading", name="The Beacon").wait_for()
    page.locator(".card[data-title=beacon-1]").click()

    video = Video(page)
    wait(15, lambda: video.at() > 0.2, "the film starts")
    start, frames = video.at(), video.frames()
    wait(20, lambda: video.at() >= start + 8, "the position advances")
    assert video.frames() - frames > 40
    assert video.get("getVideoPlaybackQuality().corruptedVideoFrames") == 0
    assert video.heights - {0} == {480, 720}, "it starts on the lowest rung and goes up"

    left = video.at()
    page.reload()
    video = Video(page)
    wait(15, lambda: video.at() > 0, "it loads again")
    assert left - 1.5 <= video.at() <= left + 3, "it resumes where it was left"
    if video.get("paused"):
        page.locator("video").press("Space")
    frames = video.frames()
    wait(15, lambda: video.at() > left + 1, "it plays on")
    assert video.frames() > frames

    page.evaluate("document.querySelector('video').currentTime = 18.5")
    following = page.get_by_role("link", name="Next episode: Second night")
    following.wait_for()
    following.click()
    page.wait_for_url("**/#/watch/beacon-2")
    video = Video(page)
    wait(15, lambda: 0.5 < video.at() < 10, "the next episode plays from its start")

    page.get_by_role("button", name="Close player").click()
    page.goto(address)
    page.get_by_role("heading", name="Continue watching").wait_for()
    assert page.problems == []
    wait(10, lambda: {"impression", "play", "stop"} <= {e["type"] for e in events(settings)}, "events arrive")
    plays = [e for e in events(settings) if e["type"] == "stop" and e["title_id"] == "beacon-1"]
    assert max(e["played_ms"] for e in plays) >= 7_000
    assert [e for e in plays if not (e["profile_id"] and e["account_id"] and e["bits"] > 0)] == []

    without_mse = page.context.new_page()
    without_mse.add_init_script("delete window.MediaSource; delete window.ManagedMediaSource")
    without_mse.goto(f"{address}/#/watch/beacon-2")
    plain = Video(without_mse)
    without_mse.locator("video").click()
    wait(20, lambda: plain.at() > 2, "the browser's own HLS plays where Media Source Extensions are missing")


def events(settings: Settings) -> list[dict[str, Any]]:
    store = redis.Redis.from_url(settings.redis())
    try:
        found = store.xrange("events")
        assert not [fields for _, fields in found if b"code" in fields], "the page sends no event that is refused"
        return [orjson.loads(fields[b"event"]) for _, fields in found]
    finally:
        store.close()


def test_a_limited_profile_sees_less_and_hears_why_in_its_language(address: str, page: Any) -> None:
    register(page, address)
    page.get_by_role("link", name="ada", exact=True).click()
    page.get_by_label("Name").fill("Kid")
    page.get_by_label("Fit for age").select_option("6")
    page.get_by_role("button", name="Add profile").click()
    page.get_by_role("button", name="Kid").click()
    page.locator(".card[data-title=beacon]").wait_for()
    assert page.locator(".card[data-title=grown-up]").count() == 0
    page.goto(f"{address}/#/title/grown-up")
    page.get_by_text("This profile is not old enough for it.").wait_for()
    page.get_by_role("button", name="Русский").click()
    page.get_by_text("Профиль не подходит по возрасту.").wait_for()
    page.problems.clear()  # Chromium reports the refusal itself
    page.goto(f"{address}/#/")
    page.locator(".card[data-title=beacon]").focus()
    assert "Маяк" in page.locator(".card[data-title=beacon]").inner_text()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Маяк").wait_for()
    assert page.locator(".card[data-title=beacon-2]").count() == 1
    page.locator(".card[data-title=beacon-1]").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.title") == "beacon-2"


def test_the_documentation_lists_every_operation(address: str, page: Any) -> None:
    page.goto(f"{address}/api/docs")
    page.get_by_text("/api/recommendations", exact=True).wait_for()
    assert page.locator(".operation").count() >= 15
    assert page.problems == []
