"""HTTP of recommendations: a plain Starlette route that answers with bytes."""

from starlette.requests import Request
from starlette.responses import Response

from serving.auth import authenticate
from serving.context import context_of
from serving.problems import Problem
from serving.recommendations.core import SURFACES
from serving.rights.region import placed


async def recommendations(request: Request) -> Response:
    """The rows of the home page (or titles to pick from) for a profile of the signed-in account (the first one, where
    none is named).

    Raises:
        Problem: 404, the account has no such profile; 403 `pin_required`, it is not open to the sign-in.
    """
    claims = authenticate(request)
    query = request.query_params
    surface = query.get("surface", "home")
    if surface not in SURFACES:
        raise Problem(422, "unknown_surface", f"surface must be one of {', '.join(SURFACES)}, not {surface[:40]!r}")
    context = context_of(request.app)
    await context.streams.settle(claims.account_id)
    known = await context.viewers.of(claims.account_id, claims.session_id, query.get("profile_id"), keyed=True)
    body = await context.home.page(
        surface,
        placed(known, request, context.settings),
        claims.session_id,
        request.scope["matinee.request_id"],
        lambda: context.senders.bot(request, claims.account_id, ()),
    )
    return Response(body, media_type="application/json")
