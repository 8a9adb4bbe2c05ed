"""A subscriber in Chromium: chooses a plan, pays on the provider's page, plays at once, gets the receipt, cancels."""

import json
import mailbox
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn

from ingest.catalog import ingest_feed
from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.app import create_app
from serving.billing.providers.base import FAILURES
from serving.outbox import drain
from tests.e2e.screens import register
from tests.serving.billing.pdf_text import pdf_text

pytestmark = pytest.mark.browser

CARDS = {"declined": "4000 0000 0000 0002", "secure": "4000 0025 0000 3155", "good": "4242 4242 4242 4242"}
FEED = [
    {"id": "harbour", "kind": "film", "titles": {"en": "Harbour", "ru": "Гавань"}, "maturity": 6, "year": 2024,
     "offers": [{"kind": "subscription", "plans": ["standard"]},
                {"kind": "rent", "price": "3.99", "currency": "EUR"}]},
]  # fmt: skip


@dataclass
class World:
    settings: Settings
    clock: ManualClock
    address: str


@pytest.fixture(scope="module")
def world(own_home: Settings, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A film that plans open, no trials, and a clock that can pass over a month (of 28 days: sign-ins last 30)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = own_home.model_copy(update={"public_url": address, "trial_days": 0})
        _fill(settings, package, tmp_path_factory.mktemp("feed") / "feed.jsonl")
        clock = ManualClock(datetime(2026, 2, 10, 12, tzinfo=UTC))
        server = uvicorn.Server(uvicorn.Config(create_app(settings, clock), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield World(settings, clock, address)
        finally:
            server.should_exit = True
            thread.join()


def _fill(settings: Settings, package: Path, feed: Path) -> None:
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    shutil.copytree(package, settings.media / "harbour" / "package-1")
    rungs = json.dumps([{"name": "360p"}, {"name": "180p"}])
    with psycopg.connect(settings.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "VALUES ('master-1', 'harbour', 'harbour.mp4', 'x', 1, 'accepted')"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms, rungs) "
            "VALUES ('package-1', 'harbour', 'master-1', 'published', 20000, %s)", (rungs,),
        )  # fmt: skip


def test_every_refusal_of_money_has_words() -> None:
    """What providers say of a failed payment, and what is wrong with a code, in the words of both languages."""
    root = Path(__file__).parents[2] / "serving"
    words = (root / "web" / "words.en.js").read_text()
    said = {f"failure.{code}" for code in FAILURES}
    told = "".join(path.read_text() for path in (root / "billing" / "promo").glob("*.py"))
    said |= {f"error.promo_{code}" for code in re.findall(r'PromoError\(\s*"(\w+)"', told)} - {"error.promo_taken"}
    assert len(said) > 14
    assert not {code for code in said if f'"{code}":' not in words}


def pay(page: Any, card: str) -> None:
    """Type a card on the provider's page."""
    page.wait_for_url("**/sandbox/pay/**")
    page.locator("input[name=number]").fill(CARDS[card])
    page.locator("button[value=pay]").click()


def plays(page: Any) -> bool:
    deadline = time.monotonic() + 20
    while not page.evaluate("document.querySelector('video')?.currentTime > 0.2"):
        if time.monotonic() > deadline:
            return False
        page.wait_for_timeout(50)
    return True


def test_a_plan_is_chosen_paid_played_and_cancelled(world: World, page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})  # a phone
    register(page, world.address, "ada@example.org")
    page.goto(f"{world.address}/#/title/harbour")
    page.get_by_text("Your plan does not open this title.").wait_for()
    page.get_by_role("link", name="Choose a plan").click()
    standard = page.locator("[data-plan=standard]")
    standard.get_by_text("€9.99").wait_for()
    assert standard.get_by_text("Opens what you wanted to watch").is_visible()
    assert not page.locator("[data-plan=basic]").get_by_text("Opens what you wanted").is_visible()
    page.get_by_role("radio", name="Monthly").focus()
    page.keyboard.press("ArrowRight")
    standard.get_by_text("that is €8.32 a month").wait_for()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than a phone"
    standard.get_by_role("link", name="Choose").click()

    page.get_by_label("Promo code").fill("nonsense")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("There is no such code.").wait_for()
    page.get_by_role("button", name="Pay €9.99").click()
    pay(page, "declined")
    page.get_by_text("The bank refused the card.").wait_for()
    page.get_by_role("link", name="Try again").click()
    page.get_by_role("button", name="Pay €9.99").click()
    pay(page, "secure")
    page.locator("button[value=confirm]").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    page.get_by_role("link", name="Play").click()
    assert plays(page)

    page.goto(f"{world.address}/#/billing")
    page.get_by_text("Paid until March 10, 2026.").wait_for()
    page.get_by_text("Next payment: €9.99 on March 10, 2026").wait_for()
    page.get_by_text("Visa •••• 3155").wait_for()
    with page.expect_download() as started:
        page.get_by_role("link", name="PDF").click()
    receipt = pdf_text(Path(started.value.path()).read_bytes()).splitlines()
    for told in (
        "Receipt",
        "Standard, 1 month",
        "€9.99",
        "of which VAT 19%",
        "€1.60",
        "Visa •••• 3155",
        "February 10, 2026",
    ):
        assert told in receipt, told
    assert drain(world.settings)
    letters = [message for message in mailbox.Maildir(world.settings.home.mail) if message["to"] == "ada@example.org"]
    assert "Your receipt" in [str(letter["subject"]) for letter in letters]

    page.get_by_role("button", name="Cancel the plan").click()
    page.get_by_text("You can watch until March 10, 2026;").wait_for()
    page.get_by_role("button", name="Yes, cancel").click()
    page.get_by_text("Cancelled: you can watch until March 10, 2026.").wait_for()
    page.get_by_role("button", name="Keep the plan").click()
    page.get_by_role("button", name="Cancel the plan").click()
    page.get_by_role("button", name="Yes, cancel").click()
    page.get_by_role("button", name="Keep the plan").wait_for()
    world.clock.advance(timedelta(days=27, hours=23))
    page.reload()
    page.get_by_role("button", name="Keep the plan").wait_for()
    page.goto(f"{world.address}/#/watch/harbour")
    assert plays(page), "paid for is paid for"
    world.clock.advance(timedelta(hours=2))
    page.goto(f"{world.address}/#/title/harbour")
    page.get_by_text("Your plan does not open this title.").wait_for()
    page.problems.clear()  # Chromium reports the refusals themselves


def test_a_title_is_rented_in_russian_by_keyboard_alone(world: World, page: Any) -> None:
    register(page, world.address, "bella@example.org")
    page.evaluate("localStorage.setItem('language', 'ru')")
    page.goto(f"{world.address}/#/title/harbour")
    page.reload()
    rent = page.get_by_role("link", name=re.compile("Аренда: 3,99"))
    rent.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Аренда: «Гавань»").wait_for()
    page.get_by_role("button", name=re.compile("Оплатить 3,99")).focus()
    page.keyboard.press("Enter")
    pay(page, "good")
    page.get_by_role("heading", name="Спасибо").wait_for()
    page.get_by_role("link", name="Смотреть", exact=True).focus()
    page.keyboard.press("Enter")
    assert plays(page)
    page.goto(f"{world.address}/#/billing")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Открыть").click()
    opened.value.get_by_role("heading", name="Квитанция").wait_for()
    assert opened.value.get_by_text("Гавань").is_visible()
    assert opened.value.evaluate("getComputedStyle(document.querySelector('footer')).color") == "rgb(102, 95, 112)"
    page.problems.clear()
