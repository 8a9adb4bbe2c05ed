"""Every screen of the page in Chromium: in both languages, on a desk and a phone, by keyboard alone, told to whoever
does not see it (WCAG 2.2, levels A and AA, as far as a program can judge)."""

import io
import json
import mailbox
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

from ingest.catalog import ingest_feed
from matinee.settings import Settings
from serving.outbox import drain
from tests.e2e.screens import PASSWORD, register
from tests.serving.packages import publish

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "serving" / "web"
FREE = [{"kind": "free"}]
PAID = [{"kind": "subscription", "plans": ["premium"]}, {"kind": "rent", "price": "3.99", "currency": "EUR"}]
FEED = [
    {"id": "beacon", "kind": "series", "titles": {"en": "The Beacon", "ru": "Маяк"}, "genres": ["drama"], "year": 2024,
     "synopsis": {"en": "A keeper, a light, and two short nights.", "ru": "Смотритель, свет и две короткие ночи."},
     "people": [{"name": "Ada Vale", "role": "director"}], "countries": ["FR"], "maturity": 6, "offers": FREE},
    {"id": "beacon-s1", "kind": "season", "parent": "beacon", "titles": {"en": "Season one", "ru": "Первый сезон"},
     "extra": {"number": 1}},
    {"id": "beacon-1", "kind": "episode", "parent": "beacon-s1", "titles": {"en": "First night", "ru": "Первая ночь"},
     "synopsis": {"en": "The lamp goes out.", "ru": "Лампа гаснет."}, "maturity": 6, "extra": {"number": 1}},
    {"id": "beacon-2", "kind": "episode", "parent": "beacon-s1", "titles": {"en": "Second night", "ru": "Вторая ночь"},
     "maturity": 6, "extra": {"number": 2}},
    {"id": "harbour", "kind": "film", "titles": {"en": "Harbour", "ru": "Гавань"}, "genres": ["drama", "nature"],
     "synopsis": {"en": "Ships that wait.", "ru": "Корабли ждут."}, "year": 2023, "maturity": 6, "offers": PAID,
     "countries": ["DE"]},
    {"id": "unfilmed", "kind": "film", "titles": {"en": "A film that nobody has brought yet, with a name that is long",
     "ru": "Фильм, который ещё никто не принёс, и у него очень длинное название"}, "genres": ["nature"],
     "year": 2022, "maturity": 0, "offers": FREE},
]  # fmt: skip
FILMED = ("beacon-1", "beacon-2", "harbour")
CUES = "WEBVTT\n\n00:00.000 --> 00:19.000\n{text}\n"
SUBTITLES = {"en": "The lamp goes out.", "ru": "Лампа гаснет."}


@dataclass
class World:
    settings: Settings
    address: str


