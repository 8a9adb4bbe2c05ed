"""Hard rules on a random walk: whatever happens to catalogue, viewers, Redis and models, no page breaks one."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta

import psycopg
import pytest

from matinee.settings import Settings
from serving import context
from serving.catalog.core import scope
from serving.commands import issue_token
from serving.recommendations import live
from serving.recommendations.core import KIDS

ROUNDS, CHANGES = 5, 14
GENRES = ("drama", "comedy", "nature", "crime")
LIMITS = (0, 6, 12, 16, 18)
REGIONS = ((), ("FR",), ("FR", "RU"), ("US",))

# What may be recommended, said a second time and in SQL: seen by this viewer, and played if it was asked for.
_OFFERED = """
WITH seen AS (SELECT * FROM visible_title(%(maturity)s, %(region)s, %(now)s)),
plays AS (SELECT * FROM seen WHERE playable AND (bare OR offers_of IS NOT NULL))
SELECT title_id FROM plays WHERE kind = 'film'
UNION SELECT seen.title_id FROM seen JOIN plays ON plays.root_id = seen.title_id AND plays.kind = 'episode'
WHERE seen.kind = 'series'
"""
_PLAYS = """
SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s)
WHERE playable AND (bare OR offers_of IS NOT NULL)
"""
_SEEN = "SELECT title_id FROM visible_title(%(maturity)s, %(region)s, %(now)s)"


class World:
    """A catalogue in PostgreSQL and what may happen to it."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.random = random.Random(seed)
        self.connection = psycopg.connect(settings.database(), autocommit=True)
        self.films = [f"film-{n:02}" for n in range(44)]
        self.series = [f"series-{n}" for n in range(6)]
        self.episodes = [f"{series}-e{n}" for series in self.series for n in range(3)]
        self.titles = self.films + self.series
        self.genres = {title: self.random.sample(GENRES, self.random.randint(1, 2)) for title in self.titles}
        for title in self.titles:
            kind = "film" if title in self.films else "series"
            self._insert(title, kind, None, self.random.choice(LIMITS))
            if self.random.random() < 0.9:
                self.offer(title)
        for episode in self.episodes:
            self._insert(episode, "episode", episode.rsplit("-", 1)[0], 0)
        for title in self.films + self.episodes:
            self._execute("INSERT INTO title_text VALUES (%s, 'en', %s)", title, title.title())
            self._execute("INSERT INTO master VALUES (%s, %s, 'f', 'x', 1, 'accepted')", f"m-{title}", title)
            state = "published" if self.random.random() < 0.85 else "failed"
            self._execute("INSERT INTO package VALUES (%s, %s, %s, %s)", f"p-{title}", title, f"m-{title}", state)

    def _insert(self, title: str, kind: str, parent: str | None, maturity: int) -> None:
        self._execute(
            "INSERT INTO title (title_id, kind, parent_id, maturity, genres, feed_hash) "
            "VALUES (%s, %s, %s, %s, %s, '')",
            title, kind, parent, maturity, self.genres.get(title, []),
        )  # fmt: skip

    def _execute(self, query: str, *values: object) -> None:
        self.connection.execute(query.encode(), values)

    def offer(self, title: str) -> None:
        """Another licence: regions and a window, open or not."""
        self._execute("DELETE FROM offer WHERE title_id = %s", title)
        window = self.random.choice(["NULL, NULL", "NULL, now()", "now() + interval '1 day', NULL", "NULL, NULL"])
        self._execute(
            "INSERT INTO offer (title_id, position, kind, regions, open) "
            f"VALUES (%s, 0, 'free', %s, tstzrange({window}))",
            title, list(self.random.choice(REGIONS)),
        )  # fmt: skip

    def happen(self) -> None:
        title, played = self.random.choice(self.titles), self.random.choice(self.films + self.episodes)
        match self.random.randrange(5):
            case 0:
                self._execute("UPDATE title SET state = 'draft' WHERE title_id = %s", title)
            case 1:
                self._execute("UPDATE title SET state = 'published' WHERE title_id = %s", title)
            case 2:
                self.offer(title)
            case 3:
                limit = self.random.choice(LIMITS)
                self._execute("UPDATE title SET maturity = %s WHERE title_id = %s", limit, title)
            case _:
                state = self.random.choice(["published", "failed"])
                self._execute("UPDATE package SET state = %s WHERE title_id = %s", state, played)

    def watch(self, profile: str, share: float) -> None:
        """Positions of a profile: some titles begun, some seen to the end."""
        self._execute("DELETE FROM playback_position WHERE profile_id = %s", profile)
        for title in self.films + self.episodes:
            if self.random.random() < share:
                position = self.random.choice([0, 500, 960, 1000])
                self._execute(
                    "INSERT INTO playback_position VALUES (%s, %s, %s, 1000, now())", profile, title, position
                )

    def of(self, query: str, asked: dict) -> set[str]:
        return {title for (title,) in self.connection.execute(query.encode(), asked)}

    def finished(self, profile: str, asked: dict) -> set[str]:
        """Films seen to the end, and series of which what was touched last is the last episode, seen to the end."""
        query = "SELECT title_id, position_ms >= 950 FROM playback_position WHERE profile_id = %s"
        query += " ORDER BY updated_at DESC, title_id"
        touched = dict(self.connection.execute(query.encode(), (profile,)).fetchall())
        seen, plays = self.of(_SEEN, asked), self.of(_PLAYS, asked)
        found = {title for title in self.films if touched.get(title)}
        for series in self.series:
            last = max((e for e in plays if e.startswith(f"{series}-e")), default=None)
            newest = next((e for e in touched if e.startswith(f"{series}-e") and e in seen), None)
            if newest is not None and newest == last and touched[newest]:
                found.add(series)
        return found


