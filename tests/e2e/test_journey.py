"""A family behind the real NGINX over HTTPS: a child's profile, a film, a second device, and everybody logged out."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any

import psycopg
import pytest

from ingest.catalog import ingest_feed
from matinee.settings import Settings
from transcoding.build import transcode_pending

pytestmark = pytest.mark.browser

PIN, PASSWORD = "4711", "correct horse"
OFFER = [{"kind": "subscription", "plans": ["basic"]}]
FEED = [
    {"id": "fable", "kind": "film", "titles": {"en": "The Fable"}, "maturity": 0, "offers": OFFER},
    {"id": "midnight", "kind": "film", "titles": {"en": "Midnight"}, "maturity": 18, "offers": OFFER},
]  # fmt: skip


@pytest.fixture
def home(settings: Settings, tmp_path: Path, ffmpeg: Path) -> Settings:
    """A film for everybody, packaged by the pipeline, and one for adults; a new account may play one stream at once."""
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    master = settings.media / "~masters" / "film.mp4"
    master.parent.mkdir()
    run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=12:duration=12", "-f", "lavfi",
         "-i", "sine=frequency=330:duration=12", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
         "-c:a", "aac", master],
        check=True,
    )  # fmt: skip
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "VALUES ('film', 'fable', 'film.mp4', '~masters/film.mp4', %s, 'accepted')",
            (master.stat().st_size,),
        )
    assert {outcome.state for outcome in transcode_pending(settings)} == {"published"}
    return settings.model_copy(update={"trial_plan": "basic"})


@pytest.fixture
def devices(page: Any) -> Callable[[], Any]:
    """Browsers of their own that take the gateway's certificate."""

    def make() -> Any:
        context = page.context.browser.new_context(locale="en-GB", ignore_https_errors=True)
        made = context.new_page()
        made.set_default_timeout(15_000)
        return made

    return make


def wait(seconds: float, ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def plays(page: Any) -> bool:
    return (page.evaluate("document.querySelector('video')?.currentTime") or 0) > 0.5


def type_pin(page: Any) -> None:
    page.get_by_role("dialog").get_by_label("PIN").fill(PIN)
    page.get_by_role("dialog").get_by_role("button", name="OK").click()


def make_account(page: Any, address: str) -> None:
    page.goto(f"{address}/#/register")
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Log out").wait_for()
    page.goto(f"{address}/#/profile/new")
    page.get_by_label("Name").fill("Mia")
    page.get_by_label("Fit for age").select_option("6")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Mia").wait_for()
    page.goto(f"{address}/#/account")
    page.get_by_role("button", name="Set a PIN").click()
    type_pin(page)
    page.get_by_role("button", name="Change the PIN").wait_for()


def become_a_child(page: Any, address: str) -> None:
    page.goto(f"{address}/#/profiles")
    page.get_by_role("button", name="Mia").click()
    page.locator("body.kids").wait_for()


def test_a_family_watches_and_everybody_is_logged_out(
    home: Settings, behind_gateway: Callable[..., Any], devices: Callable[[], Any]
) -> None:
    with behind_gateway(home) as gateway:
        first, second, address = devices(), devices(), gateway.url
        make_account(first, address)
        adult = first.request.get(f"{address}/api/profile").json()["profiles"][0]["profile_id"]
        become_a_child(first, address)
        first.locator(".card[data-title=fable]").first.wait_for()
        assert first.locator(".card[data-title=midnight]").count() == 0
        origin = {"origin": address}
        refused = first.request.post(f"{address}/api/watch/midnight", headers=origin, data={"profile_id": adult})
        assert (refused.status, refused.json()["code"]) == (403, "pin_required")
        refused = first.request.post(f"{address}/api/watch/midnight", headers=origin, data={})
        assert (refused.status, refused.json()["code"]) == (403, "maturity"), "without a name it is the child's profile"

        first.goto(f"{address}/#/watch/fable")
        wait(15, lambda: plays(first), "the film plays behind NGINX")
        loaded = first.evaluate(
            "performance.getEntriesByType('resource').map((one) => [one.name, one.nextHopProtocol])"
        )
        assert {hop for name, hop in loaded if name.endswith(".m4s")} == {"h2"}
        assert [name for name, _ in loaded if "/api/watch/keys/" in name], "it is protected"

        second.goto(f"{address}/#/login")
        second.get_by_label("E-mail").fill("ada@example.org")
        second.get_by_label("Password").fill(PASSWORD)
        second.get_by_role("button", name="Log in").click()
        second.get_by_role("heading", name="Who is watching?").wait_for()
        become_a_child(second, address)
        second.goto(f"{address}/#/watch/fable")
        second.get_by_role("heading", name="Too many devices are playing").wait_for()
        second.get_by_role("button", name="Watch here instead").click()
        wait(15, lambda: plays(second), "the second device has the slot")
        first.evaluate("document.querySelector('video').pause()")
        first.get_by_text("Another device goes on with this film.").wait_for()

        second.get_by_role("button", name="Close player").click()
        second.goto(f"{address}/#/profiles")
        second.get_by_role("button", name="ada").click()
        type_pin(second)
        second.locator("body:not(.kids)").wait_for()
        second.get_by_role("button", name="Log out").wait_for()
        second.goto(f"{address}/#/account")
        second.get_by_role("button", name="Log out everywhere").click()
        second.get_by_label("Password").wait_for()
        key = next(name for name, _ in loaded if "/api/watch/keys/" in name)
        for device in (first, second):
            wait(1.0, lambda page=device: page.request.get(f"{address}/api/profile").status == 401, "signed out")
            assert device.request.get(key).status == 403, "and no key is given any more"
