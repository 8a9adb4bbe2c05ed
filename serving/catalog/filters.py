"""What a list of titles is narrowed to and how it is ordered, as its address says it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

import orjson
from starlette.datastructures import QueryParams

from matinee.contracts.feed import Kind
from serving.db import Row
from serving.problems import Problem

KINDS = get_args(Kind)
ROOTS = ("film", "series")
# Parameters that name a facet, each as often as one likes: a title has to have all of them.
FACETS = ("genre", "tag", "person", "country", "language", "offer", "maturity")
MAX_LIMIT, LIMIT, MAX_TEXT = 100, 30, 100
_MAX_FACETS = 16
_INT4 = range(-(2**31), 2**31)
# Sort -> the impossible place before its first page, in either language of a name.
_BEGINNINGS: dict[str, tuple[object, str]] = {
    "newest": (2**31 - 1, ""),
    "added": ("infinity", ""),
    "name_en": ("", ""),
    "name_ru": ("", ""),
}
SORTS = ("newest", "added", "title")


@dataclass(frozen=True)
class Filters:
    """`order`: of `_BEGINNINGS`; `facets` as in listed_title; the rest as the address has it, None: not asked."""

    order: str = "newest"
    is_root: bool = True
    facets: tuple[str, ...] = ()
    playable: bool | None = None
    at_most: int | None = None
    year_from: int | None = None
    year_to: int | None = None
    added_since: datetime | None = None
    words: str | None = None
    extra: tuple[str, str] | None = None  # JSON

    @property
    def is_whole(self) -> bool:
        """Whether nothing is asked but the order."""
        return self == Filters(order=self.order)

    @property
    def name(self) -> str:
        """What a cursor knows this list by."""
        return repr(self)

    def parameters(self) -> Row:
        """Those of `picked_title`."""
        typed, text = self.extra or (None, None)
        return {
            "is_root": self.is_root,
            "facets": list(self.facets),
            "playable": self.playable,
            "at_most": self.at_most,
            "year_from": self.year_from,
            "year_to": self.year_to,
            "added_since": self.added_since,
            "words": self.words,
            "extra": typed,
            "extra_text": text,
        }

    def beginning(self) -> Sequence[object]:
        """The place before the first page, as a cursor holds it."""
        return _BEGINNINGS[self.order]


def filters_of(query: QueryParams, language: str) -> Filters:
    """The filters in an address; names are ordered in the viewer's language.

    Raises:
        Problem: 422, a value cannot be one.
    """
    kind = _one_of(query, "kind", KINDS)
    facets = [f"kind:{kind}"] if kind else []
    facets += [f"{name}:{text(name, value)}" for name in FACETS for value in query.getlist(name)]
    if len(facets) > _MAX_FACETS:
        raise wrong("genre", f"at most {_MAX_FACETS} facets at once")
    sort = _one_of(query, "sort", SORTS) or "newest"
    words = text("q", query.get("q", ""))
    return Filters(
        order=sort if sort != "title" else "name_ru" if language == "ru" else "name_en",
        is_root=kind is None or kind in ROOTS,
        facets=tuple(sorted(set(facets))),
        playable=_flag(query, "playable"),
        at_most=integer(query, "maturity_to"),
        year_from=integer(query, "year_from"),
        year_to=integer(query, "year_to"),
        added_since=moment(query, "added_since"),
        words=words if words.strip() else None,
        extra=_contained(query.getlist("extra")) if "extra" in query else None,
    )


def limit_of(query: QueryParams) -> int:
    """How many titles a page has.

    Raises:
        Problem: 422, not a number from 1 to 100.
    """
    limit = integer(query, "limit")
    if limit is None:
        return LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise wrong("limit", f"a number from 1 to {MAX_LIMIT}")
    return limit


def integer(query: QueryParams, name: str) -> int | None:
    """A number in an address; None where it does not stand there."""
    given = query.get(name)
    if given is None:
        return None
    try:
        number = int(given) if given.isascii() and len(given) < 12 else None
    except ValueError:
        number = None
    if number is None or number not in _INT4:
        raise wrong(name, "a whole number")
    return number


def moment(query: QueryParams, name: str) -> datetime | None:
    """A moment with its zone (ISO 8601); None where it does not stand there."""
    given = query.get(name)
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given.replace(" ", "+"))  # a plus that was not escaped
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1900 <= found.year <= 2200:
        raise wrong(name, "a moment with its zone, as in 2026-05-01T00:00:00Z")
    return found


def text(name: str, value: str) -> str:
    """A text that PostgreSQL can be asked for."""
    if len(value) > MAX_TEXT or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise wrong(name, f"a text of at most {MAX_TEXT} characters")
    return value


def wrong(name: str, expected: str) -> Problem:
    """The refusal of a parameter."""
    errors = [{"at": f"query.{name}", "reason": f"must be {expected}", "rule": "value"}]
    return Problem(422, "invalid_request", f"{name} must be {expected}", errors=errors)


def _one_of(query: QueryParams, name: str, allowed: Sequence[str]) -> str | None:
    given = query.get(name)
    if given is not None and given not in allowed:
        raise wrong(name, f"one of {', '.join(allowed)}")
    return given


def _flag(query: QueryParams, name: str) -> bool | None:
    given = query.get(name)
    if given is None:
        return None
    if given.lower() not in ("true", "false", "1", "0"):
        raise wrong(name, "true or false")
    return given.lower() in ("true", "1")


def _contained(given: Sequence[str]) -> tuple[str, str]:
    """What `extra` has to contain, given as JSON or as `key.of.key=value`; and the same with the values as texts."""
    typed: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for part in given:
        if len(part) > 1_000 or "\0" in part or "\\u0000" in part or any("\ud800" <= c <= "\udfff" for c in part):
            raise wrong("extra", "at most 1,000 characters")
        if part.lstrip().startswith("{"):
            value = _json(part)
            if not isinstance(value, dict) or not _storable(value):
                raise wrong("extra", "a JSON object or key=value")
            typed |= value
            texts |= value
            continue
        path, sign, value = part.partition("=")
        if not sign or not path:
            raise wrong("extra", "a JSON object or key=value")
        found = _json(value)
        _put(typed, path.split("."), found if isinstance(found, int | float | bool) and _storable(found) else value)
        _put(texts, path.split("."), value)
    return json.dumps(typed), json.dumps(texts)


def _json(given: str) -> object:
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError:
        return None


def _storable(value: object) -> bool:
    try:
        return "\\ud" not in json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False


def _put(into: dict[str, Any], path: Sequence[str], value: object) -> None:
    for key in path[:-1]:
        into = into.setdefault(key, {})
        if not isinstance(into, dict):
            raise wrong("extra", "keys that do not contradict each other")
    into[path[-1]] = value