@pytest.fixture(scope="module")
def world(
    own_home: Settings, package: Path, tmp_path_factory: pytest.TempPathFactory, running_api: Callable[..., Any]
) -> Iterator[World]:
    """A series and films to be heard in two languages, with subtitles in both and an opening to skip."""
    folder = tmp_path_factory.mktemp("screens")
    feed = folder / "feed.jsonl"
    feed.write_text("\n".join(json.dumps(line) for line in FEED))
    in_two_languages(package, folder / "package")
    with psycopg.connect(own_home.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
        for title_id in FILMED:
            publish(connection, own_home, folder / "package", title_id)
        connection.execute(
            "INSERT INTO title_marker (title_id, kind, start_ms, end_ms, source, confidence) "
            "VALUES ('beacon-1', 'intro', 0, 9000, 'sound', 1)"
        )
    settings = own_home.model_copy(update={"limits_scale": 0})
    with running_api(settings) as address:
        yield World(settings, address)


def in_two_languages(package: Path, folder: Path) -> None:
    """The package with a second sound, and with subtitles."""
    shutil.copytree(package, folder)
    shutil.copytree(folder / "audio" / "en", folder / "audio" / "ru")
    master = (folder / "master.m3u8").read_text().replace('AUDIO="aac"\n', 'AUDIO="aac",SUBTITLES="subtitles"\n')
    more = ['#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Русский",LANGUAGE="ru",DEFAULT=NO,URI="audio/ru/main.m3u8"']
    for language, text in SUBTITLES.items():
        own = folder / "subtitles" / language
        own.mkdir(parents=True)
        (own / "00001.vtt").write_text(CUES.format(text=text))
        (own / "main.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:20,\n00001.vtt\n#EXT-X-ENDLIST\n")
        more.append(
            f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="{language}",LANGUAGE="{language}",DEFAULT=NO,'
            f'URI="subtitles/{language}/main.m3u8"'
        )
    lines = master.splitlines()
    (folder / "master.m3u8").write_text("\n".join([*lines[:3], *more, *lines[3:], ""]))


# Where to, and what is refused there on purpose.
OPEN = ("", "login", "register", "recover", "reset?token=x", "tv", "plans", "all", "all?q=000", "title/beacon")
SIGNED_IN = (
    "onboarding", "", "all", "favourites", "history", "title/beacon", "title/harbour", "title/unfilmed", "profiles",
    "profiles/edit", "profile/new", "account", "link?code=BCDF-GHJK", "billing", "plans?title=harbour&plans=premium",
    "checkout?price=premium-month-eur", "checkout?title=harbour&kind=rent", "paid/now", "nowhere", "watch/beacon-1",
)  # fmt: skip
UNANSWERED = {"en": "The server does not answer.", "ru": "Сервер не отвечает."}
ABORTED = "Failed to load resource: net::ERR_FAILED"
REFUSED = ("confirm?token=x", "title/nope", "watch/unfilmed")
SCREENS = re.search(r"const screens = \{(.*?)\n  \};", (WEB / "app.js").read_text(), re.DOTALL)[1]
KNOWN = {"", *re.findall(r"(\w+)(?=[:,])", SCREENS)}
# What is written in Latin letters in Russian too, and the other way about.
LATIN = re.compile(
    r"Matinee|PIN|PDF|English|Chrome|Linux|Ada Vale|HTTPS?|[\w.-]+@[\w.]+|https?://\S+|\b[A-Z-]{8,9}\b|\b[A-Z2-7]{32}\b|\d+p\b|^[A-Z]{2}$"
)
CYRILLIC = re.compile(r"Русский")

NAMED = {
    "button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "image", "img", "dialog", "navigation",
    "progressbar", "region", "group", "Video",
}  # fmt: skip


def luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """WCAG 2.2, 1.4.3: 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@dataclass
class Visitor:
    """Somebody with a screen, and what is wrong on those that were looked at."""

    page: Any
    address: str
    language: str
    wrong: list[str] = field(default_factory=list)

    def look(self, name: str) -> None:
        """Go to a screen and judge it."""
        self.page.evaluate("(hash) => audit.go(hash)", f"#/{name}")
        self.judge(name)

    def judge(self, name: str) -> None:
        """Judge what is on the screen."""
        problems = [*self._structure(), *self._names(), *self._words()]
        self.wrong += [f"{self.language} {self.page.viewport_size['width']} #/{name}: {one}" for one in problems]

    def _structure(self) -> Iterator[str]:
        found = self.page.evaluate("audit.structure()")
        if found["lang"] != self.language:
            yield f"the language is called {found['lang']}"
        if not found["title"].endswith(" · Matinee"):
            yield f"its title says nothing: {found['title']}"
        if found["width"] > self.page.viewport_size["width"]:
            yield f"{found['width']} px wide"
        levels = found["headings"]
        if levels.count(1) != 1 or any(b > a + 1 for a, b in pairwise(levels)):
            yield f"headings of levels {levels}"
        yield from (f"twice the id {one}" for one in found["twice"])
        yield from found["bare"]
        for link in found["links"]:
            if link.startswith("#/") and link[2:].partition("?")[0].partition("/")[0] not in KNOWN:
                yield f"{link} leads nowhere"
            if link.startswith("/") and link != "/" and self.page.request.get(self.address + link).status != 200:
                yield f"{link} does not answer"

    def _names(self) -> Iterator[str]:
        """What a screen reader is told: every control has a name, and the page its landmarks (1.3.1, 4.1.2)."""
        session = self.page.context.new_cdp_session(self.page)
        nodes = [n for n in session.send("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
        session.detach()
        roles = Counter(node["role"]["value"] for node in nodes)
        # The player leaves nothing else on the screen, and a dialog nothing in reach.
        if (roles["main"], roles["banner"]) not in ((1, 1), (1, 0)) and not roles["dialog"]:
            yield f"landmarks: {roles}"
        for node in nodes:
            if node["role"]["value"] in NAMED and not node.get("name", {}).get("value", "").strip():
                yield f"a {node['role']['value']} without a name"

    def _words(self) -> Iterator[str]:
        """No text in the other language, none too faint to read (1.4.3)."""
        texts = self.page.evaluate("audit.texts()")
        foreign, allowed = (r"[A-Za-z]{3,}", LATIN) if self.language == "ru" else (r"[А-Яа-яЁё]{2,}", CYRILLIC)
        yield from (f"not translated: {t['text']!r}" for t in texts if re.search(foreign, allowed.sub("", t["text"])))
        picture = Image.open(io.BytesIO(self.page.screenshot(full_page=True))).convert("RGB")
        for text in texts:
            if not text["seen"]:
                continue
            left, top, right, bottom = (round(edge) for edge in text["box"])
            box = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
            if box[0] >= box[2] or box[1] >= box[3]:
                continue
            behind = picture.crop(box)
            # Of a gradient no colour alone prevails over that of the letters, but its neighbours together do.
            ground = max(behind.point(lambda part: part & 0xF0 | 0x08).getcolors(behind.width * behind.height))[1]
            red, green, blue, *alpha = (float(part) for part in re.findall(r"[\d.]+", text["colour"]))
            share = alpha[0] if alpha else 1.0
            ink = [share * c + (1 - share) * g for c, g in zip((red, green, blue), ground, strict=True)]
            ratio = contrast(ink, ground)
            if ratio < (3 if text["isLarge"] else 4.5):
                yield f"{text['text'][:40]!r} is faint: {ratio:.1f}:1, {text['colour']} on {ground}"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_screen_is_whole(world: World, page: Any, language: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.add_init_script(path=HERE / "audit.js")
    page.add_init_script(f"localStorage.getItem('language') ?? localStorage.setItem('language', '{language}')")
    page.goto(world.address)
    visitor = Visitor(page, world.address, language)
    for name in OPEN:
        visitor.look(name)
    register(page, world.address, f"{language}-{width}@example.org")
    for name in SIGNED_IN:
        visitor.look(name)
    visitor.look("account")
    for place, field_name in ((3, "pin"), (2, "code")):
        page.locator(".sections section").nth(place).get_by_role("button").first.click()
        page.locator(f"dialog input[name={field_name}]").wait_for()
        visitor.judge(f"account, {field_name}")
        page.keyboard.press("Escape")
    me = page.evaluate("fetch('/api/profile').then((answer) => answer.json())")["profiles"][0]["profile_id"]
    visitor.look(f"profile/{me}")
    kid = page.evaluate(
        "fetch('/api/profile', {method: 'POST', headers: {'content-type': 'application/json'}, "
        'body: \'{"name": "M", "maturity": 6}\'}).then((answer) => answer.json())'
    )["profile_id"]
    page.goto(f"{world.address}/?{language}#/profiles")
    visitor.look("profiles")
    page.locator(f"[data-profile='{kid}']").click()
    page.locator("body.kids").wait_for()
    for name in ("", "all", "title/beacon", "favourites", "profiles"):
        visitor.look(name)
    for name in REFUSED:
        visitor.look(name)
    page.route("**/favourites/**", lambda route: route.abort())
    visitor.look("title/beacon")
    page.locator(".heart").click()
    page.get_by_text(UNANSWERED[language]).wait_for()
    assert not visitor.wrong, "\n".join(visitor.wrong)
    # Chromium reports the refusals itself: what the plan opens already, the last three, and what nobody answered. A
    # segment that was on its way when the film was left may be one more.
    refused = [re.sub(r".*status of (4\d\d).*", r"\1", one) for one in page.problems]
    assert [one for one in refused if one != "410"] == ["409", "400", "404", "403", ABORTED]


class Keys:
    """A keyboard with two keys; whatever is reached must be seen to be."""

    LOOKS = """() => {
      const one = document.activeElement, shown = one.matches(".unseen") ? one.nextElementSibling : one;
      const style = getComputedStyle(shown), box = shown.getBoundingClientRect();
      const layer = (element) => element?.closest(".bar, .player, dialog");
      const above = layer(document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2));
      return { name: one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent, tag: one.tagName, id: one.id,
        isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        isThere: box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight
          && above === layer(shown) };
    }"""

    def __init__(self, page: Any) -> None:
        self._page = page

    def reach(self, name: str) -> None:
        """Go on from control to control until one has this name."""
        met = []
        for _ in range(80):
            self._page.keyboard.press("Tab")
            found = self._page.evaluate(self.LOOKS)
            met.append(found["name"].strip())
            if found["tag"] not in ("BODY", "VIDEO"):  # the end of the page, and controls that Chromium draws
                assert found["isMarked"], f"nobody sees that {found} has the focus"
                assert found["isThere"], f"{found} has the focus out of sight"
            if found["tag"] != "BODY" and name in found["name"]:
                return
        raise AssertionError(f"{name!r} is not reached: {met}")

    def open(self, name: str) -> None:
        self.reach(name)
        self._page.keyboard.press("Enter")

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)
        self._page.keyboard.press("Tab")


def plays(page: Any, beyond: float = 0.3) -> None:
    wait(page, lambda: (page.evaluate("document.querySelector('video')?.currentTime") or 0) > beyond, "it plays")


def test_a_film_is_reached_played_and_left_by_tab_and_enter_alone(world: World, page: Any) -> None:
    keys = Keys(page)
    page.goto(world.address)
    page.get_by_role("heading", name="Films for an evening in").wait_for()
    keys.open("Skip to content")
    keys.open("Create account")
    page.get_by_role("heading", name="Create account").wait_for()
    keys.type("keys@example.org")
    keys.type(PASSWORD)
    keys.open("Create account")
    page.get_by_role("button", name="Log out").wait_for()
    page.locator(".card[data-title=beacon]").first.wait_for()
    keys.open("The Beacon")
    page.get_by_role("heading", name="The Beacon").wait_for()
    assert page.evaluate("document.activeElement.id") == "view", "it goes on at the new screen"
    keys.open("Play")
    plays(page)
    keys.open("Skip intro")
    plays(page, 9)
    keys.open("Close player")
    page.get_by_role("heading", name="The Beacon").wait_for()
    keys.open("Log out")
    page.get_by_role("heading", name="Films for an evening in").wait_for()
    assert page.problems == []


def kept(page: Any) -> tuple[str | None, str | None]:
    """The sound and the subtitles that the server keeps for the first profile."""
    first = page.evaluate("fetch('/api/profile').then((answer) => answer.json())")["profiles"][0]
    return first["audio_language"], first["subtitle_language"]


def subtitles(page: Any, language: str | None) -> None:
    """Choose in the browser's own menu."""
    page.evaluate(
        "(wanted) => { for (const track of document.querySelector('video').textTracks) "
        "track.mode = track.language === wanted ? 'showing' : 'disabled'; }",
        language,
    )


