"""Letters to people: `<template>.<language>.txt` beside this file, the first line is the subject.

`$name` stands for a value of the row's `data` (`string.Template`). Every letter exists in Russian and English.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from serving.errors import ServingError

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Letter:
    """What a person reads."""

    subject: str
    text: str


def compose(template: str, language: str, data: Mapping[str, object]) -> Letter:
    """The letter in the language, in English where it does not exist in it.

    Raises:
        ServingError: there is no such letter, or the data lack one of its values.
    """
    known = _letters()
    text = known.get((template, language)) or known.get((template, "en"))
    if text is None:
        raise ServingError(f"there is no letter {template!r} in {_FOLDER}: add {template}.en.txt and {template}.ru.txt")
    try:
        subject, _, body = Template(text).substitute(data).partition("\n")
    except KeyError as error:
        raise ServingError(f"letter {template!r} needs {error}: put it into the row's data") from None
    return Letter(subject.strip(), body.strip() + "\n")


@cache
def _letters() -> dict[tuple[str, str], str]:
    parts = ((path, *path.stem.rsplit(".", 1)) for path in _FOLDER.glob("*.??.txt"))
    return {(template, language): path.read_text() for path, template, language in parts}
