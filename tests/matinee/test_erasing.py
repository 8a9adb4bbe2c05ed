from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.erasing import Finder, blot_file

NAMES = ["01a2067d-d303-7a96-a705-891bf4ac8b65", "f" * 64, "ada.lovelace@example.org", "sim-run-1-123"]
MANY = [*NAMES, *(f"0000000{n:05d}-0000-7000-8000-000000000000" for n in range(100))]
TEXT = st.lists(st.sampled_from([*NAMES, NAMES[2].upper(), "watch", "/api/", "nobody@example.org"]), max_size=8)


@pytest.mark.parametrize("names", [NAMES, MANY], ids=["few", "many"])
@given(TEXT)
def test_names_are_blotted_wherever_they_stand_and_nothing_else_is(names: list[str], words: list[str]) -> None:
    known = {name.lower() for name in NAMES}
    text = " ".join(f'"{word}"' for word in words)
    expected = " ".join(f'"{"*" * len(word) if word.lower() in known else word}"' for word in words)
    blotted, count = Finder(names).blot(text.encode())
    assert blotted.decode() == expected
    assert count == sum(word.lower() in known for word in words)


@pytest.mark.parametrize("names", [NAMES, MANY], ids=["few", "many"])
@pytest.mark.parametrize("text", ["sim-run-1-1234", "x01a2067d-d303-7a96-a705-891bf4ac8b65", "ml:5", ""])
def test_a_longer_word_is_another_name(names: list[str], text: str) -> None:
    assert not Finder([*names, "ml:5"]).found(text.encode())


def test_a_file_is_blotted_in_place_also_where_two_reads_meet(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    name = NAMES[0].encode()
    before = b"x" * (4 * 2**20 - 10) + b" " + name + b" " + b"y" * 5_000_000 + b" " + name + b"\n"
    path.write_bytes(before)
    inode = path.stat().st_ino
    assert blot_file(path, Finder(NAMES)) >= 2
    assert path.read_bytes() == before.replace(name, b"*" * len(name))
    assert path.stat().st_ino == inode
