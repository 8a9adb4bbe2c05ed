import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.naming import Named, draft_id, index, match, pretty, slug

SHA = "ab" * 32
TITLES = index(
    [
        Named("bbb", 2008, ("Big Buck Bunny", "Большой кролик Бак"), ("source/bunny-final.mov",)),
        Named("solaris-72", 1972, ("Solaris",), ()),
        Named("solaris-02", 2002, ("Solaris",), (SHA,)),
        Named("MiXed.Case", None, ("Other",), ()),
    ]
)


@pytest.mark.parametrize(
    ("path", "sha", "alone", "title"),
    [
        ("Source/Bunny-Final.mov", "", False, "bbb"),
        ("elsewhere/anything.mkv", SHA, False, "solaris-02"),
        ("bbb.mp4", "", False, "bbb"),
        ("BBB.MKV", "", False, "bbb"),
        ("mixed.case.mp4", "", False, "MiXed.Case"),
        ("Big.Buck_Bunny.mp4", "", False, "bbb"),
        ("Big Buck Bunny (2008).mp4", "", False, "bbb"),
        ("Большой кролик Бак.mkv", "", False, "bbb"),
        ("big-buck-bunny-1999.mp4", "", False, None),
        ("Solaris.mp4", "", False, None),
        ("Solaris (1972).mp4", "", False, "solaris-72"),
        ("Solaris 2002.mp4", "", False, "solaris-02"),
        ("Big Buck Bunny/film.mp4", "", True, "bbb"),
        ("Big Buck Bunny/film.mp4", "", False, None),
        ("bbb/cd1/film.mp4", "", True, "bbb"),
        ("nothing.mp4", "", True, None),
    ],
)
def test_a_file_finds_its_title_by_the_feed_its_name_or_its_folder(path, sha, alone, title):
    assert match(TITLES, path, sha, alone=alone) == title


def test_names_become_slugs_ids_and_names_again():
    assert slug("  Ёжик в тумане! Часть II ") == "ezhik-v-tumane-chast-ii"
    assert slug("Amélie") == "amelie"
    assert draft_id("千と千尋", SHA) == "film-abababab"
    assert draft_id("x" * 200, SHA, taken=True).endswith("-abababab")
    assert pretty("the_long.film (1999)") == ("The long film", 1999)


@given(st.text(min_size=1), st.booleans())
def test_a_draft_always_gets_a_usable_id_and_name(stem, taken):
    title_id = draft_id(stem, SHA, taken=taken)
    assert re.fullmatch(r"[a-z0-9-]{1,64}", title_id)
    assert pretty(stem)[0]


@given(st.text())
def test_a_slug_of_a_slug_is_itself(text):
    assert slug(slug(text)) == slug(text)
