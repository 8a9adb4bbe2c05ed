"""Reports of CMCD 2 in event mode (CTA-5004-B), which players send of themselves, as viewer events. Pure.

A report says in which state the player is, and when by its own clock; what has been played, stalled and paused follows
from all reports of a session so far. So counters are always made anew from the session's reports in their order: one
that comes twice, or late, changes nothing of what is known after the last one.

Startup time, stalls and pauses are those of CTA-2066: waiting before the first frame is startup, and waiting for the
place that the viewer sought is seeking; neither is a stall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from matinee.contracts.events import SCHEMA_MAJOR, SCHEMA_NAME
from matinee.ids import content_uuid7
from serving.events.structured import Item, Member, dictionary

EVENTS = frozenset(
    {"bc", "ps", "pr", "e", "t", "c", "b", "m", "um", "pe", "pc", "rr", "as", "ae", "abs", "abe", "sk", "ce"}
)
# The answer to a request of the player: there are as many as segments.
RESPONSE = "rr"
STARTING, PLAYING, SEEKING, REBUFFERING, PAUSED = "s", "p", "k", "r", "a"
WAITING, ENDED, FATAL, QUIT, PRELOADING = "w", "e", "f", "q", "d"
STATES = frozenset({STARTING, PLAYING, SEEKING, REBUFFERING, PAUSED, WAITING, ENDED, FATAL, QUIT, PRELOADING})
OVER = frozenset({ENDED, FATAL, QUIT})

# Players that report at intervals do so every 30 s or oftener: what is silent longer was asleep.
SILENCE_MS = 300_000
_LAST_MS = 253_402_300_799_000  # the year 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# hls.js reports no `pt`; its page may add this key of its own (`updateCustomData`).
_OWN_POSITION = "matinee-pt"


@dataclass(frozen=True, slots=True)
class Report:
    """One report; times in milliseconds, `ts` since 1970, `rate` as multiples, `kbps` of what is played.

    `stalls`, `stall_ms` and `startup_ms` are what the player itself measured, where it does: the first two since the
    session began. `starved_ms` is how long the stall took that has just ended. `lag_ms`: by how much `ts` was behind
    when the report was received.
    """

    event: str
    ts: int
    sid: str
    sn: int = 0
    cid: str | None = None
    state: str | None = None
    rate: float = 1.0
    position_ms: int | None = None
    kbps: int | None = None
    startup_ms: int | None = None
    stalls: int | None = None
    stall_ms: int | None = None
    starved_ms: int | None = None
    code: str | None = None
    lag_ms: int = 0

    @property
    def key(self) -> str:
        """Its place among the reports of its session."""
        return f"{self.ts}.{self.sn}.{self.event}"

    @property
    def is_telling(self) -> bool:
        """Whether it tells of the playback: an answer to a request does so where it brings what is told only once."""
        measured = (self.startup_ms, self.stalls, self.stall_ms, self.starved_ms)
        return self.event != RESPONSE or any(value is not None for value in measured)

    @property
    def place(self) -> tuple[int, int, str]:
        return self.ts, self.sn, self.event

    def kept(self) -> dict[str, Any]:
        """What later reports of the session need to know of this one."""
        defaults = {"sn": 0, "rate": 1.0}
        fields = {k: v for k, v in asdict(self).items() if k not in ("sid", "code", "position_ms")}
        return {k: v for k, v in fields.items() if v is not None and v != defaults.get(k)}


@dataclass(slots=True)
class Counters:
    """What happened in a playback up to its latest report: milliseconds of content (`played`) and of the clock."""

    played_ms: float = 0
    stall_ms: float = 0
    stalls: int = 0
    paused_ms: float = 0
    startup_ms: int | None = None
    bits: float = 0
    state: str | None = None
    is_begun: bool = False
    is_told: bool = False  # whether an event has told that it began
    _began_at: int | None = None
    _latest: Report | None = None
    _has_ticks: bool = False
    _kbps: int | None = None
    _starved_ms: int = 0
    _starvations: int = 0

    def add(self, report: Report) -> None:
        """Count what passed since the latest report, and go on from this one."""
        self._has_ticks = self._has_ticks or report.event == "t"
        if self._latest is not None:
            passed = report.ts - self._latest.ts
            self._pass(min(passed, SILENCE_MS) if self._has_ticks else passed, self._latest.rate)
        if report.kbps is not None:
            if self._kbps is None:  # what was played before it was told
                self.bits = self.played_ms * report.kbps
            self._kbps = report.kbps
        self._enter(report)
        self.measure(report)
        self._latest = report

    def measure(self, report: Report) -> None:
        """Take over what the player itself measured."""
        if report.startup_ms is not None:
            self.startup_ms, self.is_begun = report.startup_ms, True
        if report.starved_ms is not None:
            self._starved_ms, self._starvations = self._starved_ms + report.starved_ms, self._starvations + 1
        # Each of the three tells of the same stalls, and each may be missing: none is larger than what was.
        self.stall_ms = max(self.stall_ms, self._starved_ms, report.stall_ms or 0)
        self.stalls = max(self.stalls, self._starvations, report.stalls or 0)

    def _pass(self, passed: int, rate: float) -> None:
        if self.state == PLAYING:
            self.played_ms += passed * rate
            self.bits += passed * rate * (self._kbps or 0)
        elif self.startup_ms is None:
            return
        elif self.state == REBUFFERING:
            self.stall_ms += passed
        elif self.state in (PAUSED, WAITING):
            self.paused_ms += passed

    def _enter(self, report: Report) -> None:
        state = report.state
        if state is None or state == self.state or (self.state, state) == (SEEKING, REBUFFERING):
            return
        # Who pressed play before the player was there goes from preloading to playing.
        if self._began_at is None or not (self.is_begun or state == PLAYING):
            self._began_at = report.ts
        self.is_begun = self.is_begun or state != PRELOADING
        if state == PLAYING and self.startup_ms is None:
            self.startup_ms = report.ts - self._began_at
        elif state == REBUFFERING and self.startup_ms is not None:
            self.stalls += 1
        self.state = state

    def fields(self) -> dict[str, int | None]:
        """The counters of a viewer event."""
        if self.state is None:  # a player that tells no states (Shaka 5.2.12 as it is built): nothing can be counted
            return {"startup_ms": self.startup_ms}
        return {
            "played_ms": round(self.played_ms),
            "stall_ms": round(self.stall_ms),
            "stalls": self.stalls,
            "paused_ms": round(self.paused_ms),
            "startup_ms": self.startup_ms,
            "bits": round(self.bits),
        }


def parse(line: str, received_ms: int) -> Report:
    """The report that a line holds.

    Raises:
        ValueError: it holds none; the message says why.
    """
    found = _Keys(dictionary(line.strip()))
    event = found.text("e", 3)
    if event not in EVENTS:
        raise ValueError(f"e: {event!r} is no event of CMCD 2" if event else "e: missing, so this is no event report")
    version = found.integer("v")
    if version not in (None, 2):
        raise ValueError(f"v: reports of events are of version 2, not {version}")
    state = found.text("sta", 3)
    if state is not None and state not in STATES:
        raise ValueError(f"sta: {state!r} is no state of CMCD 2")
    sid, ts = found.text("sid", 64), found.integer("ts")
    if not sid:
        raise ValueError("sid: missing, so nothing says to which playback this belongs")
    if ts is None or ts > _LAST_MS:
        raise ValueError(f"ts: {ts} is no time in milliseconds" if ts else "ts: missing")
    position = found.integer("pt")
    return Report(
        event=event, ts=ts, sid=sid, sn=found.integer("sn") or 0, cid=found.text("cid", 128) or None, state=state,
        rate=found.number("pr", 1.0), position_ms=found.integer(_OWN_POSITION) if position is None else position,
        kbps=found.total("br"), startup_ms=found.integer("msd"), stalls=found.most("bsa"), stall_ms=found.most("bsda"),
        starved_ms=found.most("bsd"), code=found.first("ec"), lag_ms=received_ms - ts,
    )  # fmt: skip


def restore(sid: str, kept: Mapping[str, Any]) -> Report:
    """The report that `Report.kept` made this of."""
    return Report(sid=sid, **kept)


def to_events(
    reports: Sequence[Report], history: Sequence[Report], owner: str, received_at: datetime, fields: Mapping[str, Any]
) -> list[dict[str, Any] | None]:
    """The viewer events of reports of one session, as a player of ours would have sent them, in their order.

    None stands for what tells nothing of a viewer: answers to requests, a player that has only been made ready,
    intervals after the end.
    `history` holds the session's reports so far. `owner` is whose session it is. `fields` are what the server knows
    besides (`profile_id`, `device`, and `title_id` for players that name no content).
    """
    known = {report.key: report for report in [*reversed(reports), *reversed(history)]}  # repeated: as it came first
    wanted = {report.key for report in reports}
    lag = timedelta(milliseconds=min((report.lag_ms for report in known.values()), default=0))
    made: dict[str, dict[str, Any] | None] = {}
    playbacks: dict[str | None, Counters] = {}
    title = first = None
    for report in sorted(known.values(), key=lambda report: report.place):
        title = report.cid or title or fields.get("title_id")
        first = first or title
        playback = playbacks.setdefault(title, playbacks.pop(None, None) or Counters())
        state = playback.state
        if report.event == RESPONSE:
            playback.measure(report)
        else:
            playback.add(report)
        kind = _kind(report, state, playback)
        playback.is_told = playback.is_told or kind == "play"
        if report.key not in wanted:
            continue
        event = {
            "event_id": content_uuid7(report.ts, "cmcd", owner, report.sid, report.key),
            "schema": f"{SCHEMA_NAME}/{SCHEMA_MAJOR}.0",
            "session_id": report.sid,
            **fields,
            # A session of a player that goes on to another title is another playback.
            "playback_id": report.sid if title == first else f"{report.sid}~{title}",
            "title_id": title,
            "seq": report.sn,
            "type": kind,
            "ts_client": (_EPOCH + timedelta(milliseconds=report.ts)).isoformat(),
            # As if it had been sent right now by a clock that is as wrong as the session's quickest report says.
            "ts_sent": (received_at - lag).isoformat(),
            "position_ms": report.position_ms,
            **playback.fields(),
        }
        if kind == "error":
            event["data"] = {"code": report.code or "unknown", "fatal": playback.state in (FATAL, None)}
        made[report.key] = {name: value for name, value in event.items() if value is not None} if kind else None
    return [made[report.key] for report in reports]


def _kind(report: Report, state: str | None, now: Counters) -> str | None:
    if report.event == RESPONSE or (report.event != "e" and state in OVER and now.state == state):
        return None
    if report.event == "e" or now.state == FATAL:
        return "error"
    if not now.is_begun:
        return None
    if now.state in OVER:
        return "stop"
    return "heartbeat" if now.is_told else "play"


class _Keys:
    """The keys of a report by their types; what has another type raises `ValueError`."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members

    def text(self, key: str, length: int) -> str | None:
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > length:
            raise ValueError(f"{key}: {str(value)[:80]!r} is no text of at most {length} characters")
        return value

    def integer(self, key: str) -> int | None:
        value = self.number(key, -1.0)
        return None if key not in self._members else round(value)

    def number(self, key: str, default: float) -> float:
        value = self._value(key)
        return default if value is None else _amount(key, value)

    def most(self, key: str) -> int | None:
        """The largest of a list: object types are starved together."""
        found = self._amounts(key)
        return round(max(found)) if found else None

    def total(self, key: str) -> int | None:
        """The sum of a list: picture and sound are played together."""
        found = self._amounts(key)
        return round(sum(found)) if found else None

    def first(self, key: str) -> str | None:
        member = self._members.get(key)
        items = member if isinstance(member, list) else [member]
        return next((str(item.value)[:256] for item in items if isinstance(item, Item)), None)

    def _amounts(self, key: str) -> list[float]:
        member = self._members.get(key)
        items = member if isinstance(member, list) else [member]
        return [_amount(key, item.value) for item in items if isinstance(item, Item)]

    def _value(self, key: str) -> int | float | str | bool | None:
        member = self._members.get(key)
        if member is None or isinstance(member, Item):
            return member and member.value
        raise ValueError(f"{key}: one value is expected, not a list")


def _amount(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{key}: {str(value)[:80]!r} is no number from 0 on")
    return float(value)
