"""The served lists: who gets what, why, and what is never in them."""

import json
from datetime import timedelta

import polars as pl
import redis

from matinee.settings import Settings
from models.recommenders.serve import publish_lists
from models.recommenders.train import train
from models.recommenders.trial import Plan


def read(settings: Settings, key: str) -> dict:
    client = redis.Redis.from_url(settings.redis())
    try:
        blob = client.get(key)
    finally:
        client.close()
    assert isinstance(blob, bytes), f"no {key}"
    return json.loads(blob)


def keys(settings: Settings) -> set[str]:
    client = redis.Redis.from_url(settings.redis())
    try:
        return {key.decode() for key in client.scan_iter("recs:*")}
    finally:
        client.close()


def test_the_champion_ranks_with_a_reason_from_the_history(tracked: Settings, make) -> None:
    views = make.chains(150, 60)
    make.publish(tracked, make.ring(60), views)
    result = train(tracked, plan=Plan(resamples=200))
    assert result.promoted, result.verdict
    summary = publish_lists(tracked)
    assert (summary.model, summary.version, summary.profiles) == ("matinee-recommender", "1", 150)
    served = read(tracked, "recs:profile:p0000")
    assert served["model"] == {"name": "matinee-recommender", "version": "1", "snapshot_id": "s1"}
    taken = views.filter(pl.col("profile_key") == "p0000").sort("happened_at")["item_id"].to_list()
    following = f"t{(int(taken[-1][1:]) + 1) % 60:03d}"
    top = [item for item in served["items"][:10] if item["title_id"] == following]
    assert top, "what follows the newest title is among the ten best"
    assert top[0]["reason"]["code"] == "because_you_watched"
    assert top[0]["reason"]["params"]["title_id"] in taken
    shown = [item["title_id"] for item in served["items"]]
    assert len(shown) == len(set(shown)) <= 100
    assert {item["reason"]["code"] for item in served["items"]} <= {"because_you_watched", "popular_now", "trending"}


def test_without_a_champion_popularity_serves_and_says_so(tracked: Settings, make) -> None:
    at = make.start
    rows = [{"profile": f"p{n}", "item": "t001", "at": at + timedelta(minutes=n)} for n in range(5)]
    rows += [{"profile": "p1", "item": "t002", "at": at + timedelta(hours=1)}]
    make.publish(tracked, make.ring(4), make.interactions(rows))
    summary = publish_lists(tracked)
    assert (summary.model, summary.version) == ("popularity_14d", "14d")
    popular = read(tracked, "recs:popular")
    assert [item["title_id"] for item in popular["items"]] == ["t001", "t002", "t000", "t003"]
    assert popular["model"]["snapshot_id"] == "s1"
    assert read(tracked, "recs:profile:p3")["items"] == popular["items"]
    similar = read(tracked, "recs:similar:t001")["items"]
    assert similar[0]["title_id"] == "t002"
    assert similar[0]["reason"] == {"code": "because_you_watched", "params": {"title_id": "t001"}}


def test_finished_and_rated_titles_are_not_offered_again(tracked: Settings, make) -> None:
    at = make.start
    rows = [
        {"profile": "p", "item": "t000", "at": at, "value": 0.95},
        {"profile": "p", "item": "t001", "at": at, "value": 0.4},
        {"profile": "p", "item": "t002", "at": at, "value": 2.0, "kind": "rate", "is_positive": False},
        {"profile": "p", "item": "t003", "title": "t003e1", "at": at, "value": 1.0},
    ]
    make.publish(tracked, make.ring(5), make.interactions(rows))
    publish_lists(tracked)
    offered = {item["title_id"] for item in read(tracked, "recs:profile:p")["items"]}
    assert offered == {"t001", "t003", "t004"}, "begun films and series go on"


def test_only_what_plays_is_offered_once_films_are_watched_here(tracked: Settings, make) -> None:
    titles = make.ring(4).with_columns(is_playable=pl.col("title_id").is_in(["t001", "t003"]))
    views = make.interactions([{"profile": "p", "item": "t000", "at": make.start}])
    make.publish(tracked, titles, views)
    publish_lists(tracked)
    assert {item["title_id"] for item in read(tracked, "recs:popular")["items"]} == {"t001", "t003"}
    make.publish(tracked, titles, views.with_columns(origin=pl.lit("import")), "s2")
    publish_lists(tracked)
    assert len(read(tracked, "recs:popular")["items"]) == 4, "an imported history lists the whole catalogue"


def test_a_series_plays_when_one_of_its_episodes_does(tracked: Settings, make) -> None:
    series = make.titles(["s"], playable=False).with_columns(kind=pl.lit("series"))
    episode = make.titles(["s1e1"]).with_columns(kind=pl.lit("episode"), parent_id=pl.lit("s"), item_id=pl.lit("s"))
    views = make.interactions([{"profile": "p", "item": "s", "title": "s1e1", "at": make.start}])
    make.publish(tracked, pl.concat([series, episode, make.titles(["f"])]), views)
    publish_lists(tracked)
    assert {item["title_id"] for item in read(tracked, "recs:popular")["items"]} == {"s", "f"}


def test_lists_of_viewers_and_titles_that_are_gone_are_removed(tracked: Settings, make) -> None:
    def view(profile: str):
        return make.interactions([{"profile": profile, "item": "t000", "at": make.start}])

    make.publish(tracked, make.ring(3), view("old"))
    publish_lists(tracked)
    assert "recs:profile:old" in keys(tracked)
    make.publish(tracked, make.ring(2), view("new"), "s2")
    assert publish_lists(tracked).removed == 2
    assert keys(tracked) == {"recs:popular", "recs:profile:new", "recs:similar:t000", "recs:similar:t001"}


def test_a_champion_serves_a_catalogue_that_changed_since(tracked: Settings, make) -> None:
    views = make.chains(150, 60)
    make.publish(tracked, make.ring(60), views)
    assert train(tracked, plan=Plan(resamples=200)).promoted
    gone = {"t005", "t006"}
    titles = pl.concat([make.ring(60).filter(~pl.col("title_id").is_in(gone)), make.titles(["a-new-one"])])
    make.publish(tracked, titles, views.filter(~pl.col("item_id").is_in(gone)), "s2")
    publish_lists(tracked)
    for viewer in range(20):
        blob = read(tracked, f"recs:profile:p{viewer:04d}")
        shown = {item["title_id"] for item in blob["items"]}
        because = {item["reason"]["params"].get("title_id") for item in blob["items"]}
        assert not (shown | because) & gone
        assert "a-new-one" in shown, "new titles come by the popular tail"
        assert blob["model"]["snapshot_id"] == "s1"