@pytest.fixture
def world(settings):
    made = World(settings, seed=20261123)
    yield made
    made.connection.close()


def check(page, viewer, now, world, done):
    """Every hard rule, on one page."""
    asked = scope(viewer, now)
    offered, seen = world.of(_OFFERED, asked), world.of(_SEEN, asked)
    shown = [(row["id"], item) for row in page["rows"] for item in row["items"]]
    titles = [item["title_id"] for _, item in shown]
    assert max(Counter(titles).values(), default=1) == 1, "no title twice"
    assert set(titles) <= offered, "nothing that is withdrawn, too mature, sold elsewhere, over, or does not play"
    watched = done | world.finished(str(viewer.profile_id), asked)
    assert not {item["title_id"] for row, item in shown if row != "continue"} & watched, "nothing seen to the end"
    named = {item["reason"]["params"].get("title_id") for _, item in shown} - {None}
    assert named <= seen, "no reason names what may not be seen"
    assert set(page["titles"]) == set(titles) | named
    assert all(0 < item["propensity"] <= 1 for _, item in shown)
    return len(titles)


async def lead(app, port):
    """Let the app look for Redis at another port."""
    pool = app.state.context.quick.connection_pool
    while pool._in_use_connections:  # noqa: ASYNC110 - the pool has no event for it
        await asyncio.sleep(0.01)
    pool.connection_kwargs["port"] = port
    for connection in pool._available_connections:
        await connection.disconnect()
        connection.port = port
    await app.state.context.tracking.stop()
    app.state.context.tracking.start()
    await asyncio.sleep(0.05)


async def finish_one_after_the_other(app, client, who, world, known_as, done):
    """Who finishes something is shown the page of before for a moment, unless that is on it."""
    (account, profile, token), home, count = who, app.state.context.home, 0
    for title in world.random.sample(world.titles, 6):
        done.add(title)
        known_as(account, profile, sorted(done), sorted(done))
        await asyncio.sleep(0.01)  # so long Redis takes to tell
        answer = await client.get("/api/recommendations", params={"profile_id": profile}, headers=token)
        viewer = await app.state.context.viewers.of(account, None, profile)
        count += check(answer.json(), viewer, home._clock.now(), world, done)
    return count


