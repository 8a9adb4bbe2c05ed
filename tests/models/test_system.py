"""What serves: masked before it ranks, explained exactly, the same after a way through files, never half exported."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matinee.home import Home
from models.errors import ModelError
from models.interactions import Interactions, Ragged
from models.ranking.frame import source_columns
from models.recommenders.assemble import assemble, golden_requests, popularity_system
from models.recommenders.blend import Blend, scored
from models.recommenders.content import ContentSpec, TitleContent
from models.recommenders.ease import Ease
from models.recommenders.export import current, export
from models.recommenders.marts import Marts
from models.recommenders.system import HISTORY, About, Asked, System
from models.recommenders.trial import blend_of
from models.recommenders.two_tower import ItemTower, TwoTowerFitted, ViewerTower
from models.recommenders.zoo import Zoo

ITEMS = 40
GENRES = ["comedy", "drama", "war"]
ABOUT = About("matinee-recommender", "1", "s1", "hash-s1", "blend", {"profile_taste": "abc"}, 5.0)
MARTS = SimpleNamespace(
    snapshot_id="s1",
    data_hash="hash-s1",
    items=[f"t{item:02d}" for item in range(ITEMS)],
    genres=[[GENRES[item % 3]] for item in range(ITEMS)],
    created=np.arange(ITEMS, dtype=np.float64),
)

CONTENT = [TitleContent(title, genres=tuple(genres)) for title, genres in zip(MARTS.items, MARTS.genres, strict=True)]


def ring(viewers: int = 120, seed: int = 0) -> Interactions:
    """Viewers who take one title after the other, from different places of a ring."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(ITEMS, size=viewers)
    users, steps = np.divmod(np.arange(viewers * 8), 8)
    times = rng.uniform(0, 30 * 86_400, size=viewers).repeat(8) + steps * 60.0
    return Interactions.sorted(users, (starts[users] + steps) % ITEMS, times, viewers, ITEMS)


MARTS.data = ring()
MARTS.regions = ["DE" if row % 2 else None for row in range(MARTS.data.n_users)]
MARTS.kids = np.arange(MARTS.data.n_users) % 3 == 0


@pytest.fixture(scope="module")
def system() -> System:
    zoo = replace(Zoo(), ease=Ease(penalty=5.0, decay=1.0))
    model = blend_of(zoo.fit(MARTS.data), {"ease_decay": 1.0, "knn": 0.7, "ials": 0.2, "popularity_7d": 0.1})
    return assemble(MARTS, ABOUT, model)


def test_what_follows_the_newest_title_is_among_the_best_with_its_true_cause(system: System) -> None:
    asked = Asked(("t03", "t04", "t05"), now=1.0)
    allowed = system.mask(system.items) & ~system.mask(asked.history)
    picks = system.rank(asked, allowed, 10)
    following = next(pick for pick in picks[:3] if pick.title_id == "t06")
    assert following.reason == "because_you_watched"
    part = system.model.parts[following.source]
    added = part.contributions(np.array([3, 4, 5]), np.array([6]))[:, 0]
    assert following.because == asked.history[int(added.argmax())]
    assert [pick.score for pick in picks] == sorted((pick.score for pick in picks), reverse=True)


@given(
    history=st.lists(st.sampled_from([*MARTS.items, "gone"]), max_size=250),
    shown=st.sets(st.sampled_from([*MARTS.items, "never-heard-of"])),
    limit=st.integers(0, 60),
)
@settings(deadline=None, max_examples=60)
def test_nothing_comes_out_that_the_mask_does_not_allow(system: System, history, shown, limit) -> None:
    allowed, asked = system.mask(shown), Asked(tuple(history), now=9.0)
    answers = {
        "rank": system.rank(asked, allowed, limit),
        "popular": system.popular("DE", True, allowed, limit),
        "gems": system.gems(asked, allowed, limit),
        "similar": system.similar("t01", allowed, limit),
    }
    for name, picks in answers.items():
        titles = [pick.title_id for pick in picks]
        assert set(titles) <= shown & set(system.items), name
        assert len(titles) == len(set(titles)) <= limit, name
        assert all(pick.because is None or pick.because in {*history, "t01"} for pick in picks), name
    assert len(answers["rank"]) == len(answers["popular"]) == min(limit, int(allowed.sum())), "filled with popular ones"


