"""Every named query of every room is prepared against the migrated schema, and its columns held against their type.

A query whose rows become a type says so in a line below its name: `-- row: module.Type +column -field`, where `+column`
is selected beyond the type's fields and `-field` is filled by code.
"""

import dataclasses
import importlib
import re
import types
import typing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import ExecStatus
from pydantic import BaseModel

from matinee.db.queries import load

ROOT = Path(__file__).parents[2]
# These read the warehouse (DuckDB), where tests of their own run them.
OF_THE_WAREHOUSE = {"warehouse/report", "transcoding/treatments/marts"}
FOLDERS = sorted(
    str(found.parent.relative_to(ROOT))
    for found in ROOT.glob("*/**/queries.sql")
    if not {".venv", "tests", "node_modules"} & set(found.relative_to(ROOT).parts)
)
_ROW = re.compile(r"^-- row: ([\w.]+\.(\w+))((?: [+-]\w+)*)\s*$", re.MULTILINE)
# PostgreSQL's types by their number in the catalogue (pg_type.dat), and what psycopg makes of each.
TYPES: dict[int, tuple[type, ...]] = {
    16: (bool,), 17: (bytes,), 20: (int,), 21: (int,), 23: (int,), 25: (str,), 1043: (str,), 700: (float,),
    701: (float,),
    1082: (date,), 1184: (datetime,), 1700: (Decimal, str), 114: (dict, list), 3802: (dict, list), 1009: (list,),
    1007: (list,), 1016: (list,), 3910: (object,), 3912: (object,), 2249: (object,),
}  # fmt: skip


def test_each_fits_the_migrated_schema_and_its_type(settings):
    assert set(FOLDERS) >= OF_THE_WAREHOUSE | {"serving/accounts", "serving/catalog", "ingest", "transcoding"}
    prepared, wrong = 0, []
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        for folder in FOLDERS:
            if folder in OF_THE_WAREHOUSE:
                continue
            for name, statement in load(ROOT / folder).items():
                try:
                    columns = _prepare(connection, f"{folder}/{name}", statement)
                except ValueError as error:
                    wrong.append(f"{folder}/queries.sql: {name}: {error}")
                    continue
                prepared += 1
                for path, _, changes in _ROW.findall(statement):
                    wrong += [f"{folder}/queries.sql: {name}: {told}" for told in _held(columns, path, changes.split())]
    assert not wrong, "\n".join(wrong)
    assert prepared > 150


def test_every_row_line_is_understood():
    for folder in FOLDERS:
        text = (ROOT / folder / "queries.sql").read_text()
        assert len(_ROW.findall(text)) == text.count("-- row:"), folder


def _prepare(connection: psycopg.Connection, name: str, statement: str) -> dict[str, int]:
    """The columns of the statement's answer: name -> number of its type."""
    places: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        key = found[1] or f"#{len(places)}"
        return places.setdefault(key, f"${len(places) + 1}")

    numbered = re.sub(r"%(?:%|\((\w+)\)s|s)", place, statement)
    done = connection.pgconn.prepare(name.encode(), numbered.encode())
    if done.status != ExecStatus.COMMAND_OK:
        raise ValueError(done.error_message.decode().strip())
    described = connection.pgconn.describe_prepared(name.encode())
    return {(described.fname(at) or b"").decode(): described.ftype(at) for at in range(described.nfields)}


def _held(columns: dict[str, int], path: str, changes: list[str]) -> list[str]:
    """What does not fit between the columns and the fields of the type."""
    fields = _fields(path)
    beyond = {word[1:] for word in changes if word.startswith("+")}
    filled = {word[1:] for word in changes if word.startswith("-")}
    told = [f"column {name} is no field of {path}" for name in columns if name not in fields and name not in beyond]
    told += [f"+{name} is not selected, or is a field" for name in beyond if name not in columns or name in fields]
    told += [f"-{name} is selected, or no field" for name in filled if name in columns or name not in fields]
    for name, (annotation, required) in fields.items():
        if name in columns:
            if not _takes(annotation, columns[name]):
                told.append(f"column {name} has type {columns[name]}, {path} takes {annotation}")
        elif required and name not in filled:
            told.append(f"field {name} of {path} is not selected")
    return told


def _fields(path: str) -> dict[str, tuple[typing.Any, bool]]:
    """Field -> its annotation, and whether it has no default."""
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {f.alias or n: (f.annotation, f.is_required()) for n, f in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        none = dataclasses.MISSING
        return {
            f.name: (hints[f.name], f.default is none and f.default_factory is none)
            for f in dataclasses.fields(kind)
            if f.init
        }
    return {name: (hint, name in kind.__required_keys__) for name, hint in hints.items()}


def _takes(annotation: typing.Any, oid: int) -> bool:
    wanted = _plain(annotation)
    return object in wanted or any(
        issubclass(one, given) or given is object for given in TYPES[oid] for one in wanted if isinstance(one, type)
    )


def _plain(annotation: typing.Any) -> set[type]:
    """The types of values that an annotation lets in, without None."""
    if annotation is typing.Any:
        return {object}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _plain(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return {one for argument in arguments for one in _plain(argument)} - {type(None)}
    if origin is typing.Literal:
        return {type(argument) for argument in arguments}
    if origin in (frozenset, set, tuple) or annotation in (frozenset, set, tuple):
        return {list}
    kind = origin or annotation
    if isinstance(kind, type) and (
        issubclass(kind, BaseModel) or typing.is_typeddict(kind) or kind.__name__ == "Mapping"
    ):
        return {dict}
    if isinstance(kind, type) and kind.__name__ == "Sequence":
        return {list}
    return {kind}


@pytest.mark.parametrize(
    ("columns", "changes", "told"),
    [
        ({"name": 25, "role": 25}, [], ""),
        ({"name": 25}, [], "field role"),
        ({"name": 25}, ["-role"], ""),
        ({"name": 23, "role": 25}, [], "takes"),
        ({"name": 25, "role": 25, "age": 23}, [], "column age"),
        ({"name": 25, "role": 25, "age": 23}, ["+age"], ""),
        ({"name": 25, "role": 25}, ["-role"], "-role"),
    ],
)
def test_the_comparison_finds_what_does_not_fit(columns, changes, told):
    found = _held(columns, "serving.catalog.types.Person", changes)
    assert (told in found[0]) if told else not found
