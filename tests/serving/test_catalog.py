"""Lists, title pages, similar titles: what is shown, and what is hidden from whom."""

from serving.catalog.types import Page, Similar, Title


async def ids(client, **params):
    answer = await client.get("/api/media", params=params)
    assert answer.status_code == 200, answer.text
    page = Page.model_validate(answer.json())
    return [card.title_id for card in page.items]


async def test_lists_hold_what_the_viewer_may_see_newest_first(ada, client):
    assert await ids(ada) == ["beacon", "otters", "harbour", "midnight", "unsold", "unfilmed"]
    assert await ids(client) == ["beacon", "otters", "unsold", "unfilmed"]
    assert await ids(ada, profile_id=await ada.kid()) == ["beacon", "otters", "unsold", "unfilmed"]


async def test_a_region_opens_what_is_offered_there(app, browser):
    async with browser(app) as french:
        await french.sign_up("f@example.org", country="FR")
        assert "abroad" in await ids(french)
        assert (await french.get("/api/media/abroad")).status_code == 200


async def test_lists_filter_by_kind_genre_playability_and_part_of_a_title(ada):
    assert await ids(ada, kind="episode") == ["beacon-e2", "beacon-e1"]
    assert await ids(ada, genre="nature") == ["otters", "unsold", "unfilmed"]
    assert await ids(ada, genre="nature", playable="true") == ["otters", "unsold"]
    assert await ids(ada, q="ОТТ") == []
    assert await ids(ada, q="oTTer") == ["otters"]
    assert await ids(ada, q="ежики И в") == ["otters"]
    assert await ids(ada, q="%") == []
    assert await ids(ada, q="[") == []
    assert await ids(ada, q=" ") == await ids(ada)


async def test_pages_follow_each_other_without_gap_or_double(ada, problem):
    whole, cursor, found = await ids(ada), None, []
    for _ in range(10):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await ada.get("/api/media", params=params)).json()
        found += [card["title_id"] for card in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == whole
    first = (await ada.get("/api/media", params={"limit": 2})).json()["next_cursor"]
    for wrong, params in ((first[:-1] + "A", {}), (first, {"genre": "drama"}), ("A", {}), ("я", {})):
        answer = await ada.get("/api/media", params={"cursor": wrong, **params})
        assert problem(answer) == (400, "bad_cursor"), wrong


async def test_a_title_page_has_everything(ada):
    title = Title.model_validate((await ada.get("/api/media/otters")).json())
    assert title.titles == {"en": "Otters", "ru": "Ёжики и выдры"}
    assert [(p.name, p.role) for p in title.people] == [("Ada Vale", "director")]
    assert title.extra["festival"] == "Lumen"
    assert [o.kind for o in title.offers] == ["free"]
    assert title.refusal is None
    assert title.poster == "/media-posters/otters.jpg"


async def test_a_series_has_its_seasons_and_episodes_in_order(ada):
    series = Title.model_validate((await ada.get("/api/media/beacon")).json())
    assert [s.title_id for s in series.children] == ["beacon-s1"]
    assert [e.title_id for e in series.children[0].children] == ["beacon-e1", "beacon-e2"]
    assert series.playable
    episode = Title.model_validate((await ada.get("/api/media/beacon-e1")).json())
    assert (episode.root_id, episode.season, episode.number, episode.next) == ("beacon", 1, 1, "beacon-e2")
    assert [o.kind for o in episode.offers] == ["subscription"], "an episode is sold with its series"


async def test_a_hidden_title_says_why(client, problem):
    expected = {
        "harbour": (403, "maturity"),
        "abroad": (403, "region"),
        "later": (403, "no_offer"),
        "nothing": (404, "unknown_title"),
        "no such thing": (422, "invalid_request"),
    }
    for title_id, refusal in expected.items():
        assert problem(await client.get(f"/api/media/{title_id}")) == refusal
        assert problem(await client.get(f"/api/media/{title_id}/similar")) == refusal


async def test_why_a_title_would_not_play(ada, client):
    async def refusal(who, title_id):
        return (await who.get(f"/api/media/{title_id}")).json()["refusal"]

    assert await refusal(client, "otters") == "unauthenticated"
    assert await refusal(ada, "unsold") == "no_offer"
    assert await refusal(ada, "unfilmed") == "not_playable"
    assert await refusal(ada, "beacon") is None


async def test_similar_comes_from_the_model_or_else_from_genres(ada, app, export_system):
    answer = Similar.model_validate((await ada.get("/api/media/beacon-e1/similar")).json())
    assert answer.degraded
    assert [item.title_id for item in answer.items][:2] == ["otters", "harbour"]
    genres = {title: ["drama"] for title in ("beacon", "abroad", "midnight", "gone", "otters")}
    export_system(genres, [["beacon", "midnight", "abroad"], ["beacon", "midnight", "gone"], ["otters"]])
    await app.state.context.systems.look()
    answer = Similar.model_validate((await ada.get("/api/media/beacon-e1/similar")).json())
    assert [(item.title_id, item.source) for item in answer.items] == [
        ("midnight", "taken_together"),
        ("otters", "same_genres"),
    ]
    assert answer.items[0].reason == {"code": "similar", "params": {"title_id": "beacon"}}
    assert not answer.degraded
    kid = await ada.kid(12)
    limited = Similar.model_validate((await ada.get("/api/media/beacon/similar", params={"profile_id": kid})).json())
    assert [item.title_id for item in limited.items] == ["otters"]


async def test_genres_are_counted_over_what_may_be_seen(ada, client):
    counted = {g["genre"]: g["titles"] for g in (await ada.get("/api/media/genres")).json()}
    assert counted == {"drama": 3, "nature": 3, "family": 2}
    assert {g["genre"] for g in (await client.get("/api/media/genres")).json()} == {"drama", "nature", "family"}


async def test_a_film_from_a_bare_folder_is_there_once_it_plays(ada, publish, settings, problem):
    import psycopg

    from ingest.catalog import draft_title

    with psycopg.connect(settings.database()) as connection:
        draft_title(connection, "holiday", "Holiday")
    assert problem(await ada.get("/api/media/holiday")) == (404, "unknown_title")
    publish("holiday")
    assert "holiday" in await ids(ada)
    assert (await ada.get("/api/media/holiday")).json()["refusal"] is None
