"""The page around an account in Chromium: first picks, children and PINs, stars, a television, sign-ins."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.catalog import ingest_feed
from matinee.settings import Settings

pytestmark = pytest.mark.browser

PIN, WRONG, PASSWORD = "4711", "1793", "correct horse"
FREE = [{"kind": "free"}]
FEED = [
    *({"id": f"fable-{n}", "kind": "film", "titles": {"en": f"Fable {n}", "ru": f"Басня {n}"}, "genres": ["family"],
       "maturity": 0, "year": 2010 + n, "offers": FREE} for n in range(1, 5)),
    {"id": "midnight", "kind": "film", "titles": {"en": "Midnight", "ru": "Полночь"}, "genres": ["drama"],
     "maturity": 18, "year": 2023, "offers": [{"kind": "rent", "price": "3.50", "currency": "EUR"}]},
]  # fmt: skip
WEB = Path(__file__).parents[2] / "serving" / "web"


@pytest.fixture(scope="module")
def address(
    own_home: Settings, tmp_path_factory: pytest.TempPathFactory, running_api: Callable[..., Any]
) -> Iterator[str]:
    feed = tmp_path_factory.mktemp("feed") / "feed.jsonl"
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    with psycopg.connect(own_home.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
    with running_api(own_home) as address:
        yield address


def words(language: str) -> dict[str, str]:
    text = (WEB / f"words.{language}.js").read_text()
    return dict(re.findall(r'(?:^|[\s,])"?([\w.]+)"?: "((?:[^"\\]|\\.)*)"', text))


def test_every_word_of_the_page_is_there_in_both_languages() -> None:
    en, ru = words("en"), words("ru")
    assert en.keys() == ru.keys()
    assert len(en) > 200
    params = {key: set(re.findall(r"\{(\w+)\}", value)) for key, value in en.items()}
    assert params == {key: set(re.findall(r"\{(\w+)\}", value)) for key, value in ru.items()}
    code = "".join(path.read_text() for path in WEB.glob("*.js") if not path.name.startswith("words."))
    used = set(re.findall(r'\bt\(\s*"([\w.]+)"', code))
    assert used <= en.keys(), used - en.keys()


# Refusals that the page does not meet: of staff, of players and senders that are not ours, of what it sends itself.
ELSEWHERE = {
    "changed_meanwhile", "cors_refused", "erasing", "events_unavailable", "forged_notice", "headers_too_large",
    "idempotency_key_invalid", "idempotency_key_missing", "invalid_encoding", "invalid_json", "last_admin",
    "no_snapshot", "not_paid", "not_ready", "note_required", "own_account", "payment_disputed", "payment_not_found",
    "provider_unused", "refund_too_much", "too_many_events", "unknown_account", "unknown_surface",
    "unsupported_encoding", "unsupported_media_type", "uri_too_long", "version_required",
}  # fmt: skip
WAITING = {
    "access_denied",
    "authorization_pending",
    "expired_token",
    "slow_down",
}  # the television's, told by its screen


def test_every_refusal_that_the_page_may_hear_has_words() -> None:
    code = "".join(path.read_text() for path in WEB.parent.glob("**/*.py"))
    said = set(re.findall(r'Problem\(\s*\d+,\s*"(\w+)"', code))
    assert len(said) > 80
    told = {key.split(".")[1] for key in words("en") if key.startswith(("error.", "refusal."))}
    assert said - told - WAITING == ELSEWHERE & said


def submit(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def type_pin(page: Any, pin: str) -> None:
    for digit in pin:
        page.get_by_role("dialog").get_by_role("button", name=digit, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="OK").click()


def register(page: Any, address: str, email: str) -> None:
    page.goto(f"{address}/#/register")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("password1")
    submit(page, "Create account")
    page.get_by_role("alert").filter(has_text="most common").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    submit(page, "Create account")
    page.get_by_role("button", name="Log out").wait_for()


def test_a_family_shares_an_account(address: str, page: Any) -> None:
    register(page, address, "ada@example.org")
    page.get_by_role("heading", name="What do you like?").wait_for()
    done = page.get_by_role("button", name="Done")
    for n in (1, 2, 3):
        assert done.is_disabled()
        page.locator(f".pick[data-title=fable-{n}]").focus()
        page.keyboard.press("Enter")
    page.get_by_text("3 picked").wait_for()
    done.click()
    page.wait_for_url("**/#/")
    page.goto(f"{address}/#/favourites")
    page.get_by_role("heading", name="Favourites").wait_for()
    assert page.locator(".card").count() == 3

    page.goto(f"{address}/#/title/fable-4")
    page.get_by_role("button", name="Add to favourites").click()
    page.get_by_role("button", name="In your favourites").wait_for()
    page.get_by_role("radio", name="4 of 5 stars").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Take it back").wait_for()
    page.reload()
    page.get_by_role("button", name="Take it back").wait_for()
    assert page.get_by_role("radio", name="4.5 of 5 stars").is_checked()

    page.goto(f"{address}/#/profile/new")
    page.get_by_label("Name").fill("Mia")
    page.get_by_label("Fit for age").select_option("6")
    submit(page, "Save")
    page.get_by_role("button", name="Mia").wait_for()
    page.goto(f"{address}/#/account")
    page.get_by_role("button", name="Set a PIN").click()
    type_pin(page, "1234")
    page.get_by_text("This PIN is too easy to guess.").wait_for()
    type_pin(page, PIN)
    page.get_by_role("button", name="Change the PIN").wait_for()

    page.goto(f"{address}/#/profiles")
    page.get_by_role("button", name="Mia").click()
    page.locator("body.kids").wait_for()
    page.locator(".card[data-title=fable-1]").first.wait_for()
    assert page.locator(".card[data-title=midnight]").count() == 0
    assert page.get_by_role("button", name="Log out").count() == 0
    page.goto(f"{address}/#/title/midnight")
    page.get_by_text("This profile is not old enough for it.").wait_for()
    page.get_by_role("link", name="Mia", exact=True).click()
    page.get_by_role("button", name="ada").click()
    type_pin(page, WRONG)
    page.get_by_text("The PIN is wrong.").wait_for()
    type_pin(page, PIN)
    page.locator("body:not(.kids)").wait_for()
    page.goto(f"{address}/#/title/midnight")
    page.get_by_role("heading", name="Midnight").wait_for()
    page.problems.clear()  # Chromium reports the refusals themselves


def test_a_television_is_let_in_and_sent_away(address: str, page: Any) -> None:
    register(page, address, "bob@example.org")
    television = page.context.browser.new_context(locale="en-GB").new_page()
    television.clock.install()
    television.goto(f"{address}/#/tv")
    code = television.locator("#user-code").inner_text()
    drawn = television.locator(".qr svg").bounding_box()
    assert drawn["width"] == drawn["height"] > 150, "a phone can read it"
    page.goto(f"{address}/#/link?code={code}")
    submit(page, "OK")
    submit(page, "Let it in")
    page.get_by_text("The television is logged in.").wait_for()
    television.clock.fast_forward(6_000)  # it asks every five seconds
    television.get_by_role("heading", name="Who is watching?").wait_for()

    page.goto(f"{address}/#/account")
    page.get_by_role("button", name="End", exact=True).click()
    page.get_by_role("button", name="End", exact=True).wait_for(state="detached")
    page.wait_for_timeout(1000)  # a session that was ended opens nothing within a second
    television.goto(f"{address}/#/favourites")
    television.reload()
    television.get_by_label("Password").wait_for()
    television.get_by_label("E-mail").fill("bob@example.org")
    television.get_by_label("Password").fill("wrong horse")
    submit(television, "Log in")
    television.get_by_role("alert").filter(has_text="The e-mail or the password is wrong.").wait_for()
    television.get_by_label("Password").fill(PASSWORD)
    submit(television, "Log in")
    television.get_by_role("heading", name="Favourites").wait_for()
