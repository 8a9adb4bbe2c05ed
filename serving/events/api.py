"""HTTP of events: POST /api/events, a plain Starlette route. 202 means: on disk."""

from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ingest.errors import LogUnavailableError
from serving.auth import identify
from serving.context import Context, context_of
from serving.events import body
from serving.events.core import Verdict, judge, profile_of
from serving.problems import RETRY_AFTER_S, Problem


async def post_events(request: Request) -> Response:
    """Take a batch of events of the signed-in account, or of nobody."""
    context = context_of(request.app)
    claims = identify(request)
    account_id = claims.account_id if claims else None
    events = body.batch(await body.read(request, body.JSON_TYPES))
    admit(context, request, account_id, len(events))
    named = frozenset(name for event in events if (name := profile_of(event)) is not None)
    owner = await context.owners.of(account_id, claims.session_id if claims else None, named)
    bot = context.senders.bot(request, account_id, events)
    verdict = judge(events, account_id, owner.profiles, owner.country, context.clock.now(), bot)
    await append(context, verdict, bot)
    rejected = [{"index": index, "code": code} for index, code in verdict.rejected]
    return accepted(verdict.accepted, rejected)


def admit(context: Context, request: Request, account_id: str | None, count: int) -> None:
    """Let so many events of a client in, and count those that must come again.

    Raises:
        Problem: 429, it sent too many.
    """
    try:
        context.senders.admit(request, account_id, count)
    except Problem:
        context.metrics.events_refused.inc(count)
        raise


async def append(context: Context, verdict: Verdict, bot: str | None) -> None:
    """Return when all that was judged is in the event log, on disk, and counted.

    Raises:
        Problem: 503, the event log does not answer.
    """
    try:
        await context.log.append(verdict.entries)
    except LogUnavailableError:
        raise Problem(
            503,
            "events_unavailable",
            "the event log does not answer: send the same events again",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from None
    metrics = context.metrics
    metrics.events_accepted.inc(verdict.accepted)
    if verdict.late:
        metrics.events_late.inc(verdict.late)
    if bot:
        metrics.events_of_bots.labels(bot).inc(verdict.accepted)
    for _, code in verdict.rejected:
        metrics.events_rejected.labels(code).inc()


def accepted(count: int, rejected: Sequence[dict[str, object]], status: int = 202, **more: int) -> Response:
    """The answer once all that came is on disk."""
    content = orjson.dumps({"accepted": count, "rejected": rejected, **more})
    return Response(content, status, media_type="application/json")
