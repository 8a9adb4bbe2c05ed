"""Subtitle files beside a film: `film.srt`, `film.ru.srt`, `film.en.forced.vtt` become rows and copies in the store.

A film has one file a language and one more of forced subtitles. The copy is named by the film, the language and its own
content, so that whoever is reading an older one goes on reading it.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ingest.errors import IngestError
from ingest.parts import sync
from matinee.cues import FORMATS, Cues, CuesError, decode, read_cues
from matinee.db.queries import load
from matinee.languages import named_language

_MOST_BYTES = 5 * 2**20
_UNUSED_S = 7 * 24 * 3600
# What players write after the language, and what makes no difference here.
_ASIDE = frozenset({"sdh", "cc", "default", "full"})
_COMMON_ENGLISH = frozenset({"the", "and", "you", "is", "to", "of", "it", "what", "that", "i"})

_QUERIES = load(Path(__file__).parent)


@dataclass(frozen=True)
class Refusal:
    """A subtitle file that cannot be used, and why: one line."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Beside:
    """What lies beside a film: the languages that it has subtitles in now (`ru`, `en forced`), and what was refused."""

    languages: tuple[str, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True)
class _File:
    path: Path
    data: bytes
    form: str
    language: str
    forced: bool
    cues: Cues

    @property
    def key(self) -> tuple[str, bool]:
        return self.language, self.forced


def take_in(connection: psycopg.Connection, film: Path, master_id: str, store: Path) -> Beside:
    """Bring the store and `master_sidecar` up to date with the files beside a film that was accepted.

    A file that cannot be used is refused, and what it held before it was broken stays. A file that is gone takes its
    row along. Of copies of one film the first one's files count as long as they are there. Twice changes nothing.

    Raises:
        IngestError: the store is full or cannot be written.
    """
    present = beside(film)
    found: dict[tuple[str, bool], _File] = {}
    refused = []
    for path in present:
        try:
            file = _read(path, film)
            if file.key in found:
                raise CuesError(f"{found[file.key].path.name} holds the subtitles in {_name(*file.key)} already")
            found[file.key] = file
        except CuesError as error:
            refused.append(Refusal(path, str(error)))
        except OSError as error:
            refused.append(Refusal(path, f"cannot be read: {error.strerror or error}"))
    with connection.transaction():
        _update(connection, film, master_id, store, found, present)
        rows = connection.execute(_QUERIES["sidecars_of_master"], (master_id,)).fetchall()
    _sweep(store, master_id, {Path(stored).name for *_, stored in rows})
    return Beside(tuple(_name(language, forced) for language, forced, *_ in rows), tuple(refused))


def beside(film: Path) -> list[Path]:
    """The subtitle files that belong to a film by their names; of films `a` and `a.2`, `a.2.srt` is the second's.

    In the order in which they count: those whose names say a language, the plainest first; then those that say none.
    """
    names = [path for path in film.parent.iterdir() if path.name.startswith(f"{film.stem}.") and path.is_file()]
    subtitles = [path for path in names if path.suffix.lower()[1:] in FORMATS]
    longer = [f"{path.stem}." for path in names if path not in subtitles and len(path.stem) > len(film.stem)]
    own = [path for path in subtitles if not path.name.startswith(tuple(longer))]
    words = {path: path.name[len(film.stem) :].count(".") - 1 for path in own}
    return sorted(own, key=lambda path: (not words[path], words[path], path.name))


def named(path: Path, film: Path) -> tuple[str | None, bool]:
    """Language (BCP 47; None where the name has none) and whether it is forced, from a file's name.

    Raises:
        CuesError: a word between the film's name and the suffix is neither.
    """
    language, forced = None, False
    for word in path.name[len(film.stem) + 1 :].split(".")[:-1]:
        tag = named_language(word)
        if word.lower() == "forced":
            forced = True
        elif tag is not None and language in (None, tag):
            language = tag
        elif word.lower() not in _ASIDE:
            raise CuesError(f"{word!r} in its name is no language: call it like {film.stem}.ru.srt")
    return language, forced


def guess_language(text: str) -> str:
    """Russian, Ukrainian or English by their letters and commonest words; 'und' for any other."""
    lower = text.lower()
    if re.search(r"[а-я]", lower):
        return "uk" if re.search(r"[їєґ]", lower) else "ru" if re.search(r"[ыэё]", lower) else "und"
    words = re.findall(r"[a-z']+", lower)
    return "en" if sum(word in _COMMON_ENGLISH for word in words) > max(2, len(words) // 10) else "und"


def _read(path: Path, film: Path) -> _File:
    language, forced = named(path, film)
    if path.stat().st_size > _MOST_BYTES:
        raise CuesError(f"larger than {_MOST_BYTES // 2**20} MiB: too much for subtitles")
    data, form = path.read_bytes(), path.suffix.lower()[1:]
    language = language or guess_language(decode(data))
    return _File(path, data, form, language, forced, read_cues(data, form, language))


def _update(
    connection: psycopg.Connection,
    film: Path,
    master_id: str,
    store: Path,
    found: dict[tuple[str, bool], _File],
    present: list[Path],
) -> None:
    rows = connection.execute(_QUERIES["sidecars_of_master"], (master_id,)).fetchall()
    before = {(language, forced): (sha256, path) for language, forced, sha256, path, _ in rows}
    here, now = {_text(path) for path in present}, {_text(file.path): key for key, file in found.items()}
    for key, (_, path) in list(before.items()):
        gone = path not in here if str(Path(path).parent) == _text(film.parent) else not Path(path).exists()
        if gone or now.get(path, key) != key:
            connection.execute(_QUERIES["drop_sidecar"], (master_id, *key))
            del before[key]
    for key, file in found.items():
        sha256 = hashlib.sha256(file.data).hexdigest()
        known, path = before.get(key, ("", _text(file.path)))
        stored = f"{master_id}.{file.language}{'.forced' if file.forced else ''}.{sha256[:12]}.{file.form}"
        if path != _text(file.path) or (known == sha256 and (store / stored).exists()):
            continue
        _store(store / stored, file)
        counts = len(file.cues.cues), len(file.cues.dropped)
        written = (f"{store.name}/{stored}", sha256, _text(file.path.name), _text(file.path), *counts)
        connection.execute(_QUERIES["put_sidecar"], (master_id, *key, file.form, *written))


def _store(target: Path, file: _File) -> None:
    draft = target.with_name(f".draft-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(file.data)
        sync(draft)
        os.replace(draft, target)
        sync(target.parent)
    except OSError as error:
        raise IngestError(
            f"cannot store {file.path.name} in {target.parent}: {error.strerror or error}; free some space or set "
            "MATINEE_MEDIA_URL to another disk"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def _sweep(store: Path, master_id: str, kept: set[str]) -> None:
    """Remove copies that no row names any more, a week after they came: a package under way may still read them."""
    for path in store.glob(f"{master_id}.*.*"):
        unused = path.suffix[1:] in FORMATS and path.name not in kept
        if unused and time.time() - path.stat().st_mtime > _UNUSED_S:
            path.unlink()


def _name(language: str, forced: bool) -> str:
    return f"{language} forced" if forced else language


def _text(path: Path | str) -> str:
    """A path that can be stored, whatever bytes the file system has in it."""
    return os.fsencode(path).decode(errors="backslashreplace")
