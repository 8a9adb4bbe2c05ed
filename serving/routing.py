"""Finding the route of a request by where its path begins, instead of by trying every pattern in turn.

Starlette and FastAPI try a hundred patterns one after another, which takes longer than all else that they do for an
answer. The index only narrows: what it finds still has to match by its own pattern, in the order of the router, and
what no route takes as it is (404, 405, websockets) is left to the router, so that answers are the same.
"""

from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Receive, Scope, Send

Key = tuple[str, ...]


class Index:
    """Stands before the routes of a router, as its `middleware_stack`; what is added to the router later counts too."""

    def __init__(self, router: Router) -> None:
        self._router, self._whole = router, router.middleware_stack
        self._found: dict[tuple[str, int, Key], list[BaseRoute]] = {}
        self._known = 0  # how many routes the index was made of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._whole(scope, receive, send)
            return
        route, taken = found
        scope.setdefault("router", self._router)
        scope.update(taken)
        await route.handle(scope, receive, send)

    def find(self, scope: Scope) -> tuple[BaseRoute, Scope] | None:
        """The first route that takes the request as it is, with what it adds to the scope; None: ask the router."""
        path: str = scope["path"]
        if "\n" in path or scope.get("root_path"):  # `$` of a pattern lets a last newline pass
            return None
        if self._known != len(self._router.routes):
            self._build()
        parts = path.split("/")
        for route in self._found.get((scope["method"], len(parts), tuple(parts[1:3])), ()):
            match, taken = route.matches(scope)
            if match is Match.FULL:
                return route, taken
        return None

    def _build(self) -> None:
        routes = self._router.routes
        self._known = len(routes)
        self._found = {key: [] for route in routes for key in _keys(route)}
        for route in routes:
            for key in _keys(route) or [key for key in self._found if _has(route, key[0])]:
                self._found[key].append(route)


def _keys(route: BaseRoute) -> list[tuple[str, int, Key]]:
    """By method, number of segments and the first two of them; none where the path does not fix these."""
    if not isinstance(route, Route) or ":" in route.path:
        return []
    parts = route.path.split("/")
    head = tuple(parts[1:3])
    return [] if "{" in "".join(head) else [(method, len(parts), head) for method in route.methods or ()]


def _has(route: BaseRoute, method: str) -> bool:
    methods = getattr(route, "methods", None)
    return not methods or method in methods
