"""Offers that contradict each other: the rule for feed lines and the constraint of the table say the same."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingest.catalog import ingest_feed, offer_rows
from ingest.errors import IngestError
from ingest.extra import check_of
from ingest.offers import contradiction
from matinee.contracts.feed import FeedTitle, Offer
from matinee.db.queries import load

START = datetime(2026, 1, 1, tzinfo=UTC)
days = st.none() | st.integers(0, 4).map(lambda n: START + timedelta(days=n))
codes = st.lists(st.sampled_from(["FR", "DE", "RU"]), max_size=2).map(tuple)


@st.composite
def offers(draw):
    start, end = draw(days), draw(days)
    if start and end and end <= start:
        start, end = (end, start) if end < start else (start, None)
    kind = draw(st.sampled_from(["rent", "rent", "buy", "subscription"]))
    plans = draw(st.sampled_from([(), (), ("a",), ("a", "b"), ("b", "a")]))
    currency = draw(st.sampled_from(["EUR", "EUR", "RUB"]))
    return Offer.model_validate(
        {
            "kind": kind,
            "plans": plans,
            "price": 3,
            "currency": currency,
            "regions": draw(codes),
            "from": start,
            "until": end,
        }
    )


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given_offers=st.lists(offers(), min_size=2, max_size=3))
def test_the_rule_and_the_constraint_agree(settings, offer_table, given_offers):
    title = FeedTitle(id="t", kind="film", titles={"en": "T"}, offers=tuple(given_offers))
    refused = False
    try:
        with offer_table.transaction(force_rollback=True), offer_table.cursor() as cursor:
            cursor.executemany(load_ingest()["add_offer"], offer_rows(title))
    except psycopg.errors.ExclusionViolation:
        refused = True
    assert refused == (contradiction(title.offers) is not None)


def load_ingest():
    from pathlib import Path

    import ingest

    return load(Path(ingest.__file__).parent)


@pytest.fixture
def offer_table(settings):
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES ('t', 'film', 0)")
        yield connection


def test_a_line_with_two_prices_at_once_goes_aside_and_the_feed_goes_on(settings, tmp_path):
    rent = {"kind": "rent", "price": "3.00", "currency": "EUR"}
    lines = [
        {"id": "good", "kind": "film", "titles": {"en": "Good"}, "offers": [rent, {**rent, "currency": "RUB"}]},
        {
            "id": "wrong",
            "kind": "film",
            "titles": {"en": "Wrong"},
            "offers": [rent, {**rent, "price": "4.00", "regions": ["FR"]}],
        },
    ]
    feed = tmp_path / "feed.jsonl"
    feed.write_text("\n".join(map(json.dumps, lines)))
    with psycopg.connect(settings.database()) as connection:
        summary = ingest_feed(connection, feed)
    assert summary.used == 1
    assert [line.reason for line in summary.rejected] == [
        "offers.1: contradicts offers.0, both rent in EUR in FR at one time"
    ]


def test_extra_has_to_fit_the_schema_of_the_service(settings, tmp_path):
    schema = tmp_path / "extra.json"
    costs = {"items": {"required": ["amount_minor"]}}
    properties = {"costs": costs, "n": {"$ref": "#/$defs/n"}}
    schema.write_text(json.dumps({"properties": properties, "$defs": {"n": {"type": "integer"}}}))
    settings = settings.model_copy(update={"extra_schema": schema})
    extras = [{"n": 1}, {"costs": [{"amount_minor": 1}, {}]}, {"n": "one"}]
    feed = tmp_path / "feed.jsonl"
    feed.write_text(
        "\n".join(
            json.dumps({"id": f"t{n}", "kind": "film", "titles": {"en": "T"}, "extra": extra})
            for n, extra in enumerate(extras)
        )
    )
    with psycopg.connect(settings.database()) as connection:
        summary = ingest_feed(connection, feed, check=check_of(settings))
    assert [(line.number, line.reason) for line in summary.rejected] == [
        (2, "extra.costs.1: 'amount_minor' is a required property"),
        (3, "extra.n: 'one' is not of type 'integer'"),
    ]
    schema.write_text('{"type": 7}')
    with pytest.raises(IngestError, match="MATINEE_EXTRA_SCHEMA"):
        check_of(settings)


@pytest.mark.parametrize(
    ("price", "currency", "says"),
    [
        ("500.50", "JPY", "500.50 JPY: prices in JPY have 0 decimal places"),
        ("500.00", "JPY", None),
        ("3.5", "EUR", None),
        ("3", "ABC", "there is no currency ABC"),
    ],
)
def test_a_price_is_one_that_can_be_paid(price, currency, says):
    wanted = {"kind": "rent", "price": price, "currency": currency}
    if says is None:
        assert Offer.model_validate(wanted).currency == currency
        return
    with pytest.raises(ValueError, match=says):
        Offer.model_validate(wanted)
