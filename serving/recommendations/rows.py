"""From lists of titles to the rows of the home page. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ROW = 20
MIN_ROW = 3
_GENRE_ROWS = 3

_TITLES = {
    "continue": {"en": "Continue watching", "ru": "Продолжить просмотр"},
    "for_you": {"en": "For you", "ru": "Для вас"},
    "popular": {"en": "Popular now", "ru": "Сейчас популярно"},
    "new": {"en": "New here", "ru": "Новинки"},
}
_GENRES_RU = {
    "action": "боевики", "adventure": "приключения", "animation": "анимация", "children": "детям",
    "comedy": "комедии", "crime": "криминал", "documentary": "документальное", "drama": "драмы",
    "family": "семейное", "fantasy": "фэнтези", "horror": "ужасы", "musical": "мюзиклы", "mystery": "детективы",
    "nature": "природа", "romance": "мелодрамы", "sci-fi": "фантастика", "short": "короткий метр",
    "thriller": "триллеры", "war": "военное", "western": "вестерны",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pick:
    """A title that a list proposes, who proposes it, and why."""

    title_id: str
    source: str
    reason: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HomeRow:
    id: str
    title: Mapping[str, str]
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Lists:
    """What rows are made from, each in its own order, and only what the viewer may see.

    `watched`: titles seen to the end, which no row but `continue` shows. `genres`: title -> its genres.
    """

    resume: Sequence[Pick] = ()
    for_you: Sequence[Pick] = ()
    popular: Sequence[Pick] = ()
    newest: Sequence[Pick] = ()
    watched: Collection[str] = ()
    genres: Mapping[str, Sequence[str]] = field(default_factory=dict)


def plan_rows(lists: Lists, *, for_you_first: bool) -> list[HomeRow]:
    """The rows in their order. No title stands twice; rows without titles are left out.

    With a small catalogue each row takes a part of it only, so that the next one has something to show.
    """
    used = set(lists.watched)
    rows = [_row("continue", _TITLES["continue"], _take(lists.resume, set(), MAX_ROW))]
    used |= {pick.title_id for pick in rows[0].picks}
    size = _row_size(lists, used)
    order = ("for_you", "popular") if for_you_first else ("popular", "for_you")
    for name in order:
        picks = _take(lists.for_you if name == "for_you" else lists.popular, used, size)
        used |= {pick.title_id for pick in picks}
        rows.append(_row(name, _TITLES[name], picks))
    rest = [*lists.for_you, *lists.popular]
    for genre in _favourite_genres(lists, rest, used):
        picks = _take((p for p in rest if genre in lists.genres.get(p.title_id, ())), used, size)
        if len(picks) >= MIN_ROW:
            used |= {pick.title_id for pick in picks}
            rows.append(_row(f"genre:{genre}", _genre_title(genre), picks))
    rows.append(_row("new", _TITLES["new"], _take(lists.newest, used, MAX_ROW)))
    return [row for row in rows if row.picks]


def _row(name: str, title: Mapping[str, str], picks: Sequence[Pick]) -> HomeRow:
    return HomeRow(name, title, tuple(picks))


def _take(picks: Iterable[Pick], used: Collection[str], size: int) -> list[Pick]:
    taken: dict[str, Pick] = {}
    for pick in picks:
        if len(taken) == size:
            break
        if pick.title_id not in used:
            taken.setdefault(pick.title_id, pick)
    return list(taken.values())


def _row_size(lists: Lists, used: Collection[str]) -> int:
    candidates = {p.title_id for p in (*lists.for_you, *lists.popular)} - set(used)
    return min(MAX_ROW, max(MIN_ROW, -(-len(candidates) // 2)))


def _favourite_genres(lists: Lists, picks: Sequence[Pick], used: Collection[str]) -> list[str]:
    """The genres of what is left, weighted by place: what stands high in the lists counts more."""
    weights: dict[str, float] = {}
    for place, pick in enumerate(picks):
        if pick.title_id not in used:
            for genre in lists.genres.get(pick.title_id, ()):
                weights[genre] = weights.get(genre, 0.0) + 1 / (1 + place)
    return sorted(weights, key=lambda genre: (-weights[genre], genre))[:_GENRE_ROWS]


def _genre_title(genre: str) -> dict[str, str]:
    russian = _GENRES_RU.get(genre.lower(), genre)
    return {"en": genre[:1].upper() + genre[1:], "ru": russian[:1].upper() + russian[1:]}
