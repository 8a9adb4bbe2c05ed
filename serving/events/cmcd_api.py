"""HTTP of CMCD: POST /api/cmcd, where players that are not ours report (`eventTargets` of hls.js and Shaka)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from ingest.intake import Code, Entry, printable
from serving.auth import identify
from serving.context import Context, context_of
from serving.events import body
from serving.events.api import accepted, admit, append
from serving.events.cmcd import Report, parse, to_event
from serving.events.core import Verdict, judge
from serving.events.sessions import MAX_REPORTS

# The API's own code, beside those of the intake.
CODE = cast(Code, "invalid_cmcd")


@dataclass
class _Sorted:
    """The lines of a body: events by the number of their line, and what cannot be mapped with its reason."""

    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    dead: dict[int, str] = field(default_factory=dict)
    new: list[Report] = field(default_factory=list)


async def post_cmcd(request: Request) -> Response:
    """Take reports of the signed-in account, or of nobody: each becomes a viewer event, a dead letter, or nothing."""
    context = context_of(request.app)
    claims = identify(request)
    account_id = claims.account_id if claims else None
    lines = body.lines(await body.read(request, body.CMCD_TYPES))
    admit(context, request, account_id, len(lines))
    now = context.clock.now()
    found = await _sort(context, request, account_id, lines, now)
    named = frozenset(str(event["profile_id"]) for event in found.events.values() if "profile_id" in event)
    owner = await context.owners.of(account_id, named)
    if account_id and len(owner.profiles) == 1:
        for event in found.events.values():
            event.setdefault("profile_id", *owner.profiles)
    raw = list(found.events.values())
    bot = context.senders.bot(request, account_id, raw)
    verdict = judge(raw, account_id, owner.profiles, owner.country, now, bot)
    verdict = _with_dead(verdict, found, lines, account_id, now)
    await append(context, verdict, bot)
    # Behind the log: what is not remembered comes again, with the same ids.
    await context.sessions.add(account_id or "", found.new)
    rejected = [{"index": index, "code": code} for index, code in verdict.rejected]
    return accepted(verdict.accepted, rejected, ignored=len(lines) - len(verdict.entries))


async def _sort(
    context: Context, request: Request, account_id: str | None, lines: Sequence[str], now: datetime
) -> _Sorted:
    found = _Sorted()
    parsed: dict[int, Report] = {}
    for index, line in enumerate(lines):
        try:
            parsed[index] = parse(line, round(now.timestamp() * 1000))
        except ValueError as error:
            found.dead[index] = printable(str(error))
    histories = await context.sessions.read(account_id or "", (report.sid for report in parsed.values()))
    for index, report in parsed.items():
        if report.event == "rr":
            continue
        history = histories[report.sid]
        if len(history) >= MAX_REPORTS:
            found.dead[index] = f"the session has {MAX_REPORTS:,} reports already: begin another one"
            continue
        fields = {**_asked(request), **await context.playbacks.of(account_id, report.sid)}
        event = to_event(report, history, account_id or "", now, fields)
        history.append(report)
        found.new.append(report)
        if event is not None:
            found.events[index] = {**event, "cmcd": lines[index]}
    return found


def _asked(request: Request) -> Mapping[str, str]:
    """What the page that plays says about itself in the address that it reports to."""
    given = request.query_params
    browser = "web" if request.headers.get("user-agent", "").startswith("Mozilla/") else ""
    asked = {"profile_id": given.get("profile_id"), "device": given.get("device") or browser}
    return {name: value for name, value in asked.items() if value}


def _with_dead(
    verdict: Verdict, found: _Sorted, lines: Sequence[str], account_id: str | None, now: datetime
) -> Verdict:
    """The verdict with the numbers of lines instead of those of events, and the lines that are no events."""
    places = list(found.events)
    entries = dict(zip(places, verdict.entries, strict=True))
    for index, reason in found.dead.items():
        entries[index] = Entry(lines[index].encode(), now, "live", account_id, CODE, reason)
    rejected = [(places[index], code) for index, code in verdict.rejected] + [(index, CODE) for index in found.dead]
    return Verdict(tuple(entries[index] for index in sorted(entries)), tuple(sorted(rejected)), verdict.late)
