"""What a title is about, as a small dense vector: all that is known of a title that nobody has watched yet.

Three blocks side by side: labels (kind, genres, decade, maturity), names (people by their role, tags, countries) and
text (words and pieces of words of names and synopses). Names and text are hashed, weighted by inverse document
frequency and projected by a truncated singular value decomposition of the catalogue (latent semantic analysis,
Deerwester et al. 1990). Everything learnt from the catalogue stands in the `ContentSpec`; what it has never seen counts
for nothing, so any title can be encoded, and the same title gives the same vector.
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Ints

if TYPE_CHECKING:
    import duckdb

COLUMNS = (
    "kind", "year", "maturity", "genres", "tags", "countries", "people", "roles",
    "title_en", "title_ru", "synopsis_en", "synopsis_ru",
)  # fmt: skip
_ROLES = {"director": 1.0, "creator": 1.0, "writer": 0.7, "actor": 0.6}
_OTHER_ROLE = 0.3
_PIECES = (3, 4)  # lengths of the pieces of words: what inflection leaves of a stem
_PIECE_WEIGHT = 0.4
_BUCKETS = 2**31
_MOST_BUCKETS = 12_000
_WORD = re.compile(r"\w+")
_POWER_STEPS = 3
_LEAST = 1e-6

Tokens = Mapping[str, float]


@dataclass(frozen=True)
class TitleContent:
    """A film or series. `people`: (name, role), the main ones first; `text`: names and synopses in all languages."""

    title_id: str
    kind: str = "film"
    genres: tuple[str, ...] = ()
    people: tuple[tuple[str, str], ...] = ()
    year: int | None = None
    maturity: int = 0
    countries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Projection:
    """`buckets` [k] ascending hashes that are known, `weights` [k] their idf, `basis` [k, dim]."""

    buckets: Ints
    weights: Floats
    basis: Floats

    def __call__(self, tokens: Sequence[Tokens]) -> Floats:
        """[len(tokens), dim], each row of length 1, or 0 where no token is known."""
        made = np.zeros((len(tokens), self.basis.shape[1]), dtype=np.float32)
        for row, told in enumerate(tokens):
            hashes, counts = _hashed(told)
            places = np.searchsorted(self.buckets, hashes)
            known = places < len(self.buckets)
            known[known] = self.buckets[places[known]] == hashes[known]
            places = places[known]
            made[row] = (counts[known] * self.weights[places]) @ self.basis[places]
        return _unit(made)


@dataclass(frozen=True)
class ContentSpec:
    """What encoding has learnt from a catalogue."""

    labels: tuple[str, ...]
    names: Projection
    text: Projection

    @property
    def width(self) -> int:
        return len(self.labels) + self.names.basis.shape[1] + self.text.basis.shape[1]

    @classmethod
    def of(cls, contents: Sequence[TitleContent], *, names: int = 32, text: int = 64) -> "ContentSpec":
        """Learn from these titles; `names`, `text`: widths of the blocks, less where it is small."""
        labels = sorted({label for content in contents for label in _labels(content)})
        return cls(
            tuple(labels),
            _learnt([_names(content) for content in contents], names),
            _learnt([_text(content.text) for content in contents], text),
        )

    def arrays(self) -> dict[str, NDArray]:
        parts = {"names": self.names, "text": self.text}
        return {"labels": np.array(self.labels, dtype=np.str_)} | {
            f"{name}_{key}": getattr(part, key) for name, part in parts.items() for key in _FIELDS
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "ContentSpec":
        names, text = (Projection(*(arrays[f"{name}_{key}"] for key in _FIELDS)) for name in ("names", "text"))
        return cls(tuple(arrays["labels"].tolist()), names, text)


_FIELDS = ("buckets", "weights", "basis")


def encode(contents: Sequence[TitleContent], spec: ContentSpec) -> Floats:
    """[len(contents), spec.width]. Equal titles give equal rows; nothing known of a title gives zeros."""
    place = {label: column for column, label in enumerate(spec.labels)}
    labels = np.zeros((len(contents), len(place)), dtype=np.float32)
    for row, content in enumerate(contents):
        for label, weight in _labels(content).items():
            if label in place:
                labels[row, place[label]] = weight
    names = spec.names([_names(content) for content in contents])
    return np.concatenate([labels, names, spec.text([_text(content.text) for content in contents])], axis=1)


def content_of(title_id: str, row: Mapping[str, Any]) -> TitleContent:
    """From a row of `dim_title_content`, or of PostgreSQL's `export_title`, which has the same `COLUMNS`."""
    texts = (row["title_en"], row["title_ru"], row["synopsis_en"], row["synopsis_ru"])
    return TitleContent(
        title_id,
        row["kind"],
        tuple(row["genres"] or ()),
        tuple(zip(row["people"] or (), row["roles"] or (), strict=True)),
        row["year"],
        row["maturity"],
        tuple(row["countries"] or ()),
        tuple(row["tags"] or ()),
        "\n".join(text for text in texts if text),
    )


