"""From lists of titles to the rows of the home page. Pure.

Titles are dealt out row by row in the order of the page, each to one row. What a row may explore with is dealt to it as
well, so that no draw of one row changes what stands in another: probabilities stay exact.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.recommenders.scored import Scored

MAX_ROW = 20
MIN_ROW = 3
MAX_ITEMS = 120  # of all rows together
_RESERVE = 5
_ROWS_OF_A_KIND = {"because": 2, "genre": 3}
_LEAST = {"because": MIN_ROW, "genre": MIN_ROW, "gems": MIN_ROW}

_TITLES = {
    "continue": {"en": "Continue watching", "ru": "Продолжить просмотр"},
    "for_you": {"en": "For you", "ru": "Для вас"},
    "trending": {"en": "Trending now", "ru": "Сейчас смотрят"},
    "new": {"en": "New here", "ru": "Новинки"},
    "gems": {"en": "Hidden gems", "ru": "Скрытые жемчужины"},
    "onboarding": {"en": "Pick what you like", "ru": "Выберите, что нравится"},
    "all": {"en": "All titles", "ru": "Всё подряд"},
}
_GENRES_RU = {
    "action": "боевики", "adventure": "приключения", "animation": "анимация", "children": "детям",
    "comedy": "комедии", "crime": "криминал", "documentary": "документальное", "drama": "драмы",
    "family": "семейное", "fantasy": "фэнтези", "horror": "ужасы", "musical": "мюзиклы", "mystery": "детективы",
    "nature": "природа", "romance": "мелодрамы", "sci-fi": "фантастика", "short": "короткий метр",
    "thriller": "триллеры", "war": "военное", "western": "вестерны",
}  # fmt: skip


Pick = Scored


@dataclass(frozen=True, slots=True)
class List:
    """What a row may be made of, best first. `ahead`: how many of its titles it takes before any other row does."""

    id: str
    title: Mapping[str, str]
    picks: Sequence[Pick]
    ahead: int = 0

    @property
    def kind(self) -> str:
        """`because:<title>` and `genre:<genre>` are of one kind each."""
        return self.id.partition(":")[0]


@dataclass(frozen=True, slots=True)
class HomeRow:
    """`reserve`: titles that no other row shows and that this one may explore with."""

    id: str
    title: Mapping[str, str]
    picks: tuple[Pick, ...]
    reserve: tuple[Pick, ...] = ()

    @property
    def kind(self) -> str:
        return self.id.partition(":")[0]


def row_title(row: str) -> Mapping[str, str]:
    """The heading of a row in English and Russian."""
    kind, _, genre = row.partition(":")
    if kind != "genre":
        return _TITLES[kind]
    russian = _GENRES_RU.get(genre.lower(), genre)
    return {"en": genre[:1].upper() + genre[1:], "ru": russian[:1].upper() + russian[1:]}


def because_title(titles: Mapping[str, str]) -> Mapping[str, str]:
    """The heading of a row that follows from a title with these names by language."""
    some = next(iter(titles.values()), "")
    english, russian = titles.get("en", some), titles.get("ru", some)
    return {"en": f"Because you watched {english}", "ru": f"Вы смотрели «{russian}»"}


def with_arm(rows: Sequence[str], *, for_you_first: bool) -> list[str]:
    """The rows' ids with `for_you` before `trending` or behind it, as the experiment dealt; all else stays in place."""
    first, second = ("for_you", "trending") if for_you_first else ("trending", "for_you")
    order = list(rows)
    if first in order and second in order:
        places = sorted((order.index(first), order.index(second)))
        order[places[0]], order[places[1]] = first, second
    return order


def deal(lists: Sequence[List], taken: Collection[str] = (), *, exploring: Collection[str] = ()) -> list[HomeRow]:
    """The rows in the order of their lists. No title stands twice, none of `taken` at all; short rows are left out.

    With a small catalogue each row takes a part of it only, so that the next one has something to show. Rows of a kind
    in `exploring` are dealt a few titles more, as long as there are plenty.
    """
    return dealt_from(lists, left_of(lists, taken), taken, exploring=exploring)


def left_of(lists: Sequence[List], taken: Collection[str]) -> int:
    """How many titles there are to be dealt, in whatever order."""
    return len({pick[0] for of in lists for pick in of.picks}.difference(taken))


def dealt_from(
    lists: Sequence[List], left: int, taken: Collection[str], *, exploring: Collection[str] = ()
) -> list[HomeRow]:
    """`deal` where it is known how many titles are left."""
    used = set(taken)
    size = min(MAX_ROW, MAX_ITEMS // max(1, len(lists)), max(MIN_ROW, -(-left // 4)))
    plenty = left >= 3 * MAX_ROW
    ahead = {of.id: _taken(of.picks, used, min(of.ahead, size)) for of in lists if of.ahead}
    rows: list[HomeRow] = []
    of_a_kind: dict[str, int] = {}
    for of in lists:
        kind, first = of.kind, ahead.get(of.id, [])
        picks = take(of.picks, used, size - len(first))
        if len(first) + len(picks) < _LEAST.get(kind, 1) or of_a_kind.get(kind, 0) >= _ROWS_OF_A_KIND.get(kind, 1):
            continue
        used.update([pick[0] for pick in picks])
        reserve = _taken(of.picks, used, _RESERVE) if plenty and kind in exploring else []
        of_a_kind[kind] = of_a_kind.get(kind, 0) + 1
        rows.append(HomeRow(of.id, of.title, (*first, *picks), tuple(reserve)))
    return rows


def _taken(picks: Iterable[Pick], used: set[str], size: int) -> list[Pick]:
    """`take`, and they are used from now on."""
    found = take(picks, used, size)
    used.update([pick[0] for pick in found])
    return found


def take(picks: Iterable[Pick], used: Collection[str], size: int) -> list[Pick]:
    """The first `size` that are not used, each title once."""
    taken: dict[str, Pick] = {}
    if size > 0:
        for pick in picks:
            title_id = pick[0]
            if title_id not in used and title_id not in taken:
                taken[title_id] = pick
                if len(taken) == size:
                    break
    return list(taken.values())


def anchors(ranked: Sequence[Pick], limit: int) -> list[str]:
    """The titles of the history that most of what stands high follows from; the strongest first."""
    weights: dict[str, float] = {}
    for place, pick in enumerate(ranked):
        if pick.because is not None:
            weights[pick.because] = weights.get(pick.because, 0.0) + 1 / (1 + place)
    return sorted(weights, key=lambda title_id: (-weights[title_id], title_id))[:limit]


class _Genred(Protocol):
    @property
    def genres(self) -> Sequence[str]: ...


def by_genre(picks: Sequence[Pick], titles: Mapping[str, _Genred], limit: int) -> dict[str, list[Pick]]:
    """The genres that weigh most among the picks, each with its picks: what stands high counts more."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, pick in enumerate(picks):
        for genre in titles[pick[0]].genres:
            found[genre].append(place)
    weights = {
        genre: sum([1 / (1 + place) for place in places]) for genre, places in found.items() if len(places) >= MIN_ROW
    }
    best = sorted(weights, key=lambda genre: (-weights[genre], genre))[:limit]
    return {genre: [picks[place] for place in found[genre]] for genre in best}
