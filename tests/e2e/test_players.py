"""A protected package in players that are not ours: hls.js and Shaka Player in Chromium, against the real API."""

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.catalog import ingest_feed
from ingest.masters import ingest_masters
from matinee.settings import Settings
from transcoding.build import transcode_pending

HERE = Path(__file__).parent
LIBRARIES = HERE.parent / "players" / "node_modules"
SCRIPTS = {"hls": LIBRARIES / "hls.js/dist/hls.js", "shaka": LIBRARIES / "shaka-player/dist/shaka-player.compiled.js"}
SECONDS = 36
LINE = {
    "id": "harbour", "kind": "film", "titles": {"en": "The Harbour", "ru": "Гавань"}, "maturity": 6, "year": 2025,
    "offers": [{"kind": "subscription", "plans": ["basic"]}], "extra": {"master": "harbour.mkv"},
}  # fmt: skip
SPOKEN = {"en": "A light on the water", "ru": "Огонёк на воде"}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def film(own_home: Settings, ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a film of a subscription, in two languages with subtitles in both, through ingest and the pipeline.

    All tests of the file watch it: each registers a viewer of its own.
    """
    settings = own_home
    inbox = tmp_path_factory.mktemp("inbox")
    tones = [["-f", "lavfi", "-i", f"sine=frequency={hertz}:duration={SECONDS}"] for hertz in (330, 550)]
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i",
         f"testsrc2=size=854x480:rate=12:duration={SECONDS},noise=alls=3:allf=t", *tones[0], *tones[1],
         "-map", "0", "-map", "1", "-map", "2", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
         "-c:a", "aac",
         "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=rus", inbox / "harbour.mkv"],
        check=True,
    )  # fmt: skip
    for language, text in SPOKEN.items():
        cues = [f"{n + 1}\n00:00:{n:02d},100 --> 00:00:{n:02d},900\n{text} {n}\n" for n in range(SECONDS)]
        (inbox / f"harbour.{language}.srt").write_text("\n".join(cues))
    feed = inbox.with_name("feed.jsonl")
    feed.write_text(json.dumps(LINE))
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        assert not ingest_feed(connection, feed).rejected
        (outcome,) = ingest_masters(connection, inbox, settings.media)
    assert (outcome.state, outcome.title_id) == ("accepted", "harbour")
    (packaged,) = transcode_pending(settings)
    assert packaged.state == "published"
    facts = json.loads((settings.media / "harbour" / packaged.package_id / "package.json").read_text())
    assert facts["protection"] == "aes128"
    return settings


@pytest.fixture(scope="module")
def address(film: Settings, running_api: Callable[..., Any]) -> Iterator[str]:
    with running_api(film) as address:
        yield address


def wait(seconds: float, ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def api(page: Any, path: str, body: object) -> dict[str, Any]:
    script = """async ([path, body]) => {
      const headers = {'content-type': 'application/json'};
      const answer = await fetch(path, {method: 'POST', headers, body: JSON.stringify(body)});
      const text = await answer.text();
      return {status: answer.status, body: text ? JSON.parse(text) : null};
    }"""
    answer = page.evaluate(script, [path, body])
    assert answer["status"] < 300, answer
    return answer["body"]


def watch(page: Any, address: str, kind: str) -> dict[str, Any]:
    """A page of this site with the player in it, a viewer who is logged in, a session that was asked for."""
    if not SCRIPTS[kind].exists():
        pytest.skip(f"{kind} is not here: `make install-test` fetches it where npm reaches a registry")
    markup = f"<!doctype html><title>{kind}</title><video muted width=640></video>"
    page.route("**/test-page", lambda route: route.fulfill(body=markup, content_type="text/html"))
    page.goto(f"{address}/test-page")
    viewer = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse", "language": "en"}
    api(page, "/api/auth/register", viewer)
    session = api(page, "/api/watch/harbour", {})
    page.add_script_tag(path=SCRIPTS[kind])
    page.add_script_tag(path=HERE / "players.js")
    return session


def play(page: Any, kind: str, session: dict[str, Any]) -> Callable[[str], Any]:
    page.evaluate(
        "async ([kind, address]) => {"
        " window.player = await openPlayer(kind, address); player.video.play().catch(() => {}); }",
        [kind, session["manifest"]["hls"]],
    )
    return lambda expression: page.evaluate(f"() => player.{expression}")


@pytest.mark.parametrize("kind", ["hls", "shaka"])
def test_it_plays_switches_seeks_reads_and_changes_its_language(page: Any, address: str, kind: str) -> None:
    session = watch(page, address, kind)
    assert session["manifest"]["dash"] is None, "a protected package has no MPD"
    ask = play(page, kind, session)

    wait(60, lambda: ask("video.currentTime") > 1, "it starts, decrypted")
    assert set(ask("languages()")) == {"en", "ru"}
    assert set(ask("texts()")) == {"en", "ru"}
    rungs = {rung["height"]: rung["bandwidth"] for rung in ask("rungs()")}
    assert set(rungs) == {480, 240}

    network = page.context.new_cdp_session(page)
    network.send("Network.enable")

    def throttle(bits_per_second: float) -> None:
        speed = bits_per_second / 8
        network.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 20, "downloadThroughput": speed, "uploadThroughput": speed},
        )

    wait(60, lambda: ask("height()") == 480, "it reaches the upper rung")
    throttle(1.3 * rungs[240])
    ask("video.currentTime = 20")
    wait(60, lambda: ask("height()") == 240 and ask("video.currentTime") > 20.2, "throttled, it takes a lower rung")
    throttle(-8)  # no limit

    ask("video.currentTime = 2")
    wait(60, lambda: 2.5 < ask("video.currentTime") < 12, "it plays on where it was sent")

    ask("read('ru')")
    ask("video.currentTime = 10")
    wait(60, lambda: any(SPOKEN["ru"] in text for text in ask("shown()")), "subtitles are shown")

    ask("hear('ru')")
    at = ask("video.currentTime")
    wait(
        15, lambda: ask("heard()") == "ru" and ask("video.currentTime") > min(at + 1, SECONDS - 1), "the other language"
    )
    assert [fault for fault in ask("faults") if fault["fatal"]] == []


@pytest.mark.parametrize("kind", ["hls", "shaka"])
def test_without_a_living_session_nothing_opens_and_the_player_says_so(page: Any, address: str, kind: str) -> None:
    session = watch(page, address, kind)
    api(page, f"/api/watch/{session['playback_id']}/stop", {})
    ask = play(page, kind, session)
    wait(60, lambda: any(fault["fatal"] for fault in ask("faults")), "the player gives up")
    told = next(fault for fault in ask("faults") if fault["fatal"])
    assert told["status"] in (403, 410), told  # no key, or the address has ended with its session
    assert ask("video.currentTime") == 0
    refused = page.request.get(f"{address}/api/watch/keys/00000000-0000-7000-8000-000000000000")
    assert refused.status == 403
    assert refused.json()["code"] == "key_refused"