@given(history=st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=50), chosen=st.sets(st.integers(0, ITEMS)))
@settings(deadline=None, max_examples=40)
def test_a_ranker_hears_of_every_source_what_it_was_trained_on(system: System, history, chosen) -> None:
    """Of all titles, one that came later (which the sources do not know) among them; both lists asked at once."""
    grown = system.with_titles([SimpleNamespace(title_id="new", genres=("war",))])
    asked = Asked(tuple(f"t{item:02d}" for item in history), now=1.0)
    everything = grown.mask(grown.items)
    answer, items = grown._answer(asked), np.array(sorted(chosen), dtype=np.int64)
    for source, own, places in zip((*answer.shares, answer.total), *answer.heights(items), strict=True):
        wanted = source_columns(source, items)
        np.testing.assert_allclose(own, wanted[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(places, wanted[1])
    assert grown.personal(asked, everything, 9, 5) == (
        grown.rank(asked, everything, 9),
        grown.gems(asked, everything, 5),
    )


def test_viewers_without_a_known_history_get_what_is_popular(system: System) -> None:
    everything = system.mask(system.items)
    popular = system.popular(None, False, everything)
    assert system.rank(Asked(), everything) == system.rank(Asked(("gone",)), everything) == popular
    assert system.gems(Asked(), everything) == []
    counts = np.bincount(MARTS.data.items[MARTS.data.times > MARTS.data.times.max() - 14 * 86_400], minlength=ITEMS)
    assert [counts[system.items.index(pick.title_id)] for pick in popular] == sorted(counts, reverse=True)


def test_gems_are_among_the_less_popular_half(system: System) -> None:
    everything = system.mask(system.items)
    counts = dict(zip(system.items, system.recent.counts[30], strict=True))
    gems = system.gems(Asked(("t03", "t04")), everything, 5)
    assert gems
    assert all(counts[pick.title_id] <= np.median(list(counts.values())) and pick.score > 0 for pick in gems)


def test_new_titles_come_in_by_what_is_known_of_them(system: System) -> None:
    grown = system.with_titles(
        [SimpleNamespace(title_id="new", genres=("war",)), SimpleNamespace(title_id="t00", genres=())]
    )
    assert grown.items == [*system.items, "new"]
    assert grown.genres("new") == ("war",)
    only = grown.mask(["new"])
    assert {pick.reason for pick in grown.rank(Asked(("t03", "new")), only)} == {"new"}
    assert [pick.title_id for pick in grown.rank(Asked(("t03",)), only)] == ["new"]
    assert [pick.title_id for pick in grown.popular(None, False, only)] == ["new"]
    (near,) = grown.similar("t02", only)
    assert (near.source, near.reason) == ("same_genres", "similar_content")
    assert grown.similar("new", grown.mask(system.items))[0].title_id in {"t02", "t05", "t08"}
    grown.check()


def test_a_system_without_titles_answers_nothing(system: System) -> None:
    empty = SimpleNamespace(**vars(MARTS) | {"items": [], "genres": [], "created": np.zeros(0)})
    empty.data, empty.regions, empty.kids = Interactions.sorted([], [], [], 0, 0), [], np.zeros(0, dtype=bool)
    made = popularity_system(empty)
    assert made.rank(Asked(("t01",)), made.mask(["t01"])) == []
    made.check()


def test_the_way_through_files_changes_nothing(system: System, tmp_path) -> None:
    home = Home(tmp_path)
    assert current(home) is None
    loaded = System.load(export(system, home))
    everything = loaded.mask(loaded.items)
    for asked in (Asked(), Asked(("t03", "t09"), (1.0, 2.0), "RU", True, {"profile_taste__top_genre": "war"}, 3.0)):
        assert loaded.rank(asked, everything) == system.rank(asked, everything)
    assert (loaded.about, loaded.items, loaded.golden) == (system.about, system.items, system.golden)
    assert any(golden.asked.history for golden in loaded.golden)


def test_golden_histories_are_nobodys_and_do_not_change_with_who_was_there() -> None:
    requests = golden_requests(cast(Marts, MARTS))
    assert [len(asked.history) for asked in requests] == [0, 1, 5, 10, 20, 20]
    assert {moment % 86_400 for asked in requests for moment in (*asked.times, asked.now)} == {0.0}
    moments = {moment for asked in requests for moment in asked.times}
    assert not moments & set(MARTS.data.times.tolist())
    longest = Interactions.sorted(  # the titles of one viewer of all, in their order, and everybody's popularity
        np.concatenate([MARTS.data.users, np.full(ITEMS, MARTS.data.n_users)]),
        np.concatenate([MARTS.data.items, np.arange(ITEMS)]),
        np.concatenate([MARTS.data.times, MARTS.data.times.min() + np.arange(ITEMS)]),
        MARTS.data.n_users + 1,
        ITEMS,
    )
    assert golden_requests(cast(Marts, SimpleNamespace(**{**vars(MARTS), "data": longest}))) == requests


def test_a_damaged_or_wrong_export_leaves_what_serves(system: System, tmp_path) -> None:
    home = Home(tmp_path)
    first = export(popularity_system(MARTS), home)
    golden = system.golden[1]
    first_score = (golden.top[0][0], golden.top[0][1] + 0.1)
    for wrong in (
        replace(golden, top=(first_score, *golden.top[1:])),
        replace(golden, top=(golden.top[1], golden.top[0], *golden.top[2:])),
        replace(golden, popular=golden.popular[::-1]),
        replace(golden, similar=()),
    ):
        with pytest.raises(ModelError, match="golden request 0 wrongly"):
            export(replace(system, golden=(wrong,)), home)
    with pytest.raises(ModelError, match="no golden requests"):
        export(replace(system, golden=()), home)
    assert current(home) == first
    assert [path.name for path in home.models.iterdir() if path.name[0] == "."] == []
    (first / "model.npz").write_bytes((first / "model.npz").read_bytes()[:-200])
    with pytest.raises(ModelError, match="damaged"):
        System.load(first)
    (first / "golden.json").unlink()
    with pytest.raises(ModelError, match=r"no golden\.json"):
        System.load(first)


def test_arrays_that_do_not_fit_one_another_are_a_model_error(system: System, tmp_path) -> None:
    """Every file is whole, and a shape of one array is wrong: found by loading or by asking, never by a viewer."""
    system.save(tmp_path)
    with np.load(tmp_path / "model.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("created", "popular/14", "segments/shares", "together/indptr", "model/knn/data", "model/ials/items"):
        whole = next((key for key in arrays if key.startswith(name)), None)
        if whole is None:
            continue
        cut = arrays | {whole: arrays[whole][..., :-3]}
        np.savez(tmp_path / "model.npz", allow_pickle=False, **cut)
        with pytest.raises(ModelError):
            System.load(tmp_path).check()
    short = replace(system, created=system.created[:-3])
    with pytest.raises(ModelError, match="do not fit one another"):
        short.check()


def test_odd_requests_are_answered(system: System) -> None:
    everything = system.mask(system.items)
    plain = system.rank(Asked(("t03", "t05"), (1.0, 2.0), now=3.0), everything, 5)
    assert system.rank(Asked(("t05", "t03", "t05"), (0.0, 1.0, 2.0), now=3.0), everything, 5) == plain, (
        "the newest counts"
    )
    assert system.rank(Asked(("t03", "t05"), (1.0,), now=3.0), everything, 5), "too few times are none"
    many = tuple(system.items[number * number % ITEMS] for number in range(100_000))
    newest, whole = (system.rank(Asked(history, now=3.0), everything, 5) for history in (many[-HISTORY:], many))
    assert whole == newest != [], "of very many the newest are asked"
    new = SimpleNamespace(title_id="new", genres=("war",))
    assert system.with_titles([new, new]).items == [*system.items, "new"]
    for number in range(50):
        system.popular(f"nowhere-{number}", False, everything)
    assert len(system._orders) < 10
    assert system.popular("nowhere", True, everything) == system.popular("nowhere-2", True, everything)


def test_where_a_viewer_lives_reaches_the_part_that_learned_it(system: System) -> None:
    """A tower of one dimension: the region alone decides which half of the titles comes first."""
    width = ContentSpec.of(CONTENT)
    side = np.where(np.arange(ITEMS) < ITEMS // 2, 1.0, -1.0).astype(np.float32)[:, None]
    one = np.ones((1, 1), dtype=np.float32)
    viewers = ViewerTower(
        (1.0,), 0 * one[None], 0 * one[0], ("DE", "RU"), np.array([[1.0], [-1.0]], np.float32), 5 * one[0]
    )
    tower = TwoTowerFitted(side, width, ItemTower(one, one[0], one, one[0]), viewers)
    placed = replace(system, model=Blend({"two_tower": tower}, {"two_tower": 1.0}))
    everything = placed.mask(placed.items)

    def first(region: str, kids: bool = False) -> int:
        return int(placed.rank(Asked(("t39",), region=region, kids=kids, now=1.0), everything, 1)[0].title_id[1:])

    assert first("DE") < ITEMS // 2 <= first("RU")
    assert first("RU", kids=True) < ITEMS // 2
    rows = Ragged.of([[39], [39]])
    both = scored(placed.model, rows, ["DE", "RU"], [False, False])
    assert both[0].argmax() < ITEMS // 2 <= both[1].argmax(), "and training rows say the same"


def test_the_last_three_versions_are_kept(system: System, tmp_path) -> None:
    home = Home(tmp_path)
    for version in "12345":
        export(replace(system, about=replace(ABOUT, version=version)), home)
    assert {path.name for path in home.models.iterdir()} == {"3", "4", "5", "current"}
    assert current(home) == home.models / "5"
    export(replace(system, about=replace(ABOUT, version="3", kind="blend", snapshot_id="s9")), home)
    assert json.loads((home.models / "current" / "model.json").read_text())["about"]["snapshot_id"] == "s9"
