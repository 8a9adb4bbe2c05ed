"""Which title a film file belongs to, judged by names alone. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_CYRILLIC = dict(zip("абвгдезийклмнопрстуфыэ", "abvgdeziyklmnoprstufye", strict=True)) | {
    "ё": "e", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu",
    "я": "ya",
}  # fmt: skip
_YEAR = re.compile(r"^(?P<name>.+?)[\s._-]*[(\[](?P<year>(?:18|19|20|21)\d\d)[)\]]\s*$")
_LONGEST_ID = 64


@dataclass(frozen=True)
class Named:
    """A title that may own a film: its names in all languages and what its feed line said about its file."""

    title_id: str
    year: int | None
    names: tuple[str, ...]
    masters: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """Titles by everything that a file may be called. Built by `index`."""

    masters: Mapping[str, str]
    ids: Mapping[str, str]
    slugs: Mapping[str, str]


def slug(text: str) -> str:
    """Lower-case ASCII words joined by hyphens; Cyrillic is transliterated. Empty where no such letter is left."""
    latin = "".join(_CYRILLIC.get(c, c) for c in unicodedata.normalize("NFC", text).lower())
    plain = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def index(titles: Iterable[Named]) -> Index:
    """Prepare titles for `match`. A name that several titles have points to none of them; with its year it may."""
    masters: dict[str, str] = {}
    ids: dict[str, str] = {}
    slugs: dict[str, set[str]] = {}
    for title in titles:
        masters.update({_plain(file): title.title_id for file in title.masters})
        ids[title.title_id.casefold()] = title.title_id
        for name in (*title.names, title.title_id):
            for key in (slug(name), slug(f"{name} {title.year}") if title.year else ""):
                slugs.setdefault(key, set()).add(title.title_id)
    unique = {key: next(iter(owners)) for key, owners in slugs.items() if key and len(owners) == 1}
    return Index(masters, ids, unique)


def match(found: Index, relative_path: str, sha256: str, *, alone: bool) -> str | None:
    """The title of a file: by what the feed says, then by the file's name, then (`alone`: the only film in its folder)
    by its folders' names, the nearest first."""
    path = PurePosixPath(_plain(relative_path))
    for key in (sha256, str(path), path.name):
        if key in found.masters:
            return found.masters[key]
    folders = [folder.name for folder in path.parents if folder.name] if alone else []
    for name in (path.stem, *folders):
        title = found.ids.get(name) or found.slugs.get(slug(name))
        if title is None and (parts := _YEAR.match(name)):
            title = found.slugs.get(slug(parts["name"]))
        if title is not None:
            return title
    return None


def draft_id(stem: str, sha256: str, *, taken: bool = False) -> str:
    """The id for a film without a title: the slug of its file's name, with a piece of its hash where that is taken."""
    base = slug(stem)
    if not base:
        return f"film-{sha256[:8]}"
    return f"{base[: _LONGEST_ID - 9].strip('-')}-{sha256[:8]}" if taken else base[:_LONGEST_ID].strip("-")


def pretty(stem: str) -> tuple[str, int | None]:
    """A name for people, and the year if the file's name ends with one in brackets."""
    parts = _YEAR.match(stem)
    name = re.sub(r"[\s._]+", " ", parts["name"] if parts else stem).strip(" -") or stem
    return name[0].upper() + name[1:], int(parts["year"]) if parts else None


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold().removeprefix("./")
