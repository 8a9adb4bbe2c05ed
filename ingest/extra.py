"""What `extra` may hold: a JSON Schema of the service's own, where it gives one (`MATINEE_EXTRA_SCHEMA`)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ingest.errors import IngestError
from matinee.settings import Settings

# The place and the reason of the first thing that does not fit; None where all does.
Misfit = tuple[str, str]
Check = Callable[[Mapping[str, Any]], Misfit | None]


def check_of(settings: Settings) -> Check | None:
    """The check that the settings ask for, None for none.

    Raises:
        IngestError: the schema cannot be read or is none.
    """
    return None if settings.extra_schema is None else _check(settings.extra_schema)


def _check(path: Path) -> Check:
    import orjson
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    try:
        schema = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise IngestError(f"MATINEE_EXTRA_SCHEMA={path}: not a JSON Schema that can be read ({error})") from None
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise IngestError(f"MATINEE_EXTRA_SCHEMA={path}: {error.message}") from None
    validator = kind(schema, registry=Registry())  # nothing is fetched for a $ref

    def check(extra: Mapping[str, Any]) -> Misfit | None:
        found = min(
            validator.iter_errors(extra), key=lambda error: [str(part) for part in error.absolute_path], default=None
        )
        if found is None:
            return None
        return ".".join(["extra", *map(str, found.absolute_path)]), found.message[:300]

    return check
