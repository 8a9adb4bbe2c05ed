"""Tables in Dagster's metadata."""

from collections.abc import Iterable, Sequence

import dagster as dg

_LONGEST = 200


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A Markdown table; a cell is cut where it is very long."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…").replace("|", "\\|")
