"""A package in a real browser: the segments of one rung, then of another, through Media Source Extensions."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matinee.doctor import chromium
from transcoding.encode import encode
from transcoding.package import measure, write_manifests
from transcoding.plan import plan_ladder
from transcoding.source import read_source

PAGE = """<!doctype html><video muted></video><script>
const get = async name => await (await fetch(name)).arrayBuffer();
async function play(high, low, sound) {
  const video = document.querySelector('video'), media = new MediaSource();
  video.src = URL.createObjectURL(media);
  await new Promise(open => media.addEventListener('sourceopen', open, {once: true}));
  const append = (buffer, data) => new Promise((done, fail) => {
    buffer.onupdateend = done; buffer.onerror = () => fail(new Error('append failed')); buffer.appendBuffer(data);
  });
  const pictures = media.addSourceBuffer(`video/mp4; codecs="${high.codec}"`);
  const sounds = media.addSourceBuffer(`audio/mp4; codecs="${sound.codec}"`);
  for (const name of ['init.mp4', '00000.m4s']) await append(pictures, await get(high.folder + '/' + name));
  for (const name of ['init.mp4', '00001.m4s']) await append(pictures, await get(low.folder + '/' + name));
  for (const name of ['init.mp4', '00000.m4s', '00001.m4s']) await append(sounds, await get(sound.folder + '/' + name));
  media.endOfStream();
  const spans = b => Array.from({length: b.length}, (_, n) => [b.start(n), b.end(n)]);
  const sizes = new Set();
  video.currentTime = 4;
  await video.play();
  while (!video.ended && video.currentTime < 7.5) {
    sizes.add(video.videoHeight);
    await new Promise(later => setTimeout(later, 50));
  }
  sizes.add(video.videoHeight);
  const quality = video.getVideoPlaybackQuality();
  return {at: video.currentTime, frames: quality.totalVideoFrames, heights: [...sizes].sort((a, b) => a - b),
    pictures: spans(pictures.buffered), sounds: spans(sounds.buffered), error: video.error && video.error.message};
}
</script>"""


@pytest.fixture
def address(film: Callable[..., Path], tmp_path: Path) -> Iterator[str]:
    source = read_source(film("browser.mp4", "testsrc2=size=1280x720:rate=25:duration=8", {"eng": 440}))
    plan = plan_ladder(source)
    encode(plan, source, tmp_path)
    write_manifests(tmp_path, measure(tmp_path, plan))
    (tmp_path / "page.html").write_text(PAGE)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.browser
def test_it_plays_across_a_change_of_rung(address: str) -> None:
    executable = chromium()
    if executable is None:
        pytest.skip("Chromium is not installed: `make system-deps` installs it where it may")
    from playwright.sync_api import sync_playwright

    rungs = [{"codec": "avc1.64001f", "folder": f"video/{name}"} for name in ("720p", "480p")]
    sound = {"codec": "mp4a.40.2", "folder": "audio/en"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(f"{address}/page.html")
            told = page.evaluate("([high, low, sound]) => play(high, low, sound)", [*rungs, sound])
        finally:
            browser.close()
    assert told["error"] is None
    assert told["at"] >= 7.5
    assert told["frames"] > 30
    assert told["heights"] == [480, 720]
    ((picture_start, picture_end),), ((sound_start, sound_end),) = told["pictures"], told["sounds"]
    assert (picture_start, sound_start) == (0, 0)
    assert picture_end == pytest.approx(8, abs=0.001)
    assert sound_end == pytest.approx(8, abs=0.03)
