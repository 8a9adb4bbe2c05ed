"""The invented demo catalogue: a feed in English and Russian, and the films that are generated for it."""

import hashlib
import json
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.contracts.feed import FeedTitle

if TYPE_CHECKING:
    from simulation.films import FilmSpec

TITLES = Path(__file__).parent / "titles.jsonl"
PLAYABLE_KINDS = frozenset({"film", "episode", "extra"})

# These get a film in 720p; the rest get small ones, so that a demo is ready in minutes on two cores.
FEATURES = frozenset(
    {
        "film-glass-harbour",
        "film-nine-kites",
        "film-slow-thunder",
        "film-orbit-of-salt",
        "film-the-understudies",
        "series-tram-fourteen-s1e1",
        "series-tram-fourteen-s1e2",
    }
)
_CURRENCIES = ("EUR", "USD", "RUB")
_RENTED = {"film-iron-orchard": "3.99", "film-second-moon": "2.99", "film-static-garden": "3.49"}
_CYRILLIC_COUNTRIES = {"RU", "KZ"}
_LATIN = (
    (
        "Ada",
        "Bruno",
        "Clara",
        "Dario",
        "Edda",
        "Felix",
        "Greta",
        "Hugo",
        "Iris",
        "Jonas",
        "Kaia",
        "Leo",
        "Mira",
        "Nils",
    ),
    (
        "Ashdown",
        "Bellwether",
        "Corvane",
        "Dunmere",
        "Estrom",
        "Farrowell",
        "Galdini",
        "Hollis-Vane",
        "Ibarrond",
        "Jurek",
    ),
)
_CYRILLIC = (
    ("Аглая", "Борис", "Вера", "Глеб", "Дина", "Егор", "Жанна", "Захар", "Инна", "Кирилл", "Лада", "Марк", "Нонна"),
    (
        "Берегович",
        "Вересай",
        "Громадко",
        "Дальновей",
        "Ельничный",
        "Заозерко",
        "Искренко",
        "Ковшик",
        "Ладожко",
        "Мелешко",
    ),
)
_ROLES = ("director", "writer", "actor", "actor", "actor")
_TAGS = ("quiet", "clever", "tender", "tense", "odd", "warm", "slow", "bright", "festival", "debut", "night", "sea")


def demo_feed() -> list[FeedTitle]:
    """The whole catalogue, parents before their children."""
    return [_feed_title(row) for row in _rows()]


def write_feed(path: Path) -> list[FeedTitle]:
    """Write the catalogue as a feed (JSON Lines, UTF-8) and return its titles."""
    feed = demo_feed()
    lines = (title.model_dump_json(by_alias=True, exclude_none=True) + "\n" for title in feed)
    path.write_text("".join(lines), encoding="utf-8")
    return feed


def film_specs() -> "list[FilmSpec]":
    """What to generate: one film for each title that plays, 20 to 24 s long."""
    from simulation.films import FilmSpec

    return [
        FilmSpec(
            title_id=title.id,
            title_en=title.titles["en"],
            title_ru=title.titles["ru"],
            seed=_number(title.id, "film", 2**31),
            width=1280 if title.id in FEATURES else 320,
            height=720 if title.id in FEATURES else 180,
            fps=24 if title.id in FEATURES else 12,
            duration_s=title.runtime_s or 0,
        )
        for title in demo_feed()
        if title.kind in PLAYABLE_KINDS
    ]


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    with TITLES.open(encoding="utf-8") as file:
        return tuple(json.loads(line) for line in file)


def _feed_title(row: dict[str, Any]) -> FeedTitle:
    name, kind = row["id"], row.get("kind", "film")
    plays = kind in PLAYABLE_KINDS
    extra: dict[str, Any] = {"demo": True}
    if "number" in row:
        extra["number"] = row["number"]
    if plays:
        extra["master"] = f"{name}.mp4"
        extra["costs"] = _contracts(name)
    return FeedTitle.model_validate(
        {
            "id": name,
            "kind": kind,
            "parent": row.get("parent"),
            "titles": {"en": row["en"][0], "ru": row["ru"][0]},
            "synopsis": {"en": row["en"][1], "ru": row["ru"][1]},
            "year": row["year"],
            # The films of the demo are as long as the catalogue says, so every figure built on runtimes is true.
            "runtime_s": 20 + _number(name, "runtime", 5) if plays else None,
            "genres": row["genres"],
            "people": [] if kind == "season" else _people(name, row["countries"]),
            "tags": sorted({_TAGS[_number(name, f"tag{i}", len(_TAGS))] for i in range(3)}),
            "maturity": row["maturity"],
            "countries": row["countries"],
            "offers": [_offer(name, kind)] if plays else [],
            "extra": extra,
        }
    )


def _contracts(name: str) -> list[dict[str, Any]]:
    """What the licences of a title cost (tax out, minor units; days up to `until`): a contract and its prolongation."""
    first = date(2025, 6, 1) + timedelta(days=_number(name, "licensed", 300))
    lengths = (365 + _number(name, "licence", 200), 1_096 + _number(name, "prolonged", 731))
    starts = (first, first + timedelta(days=lengths[0]))
    return [
        {
            "amount_minor": 20_000 + _number(name, f"cost{i}", 4_000_000),
            "currency": _CURRENCIES[_number(name, "currency", len(_CURRENCIES))],
            "from": start.isoformat(),
            "until": (start + timedelta(days=length)).isoformat(),
        }
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def _people(name: str, countries: list[str]) -> list[dict[str, str]]:
    first, last = _CYRILLIC if _CYRILLIC_COUNTRIES & set(countries) else _LATIN
    names = (
        f"{first[_number(name, f'first{i}', len(first))]} {last[_number(name, f'last{i}', len(last))]}"
        for i in range(len(_ROLES))
    )
    return [{"name": person, "role": role} for person, role in zip(names, _ROLES, strict=True)]


def _offer(name: str, kind: str) -> dict[str, Any]:
    if name in _RENTED:
        return {"kind": "rent", "price": _RENTED[name], "currency": "EUR"}
    if kind == "extra" or _number(name, "offer", 5) == 0:
        return {"kind": "free"}
    return {"kind": "subscription", "plans": ["basic", "premium"]}


def _number(name: str, what: str, below: int) -> int:
    """A number in [0, below) that depends on the title alone."""
    return int.from_bytes(hashlib.sha256(f"{what}\0{name}".encode()).digest()[:8], "big") % below