SHOWING = "[...document.querySelector('video').textTracks].filter((track) => track.mode === 'showing')"
# The seconds of the countdown before the next episode pass in tenths.
HASTE = "const every = setInterval; window.setInterval = (f, ms) => every(f, ms === 1000 ? 100 : ms)"


def test_sound_subtitles_and_the_next_episode_are_as_the_profile_wants_them(world: World, page: Any) -> None:
    page.add_init_script(HASTE)
    register(page, world.address, "sound@example.org")
    heard = []
    page.on("request", lambda request: heard.append(request.url.split("/")[-2]) if "/audio/" in request.url else None)
    page.goto(f"{world.address}/#/watch/harbour")
    plays(page)
    assert page.evaluate(f"{SHOWING}.length") == 0
    assert set(heard) == {"en"}, "as the page"
    page.get_by_label("Sound").select_option(label="Русский")
    subtitles(page, "ru")
    wait(page, lambda: kept(page) == ("ru", "ru"), "the choice is kept")

    heard.clear()
    page.goto(f"{world.address}/?again#/watch/beacon-1")
    plays(page)
    wait(page, lambda: page.evaluate(f"{SHOWING}[0]?.activeCues?.[0]?.text") == SUBTITLES["ru"], "subtitles")
    assert set(heard) == {"ru"}
    subtitles(page, None)
    wait(page, lambda: kept(page) == ("ru", "off"), "so is having none")

    end = "document.querySelector('video').currentTime = 19.5"
    page.evaluate(end)
    page.get_by_text("Next episode in").wait_for()
    page.wait_for_url("**#/watch/beacon-2")
    plays(page)
    assert page.evaluate(f"{SHOWING}.length") == 0
    page.get_by_role("button", name="Close player").click()

    page.goto(f"{world.address}/#/profiles/edit")
    page.locator(".tile[data-profile]").click()
    page.get_by_label("Play the next episode by itself").uncheck()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Who is watching?").wait_for()
    page.goto(f"{world.address}/#/watch/beacon-1")
    plays(page)
    page.evaluate(end)
    page.get_by_role("link", name="Next episode: Second night").wait_for()
    page.wait_for_timeout(1_200)
    assert page.url.endswith("#/watch/beacon-1"), "it waits to be asked"
    assert page.get_by_text("Next episode in").count() == 0


