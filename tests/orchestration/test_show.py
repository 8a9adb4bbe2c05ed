"""What the end of a build says of who recommends."""

import pytest

from models.recommenders.assemble import POPULARITY
from orchestration.build import Build, Built
from orchestration.show import who_recommends

NOBODY = "recommended is by what was popular lately, for no model has passed the promotion gate yet"
EXPORTED = {"name": "matinee-recommender", "version": "3", "kind": "ease"}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({}, ""),
        ({"models/exported": EXPORTED}, "recommended is by matinee-recommender 3 (ease)"),
        (
            {"models/recommender": {"verdict": "refused: knn: too narrow"}, "models/exported": EXPORTED},
            "recommended is by matinee-recommender 3 (ease); the gate: refused: knn: too narrow",
        ),
        (
            {
                "models/recommender": {"verdict": "refused: knn: too narrow"},
                "models/exported": {"name": POPULARITY, "version": "popularity-s1", "kind": "popularity_14d"},
            },
            NOBODY + "; the gate: refused: knn: too narrow",
        ),
    ],
)
def test_a_build_says_who_recommends_and_why(made: dict[str, dict[str, str]], told: str) -> None:
    assert who_recommends(Build("run", [Built(*of) for of in made.items()], [])) == told
