"""A viewer in Chromium: registers, finds a series, plays it on two rungs, comes back to the place, goes on."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import redis
import uvicorn

from ingest.catalog import ingest_feed
from matinee.clock import Clock, ManualClock, SystemClock
from matinee.settings import Settings
from serving.app import create_app
from serving.playback.core import SESSION_LIFE
from transcoding.build import transcode_pending

pytestmark = pytest.mark.browser

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
    bring(settings, tmp_path / "feed.jsonl")


def bring(settings: Settings, feed: Path) -> None:
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected


@pytest.fixture(scope="module")
def long_film(own_home: Settings, ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with `FEED` in which the first episode is a film of 90 s, for viewers of all its tests."""
    bring(own_home, tmp_path_factory.mktemp("long") / "feed.jsonl")
    package(own_home, ffmpeg, {"beacon-1": 330}, seconds=90, size="320x180")
    return own_home


@pytest.fixture
def films(settings: Settings, catalogue: None, ffmpeg: Path) -> None:
    """The two episodes as films of 20 s in 480p, packaged by the real pipeline."""
    outcomes = package(settings, ffmpeg, {"beacon-1": 330, "beacon-2": 440}, seconds=20, size="854x480")
    assert [len(outcome.rungs) for outcome in outcomes] == [2, 2]


def package(settings: Settings, ffmpeg: Path, tones: dict[str, int], *, seconds: int, size: str) -> Sequence[Any]:
    """Films with these tones for these titles, through the real pipeline."""
    with psycopg.connect(settings.database()) as connection:
        for number, (title_id, tone) in enumerate(tones.items()):
            path = settings.media / "~masters" / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            subprocess.run(
                [ffmpeg, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=12:duration={seconds}",
                 "-f", "lavfi", "-i", f"sine=frequency={tone}:duration={seconds}", "-c:v", "libx264",
                 "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path],
                check=True,
            )  # fmt: skip
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, %s, %s, %s, 'accepted')",
                (str(number) * 64, title_id, path.name, f"~masters/{path.name}", path.stat().st_size),
            )
    outcomes = transcode_pending(settings)
    assert {outcome.state for outcome in outcomes} == {"published"}
    return outcomes


@pytest.fixture
def address(settings: Settings, catalogue: None, running_api: Callable[..., Any]) -> Iterator[str]:
    """The API as the supervisor runs it."""
    with running_api(settings) as address:
        yield address


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


def register(page: Any, address: str, email: str = "ada@example.org") -> None:
    page.goto(address)
    page.get_by_role("main").get_by_role("link", name="Create account").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Log out").wait_for()
    page.goto(f"{address}/#/")  # what it likes is asked for elsewhere


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
    assert video.heights - {0} == {240, 480}, "it starts on the lowest rung and goes up"

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
    page.get_by_role("heading", name="The Beacon").wait_for()
    page.goto(address)
    page.get_by_role("heading", name="Continue watching").wait_for()
    assert page.problems == []
    wait(10, lambda: {"impression", "play", "stop"} <= {e["type"] for e in events(settings)}, "events arrive")
    plays = [e for e in events(settings) if e["type"] == "stop" and e["title_id"] == "beacon-1"]
    assert max(e["played_ms"] for e in plays) >= 7_000
    assert [e for e in plays if not (e["profile_id"] and e["account_id"] and e["bits"] > 0)] == []


NO_MSE = "delete window.MediaSource; delete window.ManagedMediaSource"


@pytest.mark.parametrize("away", [timedelta(minutes=11), timedelta(minutes=90)], ids=["session lives", "session over"])
def test_the_browsers_own_hls_goes_on_when_its_address_has_expired(
    long_film: Settings, page: Any, away: timedelta
) -> None:
    settings, clock = long_film, ManualClock(SystemClock().now())
    with redis.Redis.from_url(settings.redis()) as store:
        store.flushall()  # the events of other tests
    with app_of(settings, clock) as address:
        register(page, address, f"ada-{away.seconds}@example.org")
        page.add_init_script(NO_MSE)
        page.reload()
        page.get_by_role("button", name="Log out").wait_for()
        page.goto(f"{address}/#/watch/beacon-1")
        video = Video(page)
        wait(20, lambda: (video.get("readyState") or 0) >= 2, "the film is there")
        if video.get("paused"):
            page.locator("video").press("Space")
        wait(20, lambda: video.at() > 2, "the browser's own HLS plays where Media Source Extensions are missing")
        first = video.get("currentSrc")
        assert first.startswith(f"{address}/v/"), "its own HLS, not the player of the page"

        clock.advance(away)
        page.evaluate("document.querySelector('video').currentTime = 70")
        wait(30, lambda: video.get("currentSrc") != first and video.at() > 71, "it goes on at its place")
        assert video.at() < 85
        assert page.locator(".panel").is_hidden()
        page.get_by_role("button", name="Close player").click()
        wait(10, lambda: any(e["position_ms"] > 71_000 for e in stops(settings)), "it stops")
    playbacks = {event["playback_id"] for event in stops(settings)}
    assert len(playbacks) == (1 if away < SESSION_LIFE else 2)
    assert all(event["played_ms"] < 30_000 for event in stops(settings)), "what was skipped does not count"


@contextmanager
def app_of(settings: Settings, clock: Clock) -> Iterator[str]:
    """The API in this process, under a clock of the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings, clock), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def stops(settings: Settings) -> list[dict[str, Any]]:
    return [event for event in events(settings) if event["type"] == "stop"]


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
    page.get_by_role("link", name="Add profile").click()
    page.get_by_label("Name").fill("Kid")
    page.get_by_label("Fit for age").select_option("6")
    page.get_by_role("button", name="Save").click()
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