def read_contents(connection: "duckdb.DuckDBPyConnection") -> dict[str, TitleContent]:
    """Every film and series of the published marts, attached as `marts`, by item id."""
    query = f"SELECT item_id, {', '.join(COLUMNS)} FROM marts.dim_title_content ORDER BY item_id"  # noqa: S608 - constants
    rows = connection.execute(query).fetchall()
    return {item: content_of(item, dict(zip(COLUMNS, row, strict=True))) for item, *row in rows}


def normal(text: str) -> str:
    """One spelling for one word: case folded, compatibility forms united, ё as е."""
    return unicodedata.normalize("NFKC", text).casefold().replace("ё", "е")


def _labels(content: TitleContent) -> dict[str, float]:
    genres = {normal(genre) for genre in content.genres}
    labels = {f"genre:{genre}": float(1 / np.sqrt(len(genres))) for genre in genres}
    labels |= {f"kind:{content.kind}": 0.5, f"maturity:{content.maturity}": 0.5}
    return labels if content.year is None else labels | {f"decade:{content.year // 10 * 10}": 0.5}


def _names(content: TitleContent) -> Tokens:
    tokens = {f"tag:{normal(tag)}": 1.0 for tag in content.tags}
    tokens |= {f"country:{country}": 0.5 for country in content.countries}
    for name, role in content.people:
        token = f"person:{normal(name)}"
        tokens[token] = max(tokens.get(token, 0.0), _ROLES.get(normal(role), _OTHER_ROLE))
    return tokens


def _text(text: str) -> Tokens:
    """Words and, for less, the pieces of the longer ones; often is more, but not in proportion."""
    tokens: dict[str, float] = {}
    for word, count in Counter(_WORD.findall(normal(text))).items():
        tokens[word] = 1 + float(np.log(count))
        for piece in _pieces(word):
            tokens[piece] = tokens.get(piece, 0.0) + _PIECE_WEIGHT
    return tokens


@lru_cache(maxsize=100_000)
def _pieces(word: str) -> tuple[str, ...]:
    if len(word) < max(_PIECES):
        return ()
    marked = f"<{word}>"
    return tuple(f"~{marked[i : i + size]}" for size in _PIECES for i in range(len(marked) - size + 1))


@lru_cache(maxsize=200_000)
def _bucket(token: str) -> int:
    return zlib.crc32(token.encode()) % _BUCKETS


def _hashed(tokens: Tokens) -> tuple[Ints, Floats]:
    hashes = np.fromiter(map(_bucket, tokens), dtype=np.int64, count=len(tokens))
    return hashes, np.fromiter(tokens.values(), dtype=np.float32, count=len(tokens))


def _learnt(tokens: Sequence[Tokens], dim: int) -> Projection:
    """Buckets that at least two titles share (the most common ones), their idf, and the directions that tell most."""
    import scipy.sparse as sp

    pairs = [_hashed(told) for told in tokens]
    found, titles = np.unique(_joined([np.unique(hashes) for hashes, _ in pairs], np.int64), return_counts=True)
    order = np.lexsort((found, -titles))[:_MOST_BUCKETS]
    kept = np.sort(order[titles[order] > 1])
    buckets = found[kept]
    weights = (np.log((1 + len(tokens)) / (1 + titles[kept])) + 1).astype(np.float32)
    if not len(buckets):
        return Projection(buckets, weights, np.zeros((0, 0), dtype=np.float32))
    rows = np.repeat(np.arange(len(pairs)), [len(hashes) for hashes, _ in pairs])
    hashes, counts = _joined([h for h, _ in pairs], np.int64), _joined([c for _, c in pairs], np.float32)
    places = np.minimum(np.searchsorted(buckets, hashes), len(buckets) - 1)
    known = buckets[places] == hashes
    data = counts[known] * weights[places[known]]
    matrix = sp.csr_matrix((data, (rows[known], places[known])), shape=(len(pairs), len(buckets)))
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    scaled = sp.diags_array(1 / np.maximum(lengths, 1e-9)) @ matrix
    return Projection(buckets, weights, _directions(sp.csr_matrix(scaled), dim))


def _directions(matrix: Any, dim: int) -> Floats:
    """[columns, dim] the leading right singular vectors of a sparse matrix, by power iteration (Halko et al. 2011)."""
    dim = min(dim, *matrix.shape)
    start = np.random.default_rng(0).standard_normal((matrix.shape[1], min(dim + 8, *matrix.shape)), dtype=np.float32)
    rows = np.linalg.qr(matrix @ start)[0]
    for _ in range(_POWER_STEPS):
        rows = np.linalg.qr(matrix @ (matrix.T @ rows))[0]
    within = matrix.T @ rows  # [columns, few]: of its few right directions those of the matrix are made
    values, turns = np.linalg.eigh(within.T.astype(np.float64) @ within)
    leading = np.argsort(-values)[:dim]
    leading = leading[values[leading] > _LEAST * values.max()]  # below is rounding alone
    basis = within @ turns[:, leading] / np.sqrt(values[leading])
    # The sign of a direction is free: fixed, so that equal catalogues give equal vectors.
    return (basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(len(leading))])).astype(np.float32)


def _joined(parts: Iterable[NDArray], kind: type) -> NDArray:
    listed = list(parts)
    return np.concatenate(listed) if listed else np.zeros(0, dtype=kind)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
