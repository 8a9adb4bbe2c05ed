"""From scores to served lists: what is shown, from which source, and why. Pure; publishing is apart."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.evaluation.metrics import top_items
from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.base import Fitted
from models.recommenders.blend import Blend
from models.recommenders.popularity import Popularity

LIMIT = 100
SIMILAR = 20
_TREND = 1.5  # a title trends when its share of the last week is this much above its share of the month
_CO_OCCURRENCE_LAST = 100  # newest titles of a history that count as seen together
_SHRINKAGE = 5.0


@runtime_checkable
class Explains(Protocol):
    def contributions(self, history: Ints, items: Ints) -> Floats: ...


@dataclass(frozen=True)
class Pick:
    """One place of a list: `item` is a row of the items, `because` the item of the history behind it, if any."""

    item: int
    score: float
    source: str
    reason: str
    because: int | None = None

    def blob(self, titles: list[str]) -> dict[str, Any]:
        params = {} if self.because is None else {"title_id": titles[self.because]}
        return {
            "title_id": titles[self.item],
            "score": round(self.score, 5),
            "source": self.source,
            "reason": {"code": self.reason, "params": params},
        }


def popular_picks(
    data: Interactions, fallback: str, offered: NDArray[np.bool_], created: Floats | NDArray
) -> list[Pick]:
    """What everybody watches, the newest titles first among equals; what rises says so."""
    days = int(fallback.removeprefix("popularity_").removesuffix("d"))
    counts = Popularity(days).fit(data).counts
    week, month = (Popularity(span).fit(data).counts.astype(np.float64) for span in (7, 30))
    rising = week / max(week.sum(), 1e-9) > _TREND * month / max(month.sum(), 1e-9)
    order = np.lexsort((np.arange(len(counts)), -np.asarray(created), -counts))
    best = [int(item) for item in order if offered[item]][:LIMIT]
    return [
        Pick(item, float(counts[item]), fallback, "trending" if rising[item] and week[item] >= 2 else "popular_now")
        for item in best
    ]


def personal_picks(
    model: Fitted, name: str, histories: Ragged, excluded: Ragged, offered: NDArray[np.bool_], popular: list[Pick]
) -> list[list[Pick]]:
    """Each viewer's list: the model's best titles with their source and reason, then popular ones up to the limit.

    `excluded` are items not to be shown to that viewer. Viewers whose history the model does not know get the popular
    list without those.
    """
    shares = model.shares(histories) if isinstance(model, Blend) else {name: model.score(histories)}
    parts = model.parts if isinstance(model, Blend) else {name: model}
    names = list(shares)
    stack = np.stack([shares[part] for part in names])  # [parts, rows, items]
    total = stack.sum(axis=0, dtype=np.float32)
    known = total.max(axis=1) > total.min(axis=1)
    total[:, ~offered] = -np.inf
    total[excluded.rows, excluded.values] = -np.inf
    lists = []
    for row, best in enumerate(top_items(total, LIMIT)):
        items = best[best >= 0] if known[row] and len(histories[row]) else best[:0]
        sources = [names[part] for part in stack[:, row, items].argmax(axis=0)]
        because = _because(parts, histories[row], items, sources)
        picks = [
            _explained(int(item), float(total[row, item]), source, cause)
            for item, source, cause in zip(items, sources, because, strict=True)
        ]
        lists.append(filled(picks, popular, set(excluded[row].tolist())))
    return lists


def filled(picks: list[Pick], popular: list[Pick], excluded: set[int]) -> list[Pick]:
    """The picks, then popular titles that are neither among them nor excluded."""
    taken = excluded | {pick.item for pick in picks}
    return [*picks, *(pick for pick in popular if pick.item not in taken)][:LIMIT]


def similar_picks(
    together: sp.csr_matrix, tags: sp.csr_matrix, offered: NDArray[np.bool_], items: Ints
) -> list[list[Pick]]:
    """For each of `items`: titles taken by the same viewers (shrunk cosine), then those of the same genres.

    `together` and `tags` are made by `taken_together` and `genre_matrix`.
    """
    counts = np.maximum(together.diagonal(), 1.0)
    sizes = np.maximum(np.asarray(tags.sum(axis=1)).ravel(), 1.0)
    both = together[items].toarray()
    cosine = both / np.sqrt(counts[items, None] * counts[None]) * (both / (both + _SHRINKAGE))
    shared = (tags[items] @ tags.T).toarray()
    jaccard = shared / (sizes[items, None] + sizes[None] - shared)
    scores = (cosine + 0.05 * jaccard).astype(np.float32)
    scores[:, ~offered] = -np.inf
    scores[np.arange(len(items)), items] = -np.inf
    lists = []
    for row, best in enumerate(top_items(scores, SIMILAR)):
        found = [int(item) for item in best if item >= 0 and scores[row, item] > 0]
        lists.append(
            [
                Pick(
                    item,
                    float(scores[row, item]),
                    "taken_together" if cosine[row, item] > 0 else "same_genres",
                    "because_you_watched",
                    int(items[row]),
                )
                for item in found
            ]
        )
    return lists


def _explained(item: int, score: float, source: str, because: int | None) -> Pick:
    if because is None or source.startswith("popularity"):
        return Pick(item, score, source, "popular_now")
    return Pick(item, score, source, "because_you_watched", because)


def _because(parts: dict[str, Fitted], history: Ints, items: Ints, sources: list[str]) -> list[int | None]:
    """The item of the history that adds most to each item's score in the part that put it there: exact, not guessed."""
    causes: dict[str, list[int | None]] = {}
    for source in set(sources):
        part = parts[source]
        if not isinstance(part, Explains) or not len(history):
            causes[source] = [None] * len(items)
            continue
        shares = part.contributions(history, items)
        # A title that was begun may be recommended again, but never because of itself.
        shares = np.where(history[:, None] == items[None, :], 0.0, shares)
        best = shares.argmax(axis=0)
        gained = shares[best, np.arange(len(items))] > 0
        causes[source] = [int(history[row]) if gain else None for row, gain in zip(best, gained, strict=True)]
    return [causes[source][place] for place, source in enumerate(sources)]


def taken_together(data: Interactions) -> sp.csr_matrix:
    """[n_items, n_items] how many viewers took both; the diagonal, how many took the item."""
    taken = data.histories().newest(_CO_OCCURRENCE_LAST).matrix(data.n_items)
    return sp.csr_matrix(taken.T @ taken)


def genre_matrix(genres: list[list[str]]) -> sp.csr_matrix:
    """[n_items, genres] 1 where the item is of the genre."""
    number = {name: column for column, name in enumerate(sorted({name for row in genres for name in row}))}
    return Ragged.of([[number[name] for name in dict.fromkeys(row)] for row in genres]).matrix(max(1, len(number)))
