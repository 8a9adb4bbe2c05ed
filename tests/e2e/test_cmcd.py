"""hls.js and Shaka Player in Chromium report their playback to the API by CMCD 2, and it is in the event log."""

import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import orjson
import psycopg
import pytest
import redis

from ingest.catalog import ingest_feed
from matinee.settings import Settings
from serving.events.cmcd import EVENTS, STATES
from serving.events.structured import dictionary

pytestmark = pytest.mark.browser

LIBRARIES = Path(__file__).parent.parent / "players" / "node_modules"
SCRIPTS = {"hls": LIBRARIES / "hls.js/dist/hls.js", "shaka": LIBRARIES / "shaka-player/dist/shaka-player.compiled.js"}
SECONDS = 8
LINE = {
    "id": "harbour", "kind": "film", "titles": {"en": "The Harbour", "ru": "Гавань"}, "maturity": 6,
    "offers": [{"kind": "free"}],
}  # fmt: skip
# As the page of a service would set them up: the session is the playback that POST /api/watch opened.
SET_UP = """async ([kind, manifest, sid]) => {
  const video = document.querySelector("video");
  const events = ["ps", "bc", "pr", "t", "e", "rr", "c", "b"];
  const keys = ["bl", "br", "bs", "bsa", "bsd", "bsda", "cid", "e", "ec", "msd", "mtp", "pr", "sf", "sid", "sn", "st",
    "sta", "ts", "v", "matinee-pt"];
  if (kind === "hls") {
    const hls = new Hls({ cmcd: { version: 2, sessionId: sid, contentId: "harbour",
      eventTargets: [{ url: "/api/cmcd", events, interval: 1, includeKeys: keys }],
      reporterCallback: (reporter) => video.addEventListener("timeupdate", () =>
        reporter.updateCustomData({ "matinee-pt": Math.round(video.currentTime * 1000) })),
    } });
    hls.loadSource(manifest);
    hls.attachMedia(video);
    window.close_player = () => hls.destroy();
  } else {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.configure({ cmcd: { enabled: true, version: 2, sessionId: sid, contentId: "harbour",
      eventTargets: [{ enabled: true, url: location.origin + "/api/cmcd", events, interval: 1, version: 2 }] } });
    // With CMCD in the query it takes the first part of a relative address for a host.
    await player.load(new URL(manifest, location.href).href).catch((error) => {
      throw new Error(`Shaka ${error.code}: ${JSON.stringify(error.data)}`);
    });
    window.close_player = () => player.destroy();
  }
  const playing = video.play();
  await playing;
}"""


@pytest.fixture
def film(settings: Settings, ffmpeg: Path, tmp_path: Path) -> None:
    """A clear film of two rungs."""
    feed = tmp_path / "feed.jsonl"
    feed.write_text(json.dumps(LINE))
    folder = settings.media / "harbour" / "package"
    master = ["#EXTM3U", "#EXT-X-VERSION:7"]
    for height, kbps in ((180, 300), (270, 700)):
        (folder / f"video/{height}p").mkdir(parents=True)
        subprocess.run(
            [ffmpeg, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size=480x270:rate=12:duration={SECONDS}",
             "-f", "lavfi", "-i", f"sine=frequency=330:duration={SECONDS}", "-vf", f"scale=-2:{height}",
             "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "main", "-pix_fmt", "yuv420p", "-g", "24",
             "-c:a", "aac", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
             "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", folder / f"video/{height}p/%05d.m4s",
             folder / f"video/{height}p/main.m3u8"],
            check=True,
        )  # fmt: skip
        master.append(f'#EXT-X-STREAM-INF:BANDWIDTH={kbps}000,CODECS="avc1.4d400d,mp4a.40.2",RESOLUTION=480x{height}')
        master.append(f"video/{height}p/main.m3u8")
    (folder / "master.m3u8").write_text("\n".join(master) + "\n")
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        assert not ingest_feed(connection, feed).rejected
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "VALUES ('m', 'harbour', 'film.mp4', 'x', 1, 'accepted')"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, rungs) "
            """VALUES ('package', 'harbour', 'm', 'published', %s, '[{"name": "270p"}]')""",
            (SECONDS * 1000,),
        )


