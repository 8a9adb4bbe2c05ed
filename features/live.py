"""What a viewer's events say of them now: the live rows of `profile_activity` and `profile_taste`. Pure.

The state of a profile is its playbacks and statements of the last 90 days. Events are folded into it by smallest,
largest and either-or, so that their order and repetitions do not matter. `rows` makes of it what the marts
`feat_profile_activity` and `feat_profile_taste` say of the newest day with these events; a test holds the two equal.

Two events of one id and different content are the only exception: the warehouse takes the first, this the larger.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from features.views import EVENT_TIMESTAMP, PROFILE

DAYS = 90  # the longest window
KEEP = 2_000  # playbacks and statements of a profile: beyond them counts stand still
POSITIVE_MS, POSITIVE_SHARE = 300_000, 100  # 5 minutes, or a tenth: thousandths of the runtime in ms a second
FINISHED_SHARE, COMPLETED = 0.9, 900
POSITIVE_RATING = 3.5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Title:
    """What the catalogue says of a title: the item (film or series) that it belongs to, and the item's genres."""

    item_id: str
    runtime_s: int | None = None
    genres: tuple[str, ...] = ()
    is_item: bool = True  # whether its item can be recommended: it is there, and no extra


Catalogue = Mapping[str, Title]


@dataclass(frozen=True, slots=True)
class Happened:
    """What of a viewer event matters here; `ts`: microseconds since 1970."""

    event_id: str
    type: str
    ts: int
    seq: int = 0
    playback_id: str | None = None
    title_id: str | None = None
    played_ms: int = 0
    position_ms: int = 0
    rating: float | None = None
    favourite: bool | None = None
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Play:
    """A playback so far. `told` is when the event that names its title happened: the earliest that does counts."""

    ts: int
    title_id: str | None
    told: tuple[int, int, str] | None
    played_ms: int = 0
    position_ms: int = 0
    bot: bool = False

    def merged(self, other: "Play") -> "Play":
        namer = min((play for play in (self, other) if play.told is not None), key=lambda p: p.told or (), default=self)
        return Play(
            min(self.ts, other.ts),
            namer.title_id,
            namer.told,
            max(self.played_ms, other.played_ms),
            max(self.position_ms, other.position_ms),
            self.bot or other.bot,
        )


@dataclass(frozen=True, slots=True)
class Said:
    """A rating (`value`) or a favourite (no `value`)."""

    ts: int
    title_id: str
    positive: bool
    rated: bool

    def merged(self, _other: "Said") -> "Said":
        return self


State = dict[str, Play | Said]


def fold(state: State, events: Iterable[Happened]) -> set[str]:
    """Take events into the state of their profile; returns which of its entries are other than before."""
    changed = set()
    for event in events:
        for name, entry in entries(event):
            known = state.get(name)
            now = entry if known is None else merged(known, entry)
            if now != known:
                state[name] = now
                changed.add(name)
    return changed


def merged(known: Play | Said, entry: Play | Said) -> Play | Said:
    """Both readings of one playback or statement as one."""
    if isinstance(known, Play) and isinstance(entry, Play):
        return known.merged(entry)
    return known


def entries(event: Happened) -> Iterable[tuple[str, Play | Said]]:
    """What an event says: of a playback, by a statement, or neither."""
    if event.playback_id is not None:
        told = None if event.title_id is None else (event.ts, event.seq, event.event_id)
        yield (
            f"p{event.playback_id}",
            Play(event.ts, event.title_id, told, event.played_ms, event.position_ms, event.bot),
        )
    if event.title_id is None or event.bot:
        return
    if event.type == "rate" and event.rating is not None:
        yield f"s{event.event_id}", Said(event.ts, event.title_id, event.rating >= POSITIVE_RATING, rated=True)
    elif event.type == "favourite":
        yield f"s{event.event_id}", Said(event.ts, event.title_id, bool(event.favourite), rated=False)


def stale(state: State) -> set[str]:
    """Entries that no window reaches any more, and the oldest beyond `KEEP`."""
    if not state:
        return set()
    first_day = max(_day(entry.ts) for entry in state.values()) - DAYS
    gone = {name for name, entry in state.items() if _day(entry.ts) < first_day}
    if len(state) - len(gone) > KEEP:
        newest = sorted(state.keys() - gone, key=lambda name: (state[name].ts, name), reverse=True)
        gone |= set(newest[KEEP:])
    return gone


