from pathlib import Path

import pytest

from matinee.db.queries import load


def test_statements_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text("-- a head\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT\n  2;\n")
    assert load(tmp_path) == {"one": "SELECT 1", "two": "-- why\nSELECT\n  2"}


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")
    with pytest.raises(ValueError, match="named twice: one"):
        load(tmp_path)
