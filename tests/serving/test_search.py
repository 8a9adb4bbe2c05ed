"""Searching by words, and lists by every facet: what is found, in which order, and what is hidden from whom."""

import asyncio
import json

import psycopg
import pytest

from ingest.catalog import ingest_feed
from serving.search.types import Found

LINES = [
    ("tree", "film", 1999, {"en": "The Christmas Tree", "ru": "Ёлка"}, ["family"], "Anna Petrova"),
    ("fir", "film", 2004, {"en": "Fir", "ru": "Ёлки-палки"}, ["comedy"], "Ёжи Штур"),
    ("spider", "film", 2002, {"en": "Spider-Man"}, ["action"], "Zoë Léon"),
    ("leon", "film", 1994, {"en": "Léon", "ru": "Леон"}, ["crime"], "Anna Petrova"),
    ("pro", "film", 1981, {"en": "The Professional"}, ["crime"], "Max Ray"),
    ("adult", "film", 2010, {"en": "Tree of Thorns"}, ["crime"], "Max Ray"),
    ("trees", "series", 2020, {"en": "Trees"}, ["nature"], "Max Ray"),
]


@pytest.fixture
def stocked(catalogue, tmp_path, publish):
    """`CATALOGUE` and `LINES`."""
    feed = tmp_path / "more.jsonl"
    lines = [
        {
            "id": title_id, "kind": kind, "year": year, "titles": titles, "genres": genres,
            "offers": [{"kind": "free"}], "people": [{"name": name, "role": "director"}],
            "maturity": 18 if title_id == "adult" else 6, "countries": ["FR"] if title_id == "leon" else ["US"],
            "tags": ["classic"] if year < 2000 else [],
            "extra": {"aliases": ["Leon: The Professional"], "award": {"year": 1995}} if title_id == "leon" else {},
        }
        for title_id, kind, year, titles, genres, name in LINES
    ]  # fmt: skip
    feed.write_text("\n".join(map(json.dumps, lines)))
    with psycopg.connect(catalogue.database()) as connection:
        assert not ingest_feed(connection, feed).rejected
    publish("leon")
    return catalogue


@pytest.fixture
async def someone(stocked, running, browser):
    async with running(stocked) as app, browser(app) as someone:
        yield await someone.sign_up()


