"""HTTP of events: POST /api/events, a plain Starlette route. 202 means: on disk."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ingest.errors import LogUnavailableError
from matinee.contracts.events import MAX_BATCH_EVENTS
from serving.auth import identify
from serving.context import context_of
from serving.events.core import judge
from serving.problems import RETRY_AFTER_S, Problem


async def post_events(request: Request) -> Response:
    """Take a batch of events of the signed-in account, or of nobody."""
    context = context_of(request.app)
    claims = identify(request)
    events = _parse(await request.body())
    account_id = claims.account_id if claims else None
    named = frozenset(str(e["profile_id"]) for e in events if isinstance(e, dict) and e.get("profile_id") is not None)
    owner = await context.owners.of(account_id, named)
    verdict = judge(events, account_id, owner.profiles, owner.country, context.clock.now())
    try:
        await context.log.append(verdict.entries)
    except LogUnavailableError:
        raise Problem(
            503,
            "events_unavailable",
            "the event log does not answer: send the same events again",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from None
    context.metrics.events_accepted.inc(verdict.accepted)
    for _, code in verdict.rejected:
        context.metrics.events_rejected.labels(code).inc()
    rejected = [{"index": index, "code": code} for index, code in verdict.rejected]
    return Response(
        orjson.dumps({"accepted": verdict.accepted, "rejected": rejected}), 202, media_type="application/json"
    )


def _parse(body: bytes) -> list[object]:
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Problem(400, "invalid_json", "the body is not JSON") from None
    events = batch.get("events") if isinstance(batch, dict) else None
    if not isinstance(events, list):
        raise Problem(422, "invalid_request", 'the body must be {"events": […]}')
    if len(events) > MAX_BATCH_EVENTS:
        raise Problem(413, "too_many_events", f"at most {MAX_BATCH_EVENTS} events a batch, not {len(events):,}")
    return events
