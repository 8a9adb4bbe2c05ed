"""JSON Schemas of the contracts, exported beside the code: `python -m matinee.contracts.schemas` rewrites them."""

import json
from pathlib import Path

from matinee.contracts.events import Event
from matinee.contracts.feed import FeedTitle

FOLDER = Path(__file__).parent / "exported"
CONTRACTS = {"viewer-event-1": Event, "catalogue-feed-1": FeedTitle}


def exported() -> dict[str, str]:
    """File name -> text of every JSON Schema (draft 2020-12)."""
    return {
        f"{name}.schema.json": json.dumps(model.model_json_schema(by_alias=True), indent=2, sort_keys=True) + "\n"
        for name, model in CONTRACTS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in exported().items():
        (FOLDER / name).write_text(text)