def wait(seconds: float, ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def played(page: Any, address: str, kind: str, on_body: Callable[[str, str], None]) -> dict[str, Any]:
    """The film played to its end with a pause of two seconds; returns the playback session."""
    page.route("**/test-page", lambda route: route.fulfill(
        body="<!doctype html><video muted width=480></video>", content_type="text/html"))  # fmt: skip
    page.on("request", lambda r: r.url.endswith("/api/cmcd") and on_body(r.headers["content-type"], r.post_data))
    page.goto(f"{address}/test-page")
    ask = """async ([path, body]) => (await fetch(path, {method: 'POST', body: JSON.stringify(body),
      headers: {'content-type': 'application/json'}})).json()"""
    page.evaluate(ask, ["/api/auth/register", {"email": f"{kind}@example.org", "password": "correct horse"}])
    session = page.evaluate(ask, ["/api/watch/harbour", {}])
    page.add_script_tag(path=SCRIPTS[kind])
    page.evaluate(SET_UP, [kind, session["manifest"]["hls"], session["playback_id"]])
    video = "document.querySelector('video')"
    wait(30, lambda: page.evaluate(f"{video}.currentTime > 3"), "it plays")
    page.evaluate(f"{video}.pause()")
    time.sleep(2)
    page.evaluate(f"{video}.play()")
    wait(30, lambda: page.evaluate(f"{video}.ended"), "it ends")
    time.sleep(0.3)
    page.evaluate("close_player()")
    return session


@pytest.mark.parametrize("kind", ["hls", "shaka"])
def test_a_foreign_player_s_playback_is_in_the_event_log(
    settings: Settings, film: None, running_api: Callable[..., Any], page: Any, kind: str
) -> None:
    if not SCRIPTS[kind].exists():
        pytest.skip(f"{kind} is not here: `make install-test` fetches it where npm reaches a registry")
    sent: list[str] = []
    store = redis.Redis.from_url(settings.redis())

    def note(content_type: str, body: str) -> None:
        assert content_type == "application/cmcd"
        sent.extend(body.splitlines())

    with running_api(settings) as address:
        session = played(page, address, kind, note)
        reports = [dictionary(line) for line in sent]
        told = [report for report in reports if getattr(report["e"], "value", None) != "rr"]
        time.sleep(1)
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", store.xrange("events"))
    assert all(b"code" not in fields for _, fields in entries), [fields for _, fields in entries if b"code" in fields]
    events = sorted((orjson.loads(fields[b"event"]) for _, fields in entries), key=lambda event: event["ts_client"])
    store.close()

    assert 8 < len(events) <= len(told)
    assert len({event["event_id"] for event in events}) == len(events), "nothing is sent twice"
    assert {event["playback_id"] for event in events} == {session["playback_id"]}
    assert {event["title_id"] for event in events} == {"harbour"}
    assert len({event["profile_id"] for event in events}) == 1
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds.count("play")) == ("play", 1)
    last = events[-1]
    assert 0 < last["startup_ms"] < 15_000
    assert page.problems == []
    if kind == "shaka":
        # As it is built it tells no states: what is known is that it plays, since when, and how it started.
        assert set(kinds[1:]) == {"heartbeat"}
        assert "played_ms" not in last
        return
    assert (kinds[-1], kinds.count("stop")) == ("stop", 1)
    for counter in ("played_ms", "stall_ms", "stalls", "paused_ms", "bits"):
        values = [event[counter] for event in events]
        assert all(a <= b for a, b in itertools.pairwise(values)), counter
    assert SECONDS * 1000 - 700 <= last["played_ms"] <= SECONDS * 1000 + 1_500
    assert 1_700 <= last["paused_ms"] <= 4_000
    assert last["stall_ms"] < 1_000
    assert 290 <= last["bits"] / last["played_ms"] <= 800, "kilobits a second of the rungs played"
    positions = [event["position_ms"] for event in events if "position_ms" in event]
    assert max(positions) > SECONDS * 1000 - 700


def test_events_and_states_are_those_of_the_players() -> None:
    tokens = LIBRARIES / "shaka-player/third_party/cml-cmcd/cmcd_token_values.js"
    if not tokens.exists():
        pytest.skip("Shaka Player is not here: `make install-test` fetches it where npm reaches a registry")
    found = {
        key: set(re.findall(r"'(\w+)'", values))
        for key, values in re.findall(r"(\w+): \[([^\]]*)\]", tokens.read_text())
    }
    assert (found["e"], found["sta"]) == (EVENTS, STATES)
