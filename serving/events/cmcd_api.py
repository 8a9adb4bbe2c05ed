"""HTTP of CMCD: POST /api/cmcd, where players that are not ours report (`eventTargets` of hls.js and Shaka)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from ingest.intake import Code, Entry, printable
from serving.accounts.tokens import Claims
from serving.auth import identify
from serving.context import Context, context_of
from serving.events import body
from serving.events.api import accepted, admit, append
from serving.events.cmcd import Report, parse, to_events
from serving.events.core import Verdict, judge
from serving.events.sessions import MAX_REPORTS, MAX_SESSIONS

# The API's own code, beside those of the intake.
CODE = cast(Code, "invalid_cmcd")


@dataclass
class _Sorted:
    """What becomes of the lines of a body, by their number: reports, then events of them, or reasons why not."""

    reports: dict[int, Report] = field(default_factory=dict)
    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    dead: dict[int, str] = field(default_factory=dict)

    @property
    def sids(self) -> set[str]:
        return {report.sid for report in self.reports.values()}


async def post_cmcd(request: Request) -> Response:
    """Take reports of the signed-in account, or of nobody: each becomes a viewer event, a dead letter, or nothing."""
    context = context_of(request.app)
    claims = identify(request)
    account_id = claims.account_id if claims else None
    lines = body.lines(await body.read(request, body.CMCD_TYPES))
    admit(context, request, account_id, len(lines))
    now = context.clock.now()
    found = _sort(lines, now)
    _keep_few(found)
    async with context.sessions.turn(account_id or "", found.sids):
        await _refuse_full(context, account_id or "", found)
        await _map(context, request, account_id, lines, found, now)
        verdict, bot = await _judge(context, request, claims, list(found.events.values()), now)
        verdict = _with_dead(verdict, found, lines, account_id, now)
        await append(context, verdict, bot)
        # Behind the log: what is not remembered comes again, with the same ids.
        await context.sessions.add(account_id or "", found.reports.values())
    rejected = [{"index": index, "code": code} for index, code in verdict.rejected]
    # 200 as well says: on disk. Shaka Player takes a 202 for a failure and sends everything twice.
    return accepted(verdict.accepted, rejected, 200, ignored=len(lines) - len(verdict.entries))


def _sort(lines: Sequence[str], now: datetime) -> _Sorted:
    found = _Sorted()
    for index, line in enumerate(lines):
        try:
            report = parse(line, round(now.timestamp() * 1000))
        except ValueError as error:
            found.dead[index] = printable(str(error))
        else:
            if report.is_telling:
                found.reports[index] = report
    return found


def _keep_few(found: _Sorted) -> None:
    """Refuse the reports of all sessions but the first few: each costs reading what it has reported so far."""
    sids = dict.fromkeys(report.sid for report in found.reports.values())
    for sid in list(sids)[MAX_SESSIONS:]:
        _refuse(found, sid, 0, f"a request is of {MAX_SESSIONS} sessions at most: send one for each")


async def _refuse_full(context: Context, owner: str, found: _Sorted) -> None:
    """Refuse what is over the limit of its session, before its history is read."""
    for sid, size in (await context.sessions.sizes(owner, found.sids)).items():
        reason = f"the session has {MAX_REPORTS:,} reports already: begin another one"
        _refuse(found, sid, max(0, MAX_REPORTS - size), reason)


def _refuse(found: _Sorted, sid: str, keep: int, reason: str) -> None:
    """Refuse the reports of a session but the first `keep`."""
    for index in [index for index, report in found.reports.items() if report.sid == sid][keep:]:
        found.dead[index] = reason
        del found.reports[index]


async def _map(
    context: Context, request: Request, account_id: str | None, lines: Sequence[str], found: _Sorted, now: datetime
) -> None:
    owner = account_id or ""
    histories = await context.sessions.read(owner, found.sids)
    asked = _asked(request)
    for sid, history in histories.items():
        mine = {index: report for index, report in found.reports.items() if report.sid == sid}
        fields = {**asked, **await context.playbacks.of(account_id, sid)}
        events = to_events(list(mine.values()), history, owner, now, fields)
        made = zip(mine, events, strict=True)
        found.events |= {index: {**event, "cmcd": lines[index]} for index, event in made if event is not None}


async def _judge(
    context: Context, request: Request, claims: Claims | None, events: list[dict[str, Any]], now: datetime
) -> tuple[Verdict, str | None]:
    account_id, session_id = (claims.account_id, claims.session_id) if claims else (None, None)
    named = frozenset(str(e["profile_id"]) for e in events if "profile_id" in e)
    owner = await context.owners.of(account_id, session_id, named)
    if account_id and len(owner.profiles) == 1:
        for event in events:
            event.setdefault("profile_id", *owner.profiles)
    bot = context.senders.bot(request, account_id, events)
    return judge(events, account_id, owner.profiles, owner.country, now, bot), bot


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
