"""A catalogue of 20,000 films to measure lists and searches on: names of two languages, people, terms of every kind."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from matinee.contracts.feed import FeedTitle, Offer, Person
from matinee.settings import Settings

TITLES, PEOPLE, VIEWERS = 20_000, 6_000, 200
GENRES = ("drama", "comedy", "nature", "crime", "family", "war", "romance", "western", "horror", "musical")
_TAGS = tuple(f"tag {n}" for n in range(60))
MATURITIES = (18, 16, 12, 6, 0)
COUNTRIES = ("FR", "RU", "US", "DE", "JP", "IN", "BR", "KZ")
AUDIENCES = len(MATURITIES) * len(COUNTRIES)
_EN = (
    "ka", "lo", "mi", "ru", "sta", "ver", "don", "el", "ha", "bri", "tor", "ny", "sel", "qua", "fen", "wick", "mor",
    "gan", "dale", "shi", "ro", "ben", "al", "ti", "na", "co", "pra", "gle", "um", "fi",
)  # fmt: skip
_RU = (
    "ка", "ло", "ми", "ру", "ста", "вер", "дон", "ель", "ха", "бри", "тор", "ни", "сел", "ква", "фен", "вик", "мор",
    "ган", "дал", "ши", "ро", "бен", "аль", "ти", "на", "ко", "пра", "гле", "ум", "ёж",
)  # fmt: skip
_SMALL_EN, _SMALL_RU = ("the", "of", "and", "a", "in"), ("и", "в", "на", "о", "без")


def words(chance: random.Random, language: str, count: int) -> list[str]:
    """Words that nobody has heard, some of them small."""
    parts, small = (_RU, _SMALL_RU) if language == "ru" else (_EN, _SMALL_EN)
    return [
        chance.choice(small) if n and chance.random() < 0.2 else "".join(chance.choices(parts, k=chance.randint(2, 3)))
        for n in range(count)
    ]


def feed(seed: int = 0) -> list[FeedTitle]:
    """The films."""
    chance = random.Random(seed)
    people = [" ".join(words(chance, "en", 2)).title() for _ in range(PEOPLE)]
    return [_film(chance, number, people) for number in range(TITLES)]


def _film(chance: random.Random, number: int, people: list[str]) -> FeedTitle:
    english, russian = (" ".join(words(chance, lang, chance.randint(1, 5))).capitalize() for lang in ("en", "ru"))
    cast = [Person(name=chance.choice(people), role="director" if n == 0 else "actor") for n in range(4)]
    return FeedTitle(
        id=f"film-{number:05d}",
        kind="film",
        titles={"en": english, "ru": russian},
        synopsis={"en": " ".join(words(chance, "en", 30)), "ru": " ".join(words(chance, "ru", 30))},
        year=1960 + number % 66,
        runtime_s=chance.randint(3_000, 9_000),
        genres=tuple(sorted(set(chance.choices(GENRES, k=2)))),
        people=tuple(cast),
        tags=tuple(sorted(set(chance.choices(_TAGS, k=3)))),
        maturity=chance.choice(MATURITIES[::-1]),
        countries=(chance.choice(COUNTRIES),),
        offers=_offers(chance),
        extra={"festival": chance.choice(("Lumen", "Arc", "None")), "studio": {"id": chance.randint(1, 400)}},
    )


def _offers(chance: random.Random) -> tuple[Offer, ...]:
    """Most in the subscription, some free, to rent, for one country alone, or not now."""
    drawn, now = chance.random(), datetime.now(UTC)
    if drawn < 0.70:
        return (Offer(kind="subscription", plans=("basic",)),)
    if drawn < 0.80:
        return (Offer(kind="free"),)
    if drawn < 0.88:
        return (Offer(kind="rent", price=Decimal(3), currency="EUR"),)
    if drawn < 0.95:
        return (Offer(kind="subscription", regions=(chance.choice(COUNTRIES),)),)
    return (Offer.model_validate({"kind": "free", "from": now + timedelta(days=chance.randint(1, 90))}),)


def prepare(settings: Settings) -> dict[str, str]:
    """The catalogue, films for nine of ten titles, and viewers; returns viewer -> bearer token.

    Viewers are of every maturity limit in every country, `AUDIENCES` in turn: who is so many behind sees the same.
    """
    from ingest.catalog import upsert_titles
    from matinee.db.connect import connect
    from matinee.db.viewers import Viewer, add_viewers
    from matinee.pseudonyms import salts
    from serving.commands import issue_token

    viewers = [f"viewer-{n}" for n in range(VIEWERS)]
    audiences = list(itertools.product(MATURITIES, COUNTRIES))
    people = [
        Viewer(viewer, viewer, "simulate", country=country, maturity=maturity)
        for viewer, (maturity, country) in zip(viewers, itertools.cycle(audiences), strict=False)
    ]
    with connect(settings) as connection:
        upsert_titles(connection, feed())
        connection.execute(
            "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
            "SELECT 'm-' || title_id, title_id, 'f', 'x', 1, 'accepted' FROM title WHERE title_id NOT LIKE '%7'"
        )
        connection.execute(
            "INSERT INTO package (package_id, title_id, master_id, state, duration_ms) "
            "SELECT 'p-' || title_id, title_id, 'm-' || title_id, 'published', 6000000 FROM title "
            "WHERE title_id NOT LIKE '%7'"
        )
        add_viewers(connection, people)
        connection.execute(
            "INSERT INTO subscription_period "
            "(period_id, subscription_id, account_id, plan, state, monthly_minor, currency, opened) "
            "SELECT account_id, account_id, account_id, 'premium', 'active', 0, 'EUR', now() - interval '1 day' "
            "FROM account"
        )
        salts(connection, viewers)
    with connect(settings, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return {viewer: issue_token(settings, viewer, "viewer", timedelta(hours=1)) for viewer in viewers}