async def test_no_page_breaks_a_rule_whatever_happens(
    settings, world, running, browser, export_system, known_as, monkeypatch
):
    for module in (live, context):  # how long Redis may take is held elsewhere
        monkeypatch.setattr(module, "PATIENCE_S", 5.0)
    values = {"MATINEE_HOME": settings.home_path, "database_url": settings.database_url}
    dead = Settings.model_validate({**values, "redis_url": "redis://127.0.0.1:9/0"})
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(running(settings))
        await bare.state.context.systems.found()
        await bare.state.context.systems.stop()  # never finds the model that comes now
        random_histories = [world.random.sample(world.titles[6:], 8) for _ in range(40)]
        export_system({title: world.genres[title] for title in world.titles[4:]}, random_histories)
        apps = [
            bare,
            await stack.enter_async_context(running(dead)),
            await stack.enter_async_context(running(settings)),
        ]
        clients = [await stack.enter_async_context(browser(app)) for app in apps]
        viewers = []
        for number, (country, limit) in enumerate(((None, 18), ("FR", 18), (None, 6), ("RU", 12))):
            await clients[-1].sign_up(f"viewer{number}@example.org", country=country)
            profile = clients[-1].profile_id if limit == 18 else await clients[-1].kid(limit)
            account = clients[-1].session["account_id"]
            token = issue_token(settings, account, "viewer", timedelta(hours=1))
            viewers.append((account, profile, {"authorization": f"Bearer {token}"}))
        count = 0
        for number in range(ROUNDS):
            for _ in range(CHANGES):
                world.happen()
            done_of = {}
            for account, profile, _ in viewers:
                share = (0.1, 0.3, 1.0)[(number + len(done_of)) % 3]
                history = world.random.sample(world.titles, int(share * len(world.titles)))
                done_of[profile] = set(world.random.sample(history, len(history) // 2)) if share < 1 else set(history)
                known_as(account, profile, history, sorted(done_of[profile]))
                world.watch(profile, share / 3)
                for app in apps:
                    app.state.context.home.forget(profile)  # as the heartbeat that wrote the position does
            await asyncio.sleep(1.0)
            for app, client in zip(apps, clients, strict=True):
                for account, profile, token in viewers:
                    for surface in ("home", "onboarding", "home"):
                        asked = {"profile_id": profile, "surface": surface}
                        answer = await client.get("/api/recommendations", params=asked, headers=token)
                        assert answer.status_code == 200, answer.text
                        page = answer.json()
                        home = app.state.context.home
                        viewer = await app.state.context.viewers.of(account, None, profile)
                        assert page["degraded"] == (app is not apps[-1])
                        done = set() if app is apps[1] else done_of[profile]  # Redis never told this one
                        count += check(page, viewer, home._clock.now(), world, done)
            for who in viewers:
                count += await finish_one_after_the_other(apps[-1], clients[-1], who, world, known_as, done_of[who[1]])
            port = apps[-1].state.context.quick.connection_pool.connection_kwargs["port"]
            await lead(apps[-1], 9)
            for account, profile, token in viewers:
                answer = await clients[-1].get("/api/recommendations", params={"profile_id": profile}, headers=token)
                assert answer.json()["degraded"]
                home = apps[-1].state.context.home
                viewer = await app.state.context.viewers.of(account, None, profile)
                # What Redis told before it went is remembered.
                count += check(answer.json(), viewer, home._clock.now(), world, done_of[profile])
            await lead(apps[-1], port)
        stayed = apps[-1].state.context.metrics.registry.get_sample_value("matinee_recommendations_stayed_total")
    assert count > 500
    assert stayed > 10


def test_children_are_who_the_models_take_for_children():
    from models.recommenders.segments import KIDS_MATURITY

    assert KIDS == KIDS_MATURITY
