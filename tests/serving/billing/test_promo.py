"""Promo codes: what they take off, for whom, and exactly how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.billing.promo.codes import PromoError, key_of, written


@given(st.text("ABCЯЁ0O-О", min_size=3, max_size=20))
def test_a_code_is_found_however_it_is_written(text):
    try:
        code = written(text)
    except PromoError:
        return
    for other in (code.lower(), code.replace("-", " "), code.replace("-", "–"), f" {code}\u200b"):
        assert key_of(other) == key_of(code)


def test_the_database_finds_codes_as_we_do(books):
    every = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" "-АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"
    for start in range(0, len(every) - 16, 8):
        code = every[start : start + 16].strip("-")
        books.execute(
            "INSERT INTO promo (promo_id, code, kind, value, created_at) VALUES (%s, %s, 'percent', 1, now())", (code, code)
        )
    kept = books.execute("SELECT code, key FROM promo").fetchall()
    assert kept and all(key_of(code) == key for code, key in kept)
