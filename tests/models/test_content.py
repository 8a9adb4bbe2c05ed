"""Titles as vectors of their content, and the marts that it is read from."""

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.db.connect import connect
from models.recommenders.content import COLUMNS, ContentSpec, TitleContent, content_of, encode, normal, read_contents

FILMS = [
    TitleContent("a", "film", ("drama", "sea"), (("Vera", "director"), ("Gleb", "actor")), 1999, 12, ("RU",),
                 ("quiet",), "Маяк у моря\nСмотритель маяка ждёт корабль, а корабль не идёт."),
    TitleContent("b", "film", ("drama",), (("Vera", "director"), ("Ada", "actor")), 1994, 12, ("RU",), ("quiet",),
                 "Корабли возвращаются\nМоряк и смотритель старого маяка чинят корабли."),
    TitleContent("c", "series", ("crime",), (("Ada", "director"), ("Gleb", "actor")), 2021, 18, ("FR",), ("tense",),
                 "The ledger\nA detective follows stolen money through the city."),
    TitleContent("d", "film", ("crime", "comedy"), (("Nils", "director"), ("Ada", "actor")), 2020, 16, ("FR",),
                 ("tense",), "Stolen money\nTwo thieves and a detective share one taxi through the city."),
]  # fmt: skip
ANY = st.builds(
    TitleContent, st.just("x"), st.sampled_from(["film", "series", "opera"]),
    st.lists(st.text(max_size=8), max_size=3).map(tuple),
    st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple),
    st.none() | st.integers(-5000, 5000), st.integers(0, 99), st.just(()), st.just(()), st.text(max_size=80),
)  # fmt: skip


@pytest.fixture(scope="module")
def spec() -> ContentSpec:
    return ContentSpec.of(FILMS, names=3, text=3)


def text_of(spec: ContentSpec, *texts: str) -> np.ndarray:
    return encode([TitleContent("x", text=text) for text in texts], spec)[:, -spec.text.basis.shape[1] :]


def test_titles_of_the_same_people_and_words_lie_closer(spec: ContentSpec) -> None:
    near = encode(FILMS, spec)
    likeness = near @ near.T
    assert likeness[0, 1] > max(likeness[0, 2], likeness[0, 3])
    assert likeness[2, 3] > max(likeness[2, 0], likeness[2, 1])


def test_spelling_and_inflection_do_not_hide_a_word(spec: ContentSpec) -> None:
    one, other, capital, inflected, foreign = text_of(
        spec, "ждёт маяк", "ждет маяк", "ЖДЁТ МАЯК", "о маяках", "detective"
    )
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, capital)
    assert one @ inflected > 0.5 > abs(one @ foreign)
    assert normal("ﬁlm Ёж") == "film еж"


def test_a_director_says_more_than_an_actor(spec: ContentSpec) -> None:
    directed, acted, both = (
        spec.names([{"person:vera": weight} | {"person:gleb": rest}])[0]
        for weight, rest in ((1, 0.6), (0.6, 1), (1, 1))
    )
    assert directed @ acted < 1
    assert both @ directed > directed @ acted
    one, other = encode(
        [TitleContent("x", people=(("Ada", role), ("Gleb", "actor"))) for role in ("director", "extra")], spec
    )
    assert not np.allclose(one, other)


@given(title=ANY)
def test_any_title_has_a_finite_vector_that_depends_on_it_alone(spec: ContentSpec, title: TitleContent) -> None:
    alone = encode([title], spec)
    assert alone.shape == (1, spec.width)
    assert np.isfinite(alone).all()
    assert np.abs(alone).max() <= 1
    np.testing.assert_array_equal(encode([FILMS[0], title, FILMS[2]], spec)[1], alone[0])


def test_what_was_never_seen_counts_for_nothing(spec: ContentSpec) -> None:
    unknown = TitleContent("x", "opera", ("polka",), (("Nobody", "director"),), None, 6, text="Ψάρια 你好")
    assert not encode([unknown, TitleContent("y", "opera", maturity=6)], spec).any()


@pytest.mark.parametrize("catalogue", [[], FILMS[:1], [TitleContent("e"), TitleContent("f")]])
def test_small_and_empty_catalogues_can_be_learnt(catalogue: list[TitleContent]) -> None:
    spec = ContentSpec.of(catalogue)
    assert encode(FILMS, spec).shape == (4, spec.width)
    assert np.isfinite(encode(FILMS, spec)).all()


def test_a_spec_comes_back_from_its_arrays(spec: ContentSpec) -> None:
    again = ContentSpec.restored(spec.arrays())
    assert again.labels == spec.labels
    np.testing.assert_array_equal(encode(FILMS, again), encode(FILMS, spec))
    np.testing.assert_array_equal(encode(FILMS, ContentSpec.of(FILMS, names=3, text=3)), encode(FILMS, spec))


def test_the_catalogue_and_the_marts_tell_the_same_content(settings, make) -> None:
    make.publish(settings, make.titles(["a", "b"]), make.chains(3, 2))
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{settings.lake.current}/marts.duckdb' AS marts (READ_ONLY)")
        read = read_contents(connection)
    assert read["b"] == TitleContent("b", "film", ("drama",), year=2020, maturity=12, text="b")
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO title (title_id, kind, year, maturity, genres, tags, countries) "
            "VALUES ('n', 'film', 2026, 6, '{drama}', '{warm}', '{KZ}')"
        )
        connection.execute("INSERT INTO title_text VALUES ('n', 'ru', 'Ёлка', 'Про ёлку.'), ('n', 'en', 'Tree', '')")
        connection.execute("INSERT INTO title_person VALUES ('n', 0, 'Bo', 'director')")
        row = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM export_title WHERE title_id = 'n'").fetchone()
    assert row is not None
    assert content_of("n", dict(zip(COLUMNS, row, strict=True))) == TitleContent(
        "n", "film", ("drama",), (("Bo", "director"),), 2026, 6, ("KZ",), ("warm",), "Tree\nЁлка\nПро ёлку."
    )
