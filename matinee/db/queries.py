"""Named SQL: every room keeps its statements in a `queries.sql`, one `-- name: x` line before each."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(folder: Path) -> dict[str, LiteralString]:
    """Name -> statement, read once from `folder/queries.sql`.

    Raises:
        ValueError: a name stands twice.
    """
    pieces = _NAME.split((folder / "queries.sql").read_text())[1:]
    names, statements = pieces[::2], pieces[1::2]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{folder / 'queries.sql'}: named twice: {', '.join(sorted(twice))}")
    # The statements come from files of this repository, so they are as literal as code.
    return {name: cast(LiteralString, text.strip().rstrip(";")) for name, text in zip(names, statements, strict=True)}
