"""Stripe's requests: forms with brackets, read as strictly as its API reads them."""

from typing import Any
from urllib.parse import parse_qsl

from tests.providers.stripe_store import Thing, invalid

_THOUSANDTHS = ("bhd", "jod", "kwd", "omr", "tnd")


def nested(form: str) -> Thing:
    """`a[b][0][c]=d` as objects; a list is an object with numbers, but for `expand`."""
    given: Thing = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        at, *path = name.replace("]", "").split("[")
        node = given
        for step in [at, *path[:-1]] if path else []:
            node = node.setdefault(step, {})
        node[path[-1] if path else at] = value
    if isinstance(given.get("expand"), dict):
        given["expand"] = list(given["expand"].values())
    return given


def only(given: Thing, *known: str) -> Thing:
    for name in given:
        if name not in known:
            raise invalid(f"Received unknown parameter: {name}", "parameter_unknown", stored=False, param=name)
    return given


def needed(given: Thing, name: str) -> Any:
    if name not in given:
        raise invalid(f"Missing required param: {name}.", "parameter_missing", stored=False, param=name)
    return given[name]


def whole(text: str, name: str) -> int:
    if not text.isdigit():
        raise invalid(f"Invalid integer: {text}", "parameter_invalid_integer", stored=False, param=name)
    return int(text)


def amount(text: str, currency: str) -> int:
    found = whole(text, "amount")
    if found < 50:
        raise invalid("Amount must convert to at least 50 cents.", "amount_too_small", param="amount")
    if found > 99_999_999:
        raise invalid("Amount must be no more than 999,999.99.", "amount_too_large", param="amount")
    if currency in _THOUSANDTHS and found % 10:
        raise invalid("The last digit of a three-decimal currency's amount must be 0.", param="amount")
    return found


def within(created: int, window: Any) -> bool:
    tests = {"gt": created.__gt__, "gte": created.__ge__, "lt": created.__lt__, "lte": created.__le__}
    return all(tests[name](int(edge)) for name, edge in (window or {}).items())
