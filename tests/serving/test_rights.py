"""The rule of who may see and play what; the predicate for lists says the same of seeing."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalog.core import find
from serving.profiles.core import Viewer
from serving.rights import ANY_DEVICE, Device, Entitlements, OfferTerms, Terms, decide
from serving.rights.core import right
from serving.rights.entitlements import ALWAYS, HeldPlan, HeldTitle, Window

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MATURITIES = (0, 6, 12, 16, 18)
REGIONS = (None, "FR", "RU", "US")
KINDS = ("free", "subscription", "rent", "buy")
INCLUDES = {"basic": set(), "standard": {"basic"}, "premium": {"basic", "standard"}, "odd": set()}
HEIGHTS = {"basic": 720, "standard": 1080, "premium": 2160, "odd": None}
FILM = Terms(published=True, bare=False, playable=True, maturity=6, titles=("t", "series"))


def viewer(maturity=18, region=None, age=None, entitlements=None):
    return Viewer("a", "p", maturity, "en", region, age=age, entitlements=entitlements or Entitlements())


def plan(name="basic", streams=1, window=ALWAYS, devices=()):
    return HeldPlan(name, frozenset({name, *INCLUDES[name]}), streams, HEIGHTS[name], frozenset(devices), window)


def code(terms, viewer, moment=NOW, device=ANY_DEVICE, **how):
    refusal = decide(terms, viewer, device, moment, **how)
    assert refusal is None or refusal.detail
    return refusal and refusal.code


moments = st.none() | st.integers(-2, 2).map(lambda days: NOW + timedelta(days=days))
windows = st.builds(Window, moments, moments)
regions = st.lists(st.sampled_from(["FR", "RU"]), max_size=2).map(tuple)
plans = st.lists(st.sampled_from(sorted(INCLUDES)), max_size=2).map(tuple)
offers = st.builds(OfferTerms, st.sampled_from(KINDS), plans, regions, windows)
held_plans = st.builds(
    plan,
    st.sampled_from(sorted(INCLUDES)),
    st.integers(1, 4),
    windows,
    st.lists(st.sampled_from(["tv", "phone"]), max_size=1),
)
held_titles = st.builds(
    HeldTitle,
    st.just("e"),
    st.sampled_from(["rent", "buy", "grant"]),
    st.sampled_from(["t", "series", "other"]),
    st.booleans(),
    windows,
)
entitlements = st.builds(
    Entitlements, st.lists(held_plans, max_size=2).map(tuple), st.lists(held_titles, max_size=2).map(tuple)
)
terms = st.builds(
    Terms,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(MATURITIES),
    st.lists(offers, max_size=3).map(tuple),
    st.just(("t", "series")),
)
viewers = st.builds(
    viewer, st.sampled_from(MATURITIES), st.sampled_from(REGIONS), st.none() | st.integers(0, 20), entitlements
)
devices = st.builds(Device, st.sampled_from([None, "tv", "phone", "web"]))


@given(terms, viewers, devices)
def test_playing_needs_what_seeing_needs_and_a_right(terms, viewer, device):
    seen, played = code(terms, viewer), code(terms, viewer, device=device, to_play=True)
    assert seen is None or played == seen
    if played is None:
        assert terms.playable
        found = right(terms, viewer, device, NOW)
        assert found is not None
        assert terms.maturity <= viewer.limit
        # By what, said once more: for nothing, by what is owned, or by a plan.
        here = [o for o in terms.offers if o.window.holds(NOW) and o.open_in(viewer.region)]
        owns = any(t.title_id in terms.titles and t.window.holds(NOW) for t in viewer.entitlements.titles)
        by_plan = any(
            o.kind == "subscription" and (not o.plans or {p.plan_id, *INCLUDES[p.plan_id]} & set(o.plans))
            for o in here
            for p in viewer.entitlements.plans
            if p.window.holds(NOW)
        )
        assert terms.bare or owns or by_plan or any(o.kind == "free" for o in here)
        assert found.held is None or found.held.title_id in terms.titles


@given(terms, viewers, devices)
def test_less_never_opens_more(terms, viewer, device):
    """A stricter limit, a younger holder, fewer rights, more streams: what was refused stays refused."""
    for how in ({}, {"to_play": True}, {"to_play": True, "others": 1}):
        if code(terms, viewer, device=device, **how) is None:
            continue
        stricter = [replace(viewer, maturity=m) for m in MATURITIES if m < viewer.maturity]
        younger = [replace(viewer, age=age) for age in range(viewer.age if viewer.age is not None else 21)]
        poorer = [
            replace(viewer, entitlements=Entitlements(viewer.entitlements.plans[:n], viewer.entitlements.titles[:n]))
            for n in range(2)
        ]
        for less in (*stricter, *younger, *poorer):
            assert code(terms, less, device=device, **how) is not None
        assert code(terms, viewer, device=device, to_play=True, others=9) is not None


@given(terms, viewers, devices, st.integers(0, 5))
def test_nobody_plays_on_more_devices_than_the_best_plan_allows(terms, viewer, device, others):
    if code(terms, viewer, device=device, to_play=True, others=others) is None:
        assert others < max([p.streams for p in viewer.entitlements.plans if p.window.holds(NOW)], default=1)


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (OfferTerms(), None),
        (OfferTerms(regions=("FR",)), None),
        (OfferTerms(regions=("RU",)), "region"),
        (OfferTerms(window=Window(NOW)), None),
        (OfferTerms(window=Window(None, NOW)), "no_offer"),
        (OfferTerms(window=Window(NOW + timedelta(seconds=1))), "no_offer"),
        (OfferTerms(regions=("RU",), window=Window(None, NOW)), "no_offer"),
        (OfferTerms("subscription"), "plan"),
        (OfferTerms("rent"), "rental"),
        (OfferTerms("buy"), "rental"),
    ],
)
def test_windows_regions_and_kinds(offer, reason):
    assert code(replace(FILM, offers=(offer,)), viewer(region="FR"), to_play=True) == reason


@pytest.mark.parametrize(
    ("held", "asked", "reason"),
    [
        (plan("basic"), (), None),
        (plan("premium"), ("basic",), None),
        (plan("basic"), ("premium",), "plan"),
        (plan("odd"), ("odd",), None),
        (plan("basic", window=Window(None, NOW)), (), "plan"),
        (plan("basic", devices=("phone",)), (), "plan"),
    ],
)
def test_plans(held, asked, reason):
    film = replace(FILM, offers=(OfferTerms("subscription", asked),))
    holder = viewer(entitlements=Entitlements((held,)))
    assert code(film, holder, device=Device("tv"), to_play=True) == reason


def test_what_is_owned_outlives_its_offers_and_a_waiting_rental_is_spared():
    ended = replace(FILM, offers=(OfferTerms("buy", regions=("FR",), window=Window(None, NOW)),))
    bought = HeldTitle("e", "buy", "series")
    assert code(ended, viewer(region="FR"), to_play=True) == "no_offer"
    assert code(ended, viewer(region="FR", entitlements=Entitlements((), (bought,))), to_play=True) is None
    assert code(ended, viewer(region="US", entitlements=Entitlements((), (bought,))), to_play=True) == "region"
    waiting = HeldTitle("r", "rent", "t", is_started=False, window=Window(NOW, NOW + timedelta(days=30)))
    film = replace(FILM, offers=(OfferTerms("subscription"), OfferTerms("rent")))
    both = Entitlements((plan("standard"),), (waiting,))
    assert right(film, viewer(entitlements=both), ANY_DEVICE, NOW).held is None
    assert right(film, viewer(entitlements=both), ANY_DEVICE, NOW).max_height == 1080
    assert right(film, viewer(entitlements=Entitlements((), (waiting,))), ANY_DEVICE, NOW).held == waiting
    assert right(film, viewer(entitlements=Entitlements((), (waiting, bought))), ANY_DEVICE, NOW).held == bought


def test_the_holder_s_age_and_nobody():
    adult = replace(FILM, maturity=18, offers=(OfferTerms(),))
    assert [code(adult, viewer(age=age)) for age in (None, 18, 17)] == [None, None, "age"]
    assert code(adult, viewer(maturity=16, age=17)) == "maturity", "the profile's own limit is told first"
    nobody = Viewer(None, None, 18, "en", None)
    assert code(adult, nobody) is None
    assert code(adult, nobody, to_play=True) == "unauthenticated"


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
                verdicts = {t: code(rule, viewer(maturity, region)) for t, rule in rules.items()}
                assert by_predicate == {t for t, reason in verdicts.items() if reason is None}
                reasons |= set(verdicts.values())
    assert reasons == {None, "unpublished", "maturity", "region", "no_offer"}
