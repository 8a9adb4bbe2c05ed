import json
from collections import Counter
from pathlib import Path

from matinee.contracts.feed import PARENTS, FeedTitle
from simulation.catalogue import FEATURES, PLAYABLE_KINDS, demo_feed, film_specs, write_feed


def test_the_written_feed_reads_back_as_the_same_titles(tmp_path: Path) -> None:
    written = write_feed(tmp_path / "feed.jsonl")
    lines = (tmp_path / "feed.jsonl").read_text(encoding="utf-8").splitlines()
    assert [FeedTitle.model_validate_json(line) for line in lines] == written
    assert all(set(json.loads(line)["titles"]) == {"en", "ru"} for line in lines)


def test_parents_stand_before_their_children_and_are_of_the_right_kind() -> None:
    kinds: dict[str, str] = {}
    for title in demo_feed():
        assert title.id not in kinds
        assert (kinds[title.parent] if title.parent else None) in PARENTS[title.kind]
        kinds[title.id] = title.kind


def test_the_catalogue_has_what_a_demo_shows() -> None:
    feed = demo_feed()
    kinds = Counter(title.kind for title in feed)
    assert len(feed) > 50
    assert kinds["series"] >= 1
    assert kinds["extra"] >= 1
    assert [t.extra["number"] for t in feed if t.parent == "series-tram-fourteen-s1"] == [1, 2, 3, 4]
    assert {title.maturity for title in feed} == {0, 6, 12, 16, 18}
    assert {offer.kind for title in feed for offer in title.offers} == {"subscription", "free", "rent"}
    names = {person.name for title in feed for person in title.people}
    assert any(name.isascii() for name in names)
    assert any("а" <= letter <= "я" for name in names for letter in name)


def test_every_playable_title_names_its_master_and_no_other_does() -> None:
    for title in demo_feed():
        assert ("master" in title.extra) == (title.kind in PLAYABLE_KINDS) == (title.runtime_s is not None)


def test_films_are_as_long_as_the_catalogue_says() -> None:
    lengths = {title.id: title.runtime_s for title in demo_feed() if title.kind in PLAYABLE_KINDS}
    specs = film_specs()
    assert {spec.title_id: spec.duration_s for spec in specs} == lengths
    assert all(20 <= spec.duration_s <= 24 for spec in specs)
    assert {spec.title_id for spec in specs if spec.height == 720} == FEATURES
    assert len({spec.seed for spec in specs}) == len(specs)