def wait(page: Any, ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, what
        page.wait_for_timeout(50)


def letter_to(world: World, email: str) -> str:
    """The address in the newest letter to somebody."""
    drain(world.settings)
    box = mailbox.Maildir(world.settings.home.mail)
    letters = sorted((one for one in box if one["to"] == email), key=lambda one: one.get_date())
    (body,) = (part for part in letters[-1].walk() if part.get_content_type() == "text/plain")
    for letter in list(box.keys()):
        box.remove(letter)
    return re.search(r"http://\S+", body.get_payload(decode=True).decode())[0]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_links_of_letters_lead_to_screens_that_work(world: World, page: Any, language: str) -> None:
    said = dict(re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', (WEB / f"words.{language}.js").read_text()))
    refused = dict(re.findall(r'"error\.([\w.]+)": "([^"]*)"', (WEB / f"words.{language}.js").read_text()))
    page.add_init_script(f"localStorage.setItem('language', '{language}')")
    email, changed = f"letters-{language}@example.org", "another horse"
    register(page, world.address, email)
    page.goto(f"{world.address}/#/account")
    page.get_by_text(said["email_unconfirmed"]).wait_for()
    link = letter_to(world, email)
    page.goto(link)
    page.get_by_text(said["confirm_done"]).wait_for()
    page.goto(f"{world.address}/#/account")
    page.get_by_text(email).wait_for()
    assert page.get_by_text(said["email_unconfirmed"]).count() == 0
    page.goto(link)
    page.get_by_text(refused["bad_link"]).wait_for()
    page.get_by_role("button", name=said["logout"]).click()
    page.get_by_role("heading", name=said["welcome"]).wait_for()

    page.goto(f"{world.address}/#/login")
    page.get_by_role("link", name=said["forgot"]).click()
    page.locator("input[name=email]").fill(email)
    page.get_by_role("button", name=said["send"]).click()
    page.get_by_text(said["recover_sent"]).wait_for()
    link = letter_to(world, email)
    for new, told in (("password1", "easy_to_guess"), (changed, "reset_done")):
        page.goto(link)
        page.locator("input[name=password]").fill(new)
        page.get_by_role("button", name=said["save"]).click()
        page.get_by_text(said.get(told) or refused["weak_password.common"]).wait_for()
    for password, done in ((PASSWORD, refused["wrong_credentials"]), (changed, said["logout"])):
        page.locator("input[name=email]").fill(email)
        page.locator("input[name=password]").fill(password)
        page.locator("form.form button").click()
        page.get_by_text(done).wait_for()
    page.goto(link)
    page.locator("input[name=password]").fill("a third horse")
    page.get_by_role("button", name=said["save"]).click()
    page.get_by_text(refused["bad_link"]).wait_for()
