"""The rule for one title and the predicate for lists say the same."""

import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.accounts.core import Viewer
from serving.catalog.availability import OfferTerms, Terms, allowed
from serving.catalog.core import find

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MATURITIES = (0, 6, 12, 16, 18)
REGIONS = (None, "FR", "RU", "US")


def viewer(maturity=18, region=None):
    return Viewer("a", "p", maturity, "en", region)


moments = st.none() | st.integers(-2, 2).map(lambda days: NOW + timedelta(days=days))
offers = st.builds(OfferTerms, st.lists(st.sampled_from(["FR", "RU"]), max_size=2).map(tuple), moments, moments)
terms = st.builds(
    Terms, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(MATURITIES), st.lists(offers, max_size=3)
)
viewers = st.builds(viewer, st.sampled_from(MATURITIES), st.sampled_from(REGIONS))


@given(terms, viewers)
def test_playing_needs_at_least_what_seeing_needs(terms, viewer):
    seen, played = allowed(terms, viewer, NOW), allowed(terms, viewer, NOW, to_play=True)
    assert seen is None or played == seen
    assert played is not None or terms.playable


@given(terms, viewers)
def test_a_stricter_limit_never_opens_anything(terms, viewer):
    for maturity in MATURITIES:
        if maturity < viewer.maturity and allowed(terms, viewer, NOW) is not None:
            stricter = Viewer("a", "p", maturity, "en", viewer.region)
            assert allowed(terms, stricter, NOW) is not None


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (OfferTerms(), None),
        (OfferTerms(("FR",)), None),
        (OfferTerms(("RU",)), "region"),
        (OfferTerms(from_=NOW), None),
        (OfferTerms(until=NOW), "no_offer"),
        (OfferTerms(from_=NOW + timedelta(seconds=1)), "no_offer"),
        (OfferTerms(("RU",), until=NOW), "no_offer"),
    ],
)
def test_windows_and_regions(offer, reason):
    film = Terms(published=True, bare=False, playable=True, maturity=6, offers=[offer])
    assert allowed(film, viewer(region="FR"), NOW, to_play=True) == reason


def insert_random_catalogue(connection, titles: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(titles):
        title_id, parent = f"t{number}", None
        if number % 4 and chance.random() < 0.4:
            parent = f"t{number - 1}"
        kind = "episode" if parent else chance.choice(["film", "series"])
        state = chance.choice(["published", "published", "draft"])
        bare = state == "draft" and chance.random() < 0.7
        connection.execute(
            "INSERT INTO title (title_id, kind, parent_id, maturity, state, feed_hash) VALUES (%s, %s, %s, %s, %s, %s)",
            (title_id, kind, parent, chance.choice(MATURITIES), state, None if bare else b"feed"),
        )
        for position in range(chance.choice([0, 1, 1, 2])):
            start, end = sorted(chance.sample([-2, -1, 0, 1, 2], 2))
            connection.execute(
                "INSERT INTO offer (title_id, position, kind, regions, open) "
                "VALUES (%s, %s, 'free', %s, tstzrange(%s, %s))",
                (
                    title_id,
                    position,
                    chance.choice([[], [], ["FR"], ["RU", "FR"]]),
                    chance.choice([None, NOW + timedelta(days=start)]),
                    chance.choice([None, NOW + timedelta(days=end)]),
                ),
            )
        if chance.random() < 0.5:
            connection.execute(
                "INSERT INTO master (master_id, file_name, bytes, state) VALUES (%s, 'f', 1, 'accepted')", (title_id,)
            )
            connection.execute(
                "INSERT INTO package (package_id, title_id, master_id, state) VALUES (%s, %s, %s, %s)",
                (title_id, title_id, title_id, chance.choice(["published", "published", "failed"])),
            )


async def test_the_predicate_and_the_rule_agree(settings):
    titles = 240
    with psycopg.connect(settings.database()) as connection:
        insert_random_catalogue(connection, titles, seed=11)
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        rules = {f"t{n}": (await find(connection, f"t{n}"))[1] for n in range(titles)}
        reasons = set()
        for maturity in MATURITIES:
            for region in REGIONS:
                cursor = await connection.execute(
                    "SELECT title_id FROM visible_title(%s, %s, %s)", (maturity, region, NOW)
                )
                by_predicate = {row[0] for row in await cursor.fetchall()}
                verdicts = {t: allowed(rule, viewer(maturity, region), NOW) for t, rule in rules.items()}
                assert by_predicate == {t for t, reason in verdicts.items() if reason is None}
                reasons |= set(verdicts.values())
    assert reasons == {None, "unpublished", "maturity", "region", "no_offer"}