async def find(who, q, **params):
    answer = await who.get("/api/search", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    return Found.model_validate(answer.json())


async def called(who, q, **params):
    return [title.title_id for title in (await find(who, q, **params)).items]


async def test_words_are_found_by_their_beginnings_in_any_order_case_and_spelling(someone):
    assert await called(someone, "елк") == ["fir", "tree"]
    assert await called(someone, "ЁЛКА") == ["tree"]
    assert await called(someone, "palki") == []
    assert await called(someone, "палки ёл") == ["fir"]
    assert await called(someone, "leon") == ["leon", "spider"], "called so first, then by whom"
    assert await called(someone, "spiderman") == await called(someone, "spider man") == ["spider"]
    assert await called(someone, "ёлкипалки") == ["fir"], "a name of one language as one word"
    assert await called(someone, "annapetrova") == ["leon", "tree"]
    assert await called(someone, "tree") == ["trees", "adult", "tree"]
    assert await called(someone, "trees") == ["trees"]
    assert await called(someone, "prof") == ["leon", "pro"], "by an alias, and what plays first"
    assert await called(someone, "ёжи штур") == ["fir"]
    assert await called(someone, "%") == await called(someone, "' | !") == []
    assert len(await called(someone, "t", limit=2)) == 2


async def test_people_are_found_and_have_their_titles(someone, problem):
    (anna,) = (await find(someone, "petrova anna")).people
    assert (anna.name, anna.titles) == ("Anna Petrova", 2)
    page = (await someone.get(f"/api/people/{anna.person_id}")).json()
    assert page["name"] == "Anna Petrova"
    assert [(role["role"], [t["title_id"] for t in role["titles"]]) for role in page["roles"]] == [
        ("director", ["tree", "leon"])
    ]
    titles = (await someone.get("/api/media", params={"person": anna.person_id})).json()["items"]
    assert [title["title_id"] for title in titles] == ["tree", "leon"]
    assert problem(await someone.get("/api/people/0123456789abcdef")) == (404, "unknown_person")


async def test_what_may_not_be_seen_is_not_found(someone):
    kid = await someone.kid(6)
    assert await called(someone, "thorns") == ["adult"]
    assert await called(someone, "thorns", profile_id=kid) == []
    ray = (await find(someone, "max ray")).people[0].person_id
    page = (await someone.get(f"/api/people/{ray}", params={"profile_id": kid})).json()
    assert "adult" not in json.dumps(page)


async def test_lists_by_every_facet(someone, problem):
    async def ids(**params):
        answer = await someone.get("/api/media", params={"limit": 100, **params})
        assert answer.status_code == 200, answer.text
        return [title["title_id"] for title in answer.json()["items"]]

    everything = await ids()
    assert await ids(genre="crime") == ["adult", "leon", "pro"]
    assert await ids(genre=["crime"], country="FR") == ["leon"]
    assert await ids(tag="classic", sort="title", q="t") == ["leon", "tree", "pro"]
    assert await ids(extra="award.year=1995") == await ids(extra='{"award": {"year": 1995}}') == ["leon"]
    assert await ids(extra="festival=Lumen") == ["otters"]
    assert await ids(year_from=1990, year_to=1999) == ["tree", "leon"]
    assert await ids(playable="true", genre="crime") == ["leon"]
    assert await ids(maturity="18", genre="crime") == ["adult"]
    assert "adult" not in await ids(maturity_to=16)
    assert await ids(language="ru", genre="comedy") == ["fir"]
    assert await ids(kind="series") == ["beacon", "trees"]
    assert set(await ids(offer="subscription")) == {"beacon", "harbour"}
    assert sorted(await ids(sort="added")) == sorted(everything)
    assert await ids(added_since="2099-01-01T00:00:00Z") == []
    for wrong in ({"sort": "best"}, {"year_from": "x"}, {"extra": "nothing"}, {"limit": "0"}, {"q": "a\0"},
                  {"added_since": "yesterday"}, {"as_of": "2026-01-01"}, {"kind": "song"}):  # fmt: skip
        assert problem(await someone.get("/api/media", params=wrong)) == (422, "invalid_request"), wrong
    counts = (await someone.get("/api/media/facets", params={"genre": "crime"})).json()
    assert counts["kind"] == [{"value": "film", "titles": 3}]
    assert {"value": "crime", "titles": 3} in counts["genre"]
    for name in ("newest", "added", "title"):
        pages, cursor = [], None
        while cursor or not pages:
            params = {"limit": 4, "sort": name} | ({"cursor": cursor} if cursor else {})
            page = (await someone.get("/api/media", params=params)).json()
            pages += [title["title_id"] for title in page["items"]]
            cursor = page["next_cursor"]
        assert pages == await ids(sort=name), name


async def test_lists_tell_why_a_title_would_not_play_and_are_kept_by_their_etag(someone, stocked):
    answer = await someone.get("/api/media", params={"limit": 100})
    refusals = {title["title_id"]: title["refusal"] for title in answer.json()["items"]}
    assert (refusals["leon"], refusals["tree"], refusals["unsold"]) == (None, "not_playable", "no_offer")
    same = await someone.get("/api/media", params={"limit": 100}, headers={"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    with psycopg.connect(stocked.database()) as connection:
        connection.execute("UPDATE title_text SET title = 'Changed' WHERE title_id = 'leon' AND language = 'en'")
    changed = await someone.get("/api/media", params={"limit": 100}, headers={"if-none-match": answer.headers["etag"]})
    assert changed.status_code == 200
    assert await called(someone, "changed") == ["leon"]


async def test_processes_hear_of_changes_within_a_second(stocked, running):
    async with running(stocked) as app:
        changes, heard = app.state.context.changes, asyncio.Queue()
        await asyncio.wait_for(changes.listening.wait(), 5)
        changes.on("title", heard.put_nowait)
        with psycopg.connect(stocked.database()) as connection:
            connection.execute("UPDATE title SET year = 1995 WHERE title_id = 'leon'")
        assert await asyncio.wait_for(heard.get(), 1) == "leon"