def liked(state: State, names: Iterable[str], catalogue: Catalogue) -> dict[str, float]:
    """Items that these entries speak for -> the first moment (epoch seconds) at which one did."""
    first: dict[str, int] = {}
    for name in names:
        entry = state[name]
        title = catalogue.get(entry.title_id or "")
        if title is not None and title.is_item and _positive(entry, title):
            first[title.item_id] = min(entry.ts, first.get(title.item_id, entry.ts))
    return {item: ts / 1e6 for item, ts in first.items()}


def done(state: State, names: Iterable[str], catalogue: Catalogue) -> set[str]:
    """Items that need not be discovered again: rated, or a film seen to its end. A series goes on."""
    found = set()
    for name in names:
        entry = state[name]
        title = catalogue.get(entry.title_id or "")
        if title is None or not title.is_item:
            continue
        is_film = title.item_id == entry.title_id
        if entry.rated if isinstance(entry, Said) else is_film and _is_finished(entry, title):
            found.add(title.item_id)
    return found


def rows(profile_key: str, state: State, catalogue: Catalogue) -> dict[str, Row | None]:
    """View -> its row for this profile, as of the newest day that counts in it; None where nothing does (any more).

    `event_timestamp` is the newest moment that counts.
    """
    made = {"profile_activity": _activity(state, catalogue), "profile_taste": _taste(state, catalogue)}
    return {view: row and {PROFILE.join_key: profile_key, **row} for view, row in made.items()}


def _activity(state: State, catalogue: Catalogue) -> Row | None:
    plays = [entry for entry in state.values() if isinstance(entry, Play) and not entry.bot]
    if not plays:
        return None
    newest = max(play.ts for play in plays)
    month = [play for play in plays if _day(play.ts) > _day(newest) - 30]
    completions = sum(_is_completed(play, catalogue) for play in month)
    return {
        EVENT_TIMESTAMP: _moment(newest),
        "plays_7d": sum(_day(play.ts) > _day(newest) - 7 for play in month),
        "plays_30d": len(month),
        "hours_30d": sum(play.played_ms for play in month) / 3.6e6,
        "completion_30d": completions / len(month),
    }


def _taste(state: State, catalogue: Catalogue) -> Row | None:
    known = [(entry, catalogue.get(entry.title_id or "")) for entry in state.values()]
    positive = [
        (entry.ts, title.genres) for entry, title in known if title and title.genres and _positive(entry, title)
    ]
    if not positive:
        return None
    newest = max(ts for ts, _ in positive)
    times = Counter(genre for ts, genres in positive if _day(ts) > _day(newest) - DAYS for genre in genres)
    genre, most = min(times.items(), key=lambda found: (-found[1], found[0]))
    return {
        EVENT_TIMESTAMP: _moment(newest),
        "top_genre": genre,
        "top_genre_share": most / times.total(),
        "genres_watched": len(times),
    }


def _positive(entry: Play | Said, title: Title) -> bool:
    if isinstance(entry, Said):
        return entry.positive
    share = title.runtime_s is not None and entry.played_ms >= POSITIVE_SHARE * title.runtime_s
    return not entry.bot and (entry.played_ms >= POSITIVE_MS or share)


def _is_finished(play: Play, title: Title) -> bool:
    if play.bot or not title.runtime_s:
        return False
    return play.played_ms / (title.runtime_s * 1e3) >= FINISHED_SHARE


def _is_completed(play: Play, catalogue: Catalogue) -> bool:
    title = catalogue.get(play.title_id or "")
    return bool(title and title.runtime_s and play.position_ms >= COMPLETED * title.runtime_s)


def _day(ts: int) -> int:
    return ts // _DAY_US


def _moment(ts: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ts)


def packed(entry: Play | Said) -> bytes:
    """An entry as it stands in Redis."""
    if isinstance(entry, Said):
        return orjson.dumps([entry.ts, entry.title_id, entry.positive, entry.rated])
    told = list(entry.told) if entry.told else None
    return orjson.dumps([entry.ts, entry.title_id, told, entry.played_ms, entry.position_ms, entry.bot])


def unpacked(value: bytes) -> Play | Said:
    """The entry that `packed` wrote."""
    found = orjson.loads(value)
    if len(found) == 4:
        return Said(*found)
    play = Play(*found)
    return play if play.told is None else replace(play, told=tuple(found[2]))


def state_of(values: Mapping[bytes, bytes]) -> State:
    """The state of a profile as Redis has it."""
    return {name.decode(): unpacked(value) for name, value in values.items()}
