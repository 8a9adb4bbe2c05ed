"""The index leads every request where trying all routes in turn would."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Match, Mount, Route, Router

from serving.openapi import documented_app
from serving.routing import Index

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER")
ROUTER = documented_app().router
INDEX: Any = ROUTER.middleware_stack
TEMPLATES = sorted({getattr(route, "path") for route in ROUTER.routes})  # noqa: B009 - mounts have one too
SEGMENTS = st.one_of(
    st.sampled_from(sorted({part for path in TEMPLATES for part in path.split("/") if "{" not in part})),
    st.text("ab.{}:~%\n\0é", max_size=3),
)


def scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": "", "path_params": {}}


def in_turn(router: Router, asked: dict[str, Any]) -> tuple[Any, Any] | None:
    """What Starlette's router does: the first route that takes the request as it is."""
    for route in router.routes:
        match, taken = route.matches({**asked})
        if match is Match.FULL:
            return route, taken
    return None


def written(template: str, value: str = "x") -> str:
    return "/".join(value if part.startswith("{") else part for part in template.split("/"))


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Paths near those that there are: parts filled in, exchanged, left out, doubled."""
    parts = draw(st.sampled_from(TEMPLATES)).split("/")
    parts = [draw(SEGMENTS) if "{" in part or draw(st.integers(0, 9)) == 0 else part for part in parts]
    deed, place = draw(st.integers(0, 5)), draw(st.integers(0, len(parts)))
    if deed == 0:
        parts.insert(place, draw(SEGMENTS))
    elif deed == 1:
        del parts[place:]
    elif deed == 2:
        parts[-1] += draw(st.sampled_from(["\n", ".html", ".pdf", "/", "?"]))
    return "/".join(parts)


@given(st.sampled_from(METHODS), paths())
def test_finds_what_trying_all_in_turn_finds(method: str, path: str) -> None:
    asked = scope(method, path)
    found = INDEX.find(asked)
    if found is not None or ("\n" not in path and path.startswith("/api/")):
        assert found == in_turn(ROUTER, asked)


def test_knows_every_route_by_its_own_methods_and_no_other() -> None:
    missed = []
    for route in ROUTER.routes:
        path = written(getattr(route, "path"))  # noqa: B009
        for method in METHODS:
            asked = scope(method, path)
            if INDEX.find(asked) != in_turn(ROUTER, asked):
                missed.append((method, path))
    assert {path for _, path in missed} <= {"/v/x/x/x/x", "/x", "/static"}, missed


def ending(name: str) -> Any:
    async def end(_: Any) -> PlainTextResponse:
        return PlainTextResponse(name)

    return end


def odd_routes() -> Iterator[Any]:
    """Routes that hide one another, by literals, patterns, whole paths and mounts."""
    for number, path in enumerate(
        ("/a/{x}/c", "/a/b/c", "/a/b/{y:int}", "/{any}/b/c", "/a/{rest:path}", "/a/b", "/{one}", "/", "/a/{x}.html")
    ):
        yield Route(path, ending(f"{number}"), methods=["GET"] if number % 3 else ["GET", "POST"])
    yield Mount("/a/m", routes=[Route("/c", ending("mounted"))])


@pytest.mark.parametrize("turn", range(10))
def test_keeps_the_order_of_routes_that_hide_one_another(turn: int) -> None:
    routes = list(odd_routes())
    router = Starlette(routes=routes[turn:] + routes[:turn]).router
    index = Index(router)
    for path in (
        "/",
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/b/3",
        "/a/z/c",
        "/z/b/c",
        "/a/m/c",
        "/a/b/c/d",
        "/a/q.html",
        "//",
        "/a//c",
    ):
        for method in ("GET", "POST", "PUT"):
            asked = scope(method, path)
            if (found := index.find(asked)) is not None:
                assert found == in_turn(router, asked), (method, path)
    router.routes.insert(0, Route("/a/b/c", ending("late")))
    assert index.find(scope("GET", "/a/b/c")) == in_turn(router, scope("GET", "/a/b/c"))
