"""What a page shows: the lists of a visit, dealt to rows, as JSON. No input or output: everything comes in by argument.

Hard rules come first: nothing that the shelf does not offer, and nothing that was finished, gets into any list; and no
reason names a title that this viewer may not see.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import orjson

from serving.recommendations.catalogue import Shelf, Title
from serving.recommendations.rows import (
    MAX_ROW,
    HomeRow,
    List,
    Pick,
    anchors,
    because_title,
    by_genre,
    deal,
    dealt_from,
    left_of,
    row_title,
    take,
    with_arm,
)

if TYPE_CHECKING:
    from features.online import Known
    from serving.recommendations.served import Served

RANKED, POPULAR, GEMS, NEWEST, ONBOARDING = 200, 100, 40, 60, 24
_ANCHORS, _GENRES = 2, 3
_FOLLOWS = 10  # of a title that so much follows from, what is like it is not asked for
_SHELVED = ("trending", "new")  # rows whose order is made once for a shelf
_NEW_AHEAD = 3
_FRESH_LEAST = 2 * MAX_ROW  # with fewer titles left than this, begun ones are not kept out of the rows
_ROWS = ("for_you", "because", "trending", "genre", "gems", "new")


@dataclass(frozen=True)
class Progress:
    """From positions: what to go on with, the last touched first, and the films and series seen to the end."""

    resume: tuple[Pick, ...] = ()
    watched: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Visit:
    """Whom a page is made for. `known`: None where Redis does not answer; `done`: what was finished or rated, as far as
    this process knows; `arms`: the account's variant of each experiment, `share` of the accounts are dealt the order of
    rows that this one is."""

    profile_id: str
    region: str | None
    kids: bool
    now: datetime
    known: "Known | None"
    done: frozenset[str]
    progress: Progress
    arms: Mapping[str, str]
    share: float
    for_you_first: bool

    @property
    def history(self) -> tuple[str, ...]:
        return self.known.titles if self.known else ()

    @property
    def hidden(self) -> frozenset[str]:
        """What no row but `continue` may show."""
        resumed = frozenset(pick.title_id for pick in self.progress.resume)
        return resumed | self.progress.watched | self.done


@dataclass(frozen=True)
class Page:
    """`body`: the JSON without its opening brace, for the id of each request stands first; `differs`: accounts that are
    dealt the other order of rows would see another page; `discovered`: the titles of all rows but `continue`."""

    body: bytes
    degraded: bool
    differs: bool = False
    discovered: tuple[str, ...] = ()


def home_page(visit: Visit, shelf: Shelf, served: "Served | None") -> Page:
    """The rows of the home page."""
    hidden = visit.hidden
    going_on = take(visit.progress.resume, (), MAX_ROW)
    shown = [_shown("continue", row_title("continue"), [(pick, 1.0) for pick in going_on])] if going_on else []
    if served is None:
        rows = deal(_from_catalogue(shelf, hidden), hidden)
        shown += [_shown(row.id, row.title, [(pick, 1.0) for pick in row.picks]) for row in rows]
        return _page(shown, visit, shelf, served)
    taste = served.taste(visit.history)
    lists = _reranked(_lists(visit, shelf, served), served, taste)
    left = left_of(lists, hidden)
    rows, others = (
        dealt_from(_ordered(lists, served, for_you_first=first), left, hidden, exploring=served.exploring)
        for first in (visit.for_you_first, not visit.for_you_first)
    )
    for row, other in zip_longest(rows, others[: len(rows)]):
        shown.append(_shown(row.id, row.title, _explored(row, other, visit, served)))
    return _page(shown, visit, shelf, served, differs=rows != others)


def onboarding_page(visit: Visit, shelf: Shelf, served: "Served | None") -> Page:
    """Titles to pick from for a viewer of whom nothing is known: what is popular, of as many genres as there are."""
    hidden = visit.hidden
    if served is None:
        picks = _newest(shelf, hidden, ONBOARDING)
    else:
        popular = served.popular(shelf, visit.region, visit.kids, hidden, POPULAR)
        picks = served.reranked("onboarding", popular, None)[:ONBOARDING]
    shown = [_shown("onboarding", row_title("onboarding"), [(pick, 1.0) for pick in picks])] if picks else []
    return _page(shown, visit, shelf, served)


def _lists(visit: Visit, shelf: Shelf, served: "Served") -> list[List]:
    """Every list that a row of this visit may be made of, in the order that holds while nothing was learned."""
    from models.recommenders.system import Asked

    hidden = visit.hidden
    allowed = served.without(served.mask(shelf), hidden)
    fresh = served.without(allowed, visit.history)
    begun: Collection[str] = visit.history
    if int(fresh.sum()) < _FRESH_LEAST:
        fresh, begun = allowed, ()
    left_out = hidden.union(begun)
    known = visit.known
    popular = served.popular(shelf, visit.region, visit.kids, left_out, POPULAR)
    lists = {"trending": [List("trending", row_title("trending"), popular)]}
    ranked: list[Pick] = []
    if known is not None and known.titles:
        moment = visit.now.timestamp()
        asked = Asked(known.titles, known.times, visit.region, visit.kids, known.features, moment)
        ranked, gems = (_told(picks, known.titles, shelf) for picks in served.personal(asked, fresh, RANKED, GEMS))
        lists["for_you"] = [List("for_you", row_title("for_you"), ranked)]
        lists["because"] = [
            _because(shelf.seen[title_id], ranked, served, fresh) for title_id in anchors(ranked, _ANCHORS)
        ]
        lists["gems"] = [List("gems", row_title("gems"), gems)]
    themes = by_genre(ranked or popular, shelf.seen, _GENRES)
    lists["genre"] = [List(f"genre:{genre}", row_title(f"genre:{genre}"), picks) for genre, picks in themes.items()]
    # What came after the fit is hard to be recommended otherwise: it stands in its row at once.
    newest = served.newest(shelf, left_out, NEWEST)
    ahead = min(_NEW_AHEAD, sum(served.is_new(pick.title_id) for pick in newest))
    lists["new"] = [List("new", row_title("new"), newest, ahead)]
    return [of for kind in _ROWS for of in lists.get(kind, ())]


def _because(anchor: Title, ranked: Sequence[Pick], served: "Served", allowed: Any) -> List:
    """What follows from one title: what it adds most to, then what is like it."""
    follows = [pick for pick in ranked if pick.because == anchor.title_id]
    like = served.similar(anchor.title_id, allowed, MAX_ROW) if len(follows) < _FOLLOWS else ()
    like = [Pick(pick.title_id, pick.source, "similar_content", pick.because, pick.score) for pick in like]
    return List(f"because:{anchor.title_id}", because_title(anchor.titles), [*follows, *like])


def _told(picks: list[Pick], history: Sequence[str], shelf: Shelf) -> list[Pick]:
    """The picks with reasons that this viewer may read: a child's page names no title of an adult's history."""
    if not (secret := {title_id for title_id in history if title_id not in shelf.seen}):
        return picks
    return [Pick(of.title_id, of.source, "for_you", None, of.score) if of.because in secret else of for of in picks]


def _reranked(lists: Sequence[List], served: "Served", taste: Any) -> list[List]:
    own = [of for of in lists if of.kind not in _SHELVED]
    orders = iter(served.reranked_rows([(of.kind, of.picks) for of in own], taste))
    return [of if of.kind in _SHELVED else replace(of, picks=next(orders)) for of in lists]


def _newest(shelf: Shelf, hidden: Collection[str], limit: int) -> list[Pick]:
    found = (Pick(title_id, "catalogue", "new") for title_id in shelf.offered)
    return take(found, hidden, limit)


def _from_catalogue(shelf: Shelf, hidden: Collection[str]) -> list[List]:
    """What stands in while there is no model: the newest titles, genres, and everything."""
    newest = _newest(shelf, hidden, RANKED)
    themes = by_genre(newest, shelf.seen, _GENRES)
    rows = {"new": newest, **{f"genre:{genre}": picks for genre, picks in themes.items()}, "all": newest}
    return [List(row, row_title(row), picks) for row, picks in rows.items()]


def _ordered(lists: Sequence[List], served: "Served", *, for_you_first: bool) -> list[List]:
    by_id = {of.id: of for of in lists}
    return [by_id[row] for row in with_arm(served.order(list(by_id)), for_you_first=for_you_first)]


def _explored(row: HomeRow, other: HomeRow | None, visit: Visit, served: "Served") -> list[tuple[Pick, float]]:
    """What the row shows, with the probability of each title at its place in this row and the row at its own.

    `other`: the row that stands there in the other order. What is the same in both is not less likely for it.
    """
    drawn = served.explored(row, visit.profile_id, visit.now.date())
    if row == other:
        return drawn
    chances = served.chances(other) if other is not None and other.id == row.id else {}
    return [
        (pick, visit.share * chance + (1 - visit.share) * chances.get((place, pick.title_id), 0.0))
        for place, (pick, chance) in enumerate(drawn)
    ]


def _shown(row: str, title: Mapping[str, str], items: Iterable[tuple[Pick, float]]) -> dict[str, Any]:
    return {"id": row, "title": title, "items": list(items)}


def _page(
    rows: Sequence[dict[str, Any]], visit: Visit, shelf: Shelf, served: "Served | None", *, differs: bool = False
) -> Page:
    discovered = tuple(pick[0] for row in rows if row["id"] != "continue" for pick, _ in row["items"])
    named = dict.fromkeys(name for row in rows for pick, _ in row["items"] for name in (pick[0], pick[3]) if name)
    for row in rows:
        row["items"] = [
            {
                "title_id": title_id,
                "reason": {"code": reason, "params": {} if because is None else {"title_id": because}},
                "source": source,
                "propensity": chance,
                "experiments": visit.arms,
            }
            for (title_id, source, reason, because, _), chance in row["items"]
        ]
    degraded = served is None or visit.known is None
    about = served.about if served else None
    model = about and {"name": about.name, "version": about.version, "snapshot_id": about.snapshot_id}
    seen = shelf.seen
    cards = orjson.Fragment(b"{%b}" % b",".join([seen[title_id].card for title_id in named]))
    body = orjson.dumps({"model": model, "degraded": degraded, "rows": rows, "titles": cards})
    return Page(body[1:], degraded, differs, discovered)
