"""A new viewer over HTTP, API and worker as the supervisor runs them: what the viewer does changes the next page."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from ingest.catalog import upsert_titles
from matinee.contracts.feed import FeedTitle, Offer
from matinee.ids import uuid7
from matinee.settings import Settings
from models.interactions import Interactions, Ragged
from models.recommenders.assemble import recent
from models.recommenders.blend import Blend
from models.recommenders.ease import Ease
from models.recommenders.export import current, export
from models.recommenders.knn import TransitionKnn
from models.recommenders.similar import neighbours
from models.recommenders.system import About, Asked, System, golden_of

GENRES = ("drama", "comedy", "nature", "crime", "family", "war")
TITLES = {f"{genre}-{number:02}": genre for genre in GENRES for number in range(12)}
VIEWERS = 120
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"  # what others do counts for no taste


@pytest.fixture(scope="module")
def cinema(own_home: Settings) -> Settings:
    """72 films of six genres that play, and a system fitted to viewers who keep to two genres each."""
    settings = own_home
    feed = [
        FeedTitle(id=title, kind="film", titles={"en": title.title(), "ru": f"Фильм {title}"}, genres=(genre,),
                  maturity=6, offers=(Offer(kind="free"),), runtime_s=6_000)
        for title, genre in TITLES.items()
    ]  # fmt: skip
    with psycopg.connect(settings.database()) as connection:
        upsert_titles(connection, feed)
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "SELECT 'm-' || title_id, title_id, 'f', 'x', 1, 'accepted' FROM title"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "SELECT 'p-' || title_id, title_id, 'm-' || title_id, 'published', 6000000 FROM title"
        )
    export(fitted(), settings.home)
    return settings


def fitted() -> System:
    random = np.random.default_rng(5)
    items = sorted(TITLES)
    of_genre = {genre: [n for n, title in enumerate(items) if TITLES[title] == genre] for genre in GENRES}
    taken = [
        (viewer, item)
        for viewer in range(VIEWERS)
        for item in random.permutation([n for g in random.choice(GENRES, 2, False) for n in of_genre[g]])[:10]
    ]
    users, chosen = (np.array(column, dtype=np.int64) for column in zip(*taken, strict=True))
    data = Interactions.sorted(users, chosen, np.arange(len(taken)) * 60.0, VIEWERS, len(items))
    parts = {"ease_decay": Ease(penalty=5.0).fit(data), "knn": TransitionKnn().fit(data)}
    genres = [(TITLES[title],) for title in items]
    made = System(
        about=About("matinee-recommender", "3", "s", "h", "blend"),
        items=items,
        titles=genres,
        created=np.zeros(len(items)),
        model=Blend(parts, {"ease_decay": 1.0, "knn": 0.5}),
        recent=recent(data, 14),
        neighbours=neighbours(data, genres),
    )
    from dataclasses import replace

    return replace(made, golden=golden_of(made, [Asked(("drama-01", "war-02"), now=1.0)]))


@pytest.fixture(scope="module")
def worker(cinema: Settings) -> Iterator[None]:
    """`matinee worker recommendations`, ready."""
    from serving.recommendations.worker import is_caught_up

    matinee = Path(sys.executable).with_name("matinee")
    log = cinema.home.logs / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [matinee, "worker", "recommendations"],
            env={**os.environ, **cinema.environment()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 60
        while not is_caught_up(cinema):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


class Visitor:
    """A new account in a browser of its own."""

    def __init__(self, address: str, name: str) -> None:
        self.http = httpx.Client(base_url=address, headers={"origin": address, "user-agent": BROWSER})
        account = {"email": f"{name}@example.org", "password": "correct horse"}
        self.http.post("/api/auth/register", json=account).raise_for_status()
        self.profile = self.http.get("/api/profile").json()["profiles"][0]["profile_id"]

    def page(self, surface: str = "home") -> dict[str, Any]:
        asked = {"profile_id": self.profile, "surface": surface}
        answer = self.http.get("/api/recommendations", params=asked)
        answer.raise_for_status()
        return answer.json()

    def tell(self, kind: str, title_id: str, **more: Any) -> None:
        now = datetime.now(UTC).isoformat()
        event = {
            "event_id": uuid7(), "schema": "viewer-event/1.0", "session_id": "visit", "type": kind,
            "title_id": title_id, "profile_id": self.profile, "ts_client": now, "ts_sent": now, **more,
        }  # fmt: skip
        answer = self.http.post("/api/events", json={"events": [event]})
        assert answer.json() == {"accepted": 1, "rejected": []}

    def changed(self, holds: Callable[[dict[str, Any]], object]) -> tuple[dict[str, Any], float]:
        """The first page for which it holds, and the seconds until it came."""
        begun = time.monotonic()
        while not holds(page := self.page()):
            assert time.monotonic() < begun + 15, page["rows"]
            time.sleep(0.02)
        return page, time.monotonic() - begun


def reasons(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [i for row in page["rows"] for i in row["items"] if i["reason"]["code"] == "because_you_watched"]


def shown(page: dict[str, Any]) -> list[str]:
    return [item["title_id"] for row in page["rows"] for item in row["items"]]


def assert_true(page: dict[str, Any], history: list[str], settings: Settings) -> None:
    """Every reason names the title that adds most to the score in the source that is named, worked out again."""
    folder = current(settings.home)
    assert folder
    system = System.load(folder)
    assert isinstance(system.model, Blend)
    told = reasons(page)
    assert told
    numbers = [system.items.index(title) for title in history]
    for item in told:
        part = system.model.parts[item["source"]]
        shares = part.contributions(np.array(numbers), np.array([system.items.index(item["title_id"])]))[:, 0]
        scores = part.score(Ragged.of([numbers]))[0]
        assert shares.sum() == pytest.approx(scores[system.items.index(item["title_id"])], rel=1e-4)
        assert history[int(shares.argmax())] == item["reason"]["params"]["title_id"]


def test_what_a_new_viewer_does_changes_the_next_page_within_a_second(
    cinema: Settings, worker: None, running_api: Callable[..., Any]
) -> None:
    took = []
    with running_api(cinema) as address:
        for number in range(3):
            viewer = Visitor(address, f"player{number}")
            before = viewer.page()
            assert not before["degraded"]
            assert not reasons(before)
            history = ["war-01", "crime-02", "war-03"]
            for title in history:
                playback = {"playback_id": f"{title}-{number}", "seq": 1, "position_ms": 5_000}
                viewer.tell("play", title, **playback)
                viewer.tell("heartbeat", title, **{**playback, "seq": 2, "played_ms": 400_000, "position_ms": 400_000})
            page, seconds = viewer.changed(
                lambda page: "war-03" in {i["reason"]["params"]["title_id"] for i in reasons(page)}
            )
            took.append(seconds)
            assert page["rows"] != before["rows"]
            assert not set(history) & set(shown(page)), "what was begun is no discovery"
            assert {item["reason"]["params"]["title_id"] for item in reasons(page)} <= set(history)
            assert_true(page, history, cinema)
            follows = [r["items"][0]["title_id"] for r in page["rows"] if r["id"].startswith("because:")]
            assert {TITLES[title] for title in follows} & {"war", "crime"}

        picker = Visitor(address, "picker")
        offered = picker.page("onboarding")["rows"][0]["items"]
        assert {TITLES[i["title_id"]] for i in offered[:6]} == set(GENRES), "one of each before another of any"
        picks = [i["title_id"] for i in offered if TITLES[i["title_id"]] == "nature"][:3]
        for title in picks:
            picker.tell("favourite", title, data={"on": True})
        page, seconds = picker.changed(lambda page: len({i["reason"]["params"]["title_id"] for i in reasons(page)}) > 0)
        took.append(seconds)
        page, _ = picker.changed(lambda page: set(picks).isdisjoint(shown(page)))
        assert {item["reason"]["params"]["title_id"] for item in reasons(page)} <= set(picks)
        assert_true(page, picks, cinema)
    assert median(took) < 1.0, took
