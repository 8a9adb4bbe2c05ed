"""EASE: an item-item linear autoencoder in closed form (Steck, WWW 2019), asked with a history that fades."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from models.interactions import Floats, Interactions
from models.recommenders.items import ItemWeights


@dataclass(frozen=True)
class Ease:
    """`penalty`: the ridge term; `decay`: weight of an item of the history per step of age (1: all alike).

    `dropout`: the share of each history that the fit may not rely on, in expectation (EDLAE, Steck, NeurIPS 2020): a
    further ridge of `dropout / (1 - dropout)` times how often an item was taken. 0 is EASE.

    For large catalogues: only the `max_items` items taken most often get weights (memory grows with their square), and
    only the `keep` largest weights of each target item are stored. None: all.
    """

    penalty: float = 500.0
    decay: float = 0.9
    max_items: int | None = None
    keep: int | None = None
    dropout: float = 0.0
    name: str = "ease"

    def fit(self, data: Interactions) -> "ItemWeights":
        taken = data.histories().matrix(data.n_items)
        taken.data[:] = 1.0
        used = np.flatnonzero(_support(taken, self.max_items))
        inverse = _inverse_gram(sp.csr_matrix(taken[:, used]), self.penalty, self.dropout)
        inverse /= -np.diag(inverse)
        np.fill_diagonal(inverse, 0.0)
        if self.keep is None and len(used) == data.n_items:
            return ItemWeights(inverse, self.decay)
        kept = sp.coo_matrix(_strongest(inverse, self.keep))
        every = sp.csr_matrix((kept.data, (used[kept.row], used[kept.col])), shape=(data.n_items, data.n_items))
        return ItemWeights(every, self.decay)


def _support(taken: sp.csr_matrix, limit: int | None) -> NDArray[np.bool_]:
    """The items taken at all, at most the `limit` most taken."""
    counts = np.bincount(taken.indices, minlength=taken.get_shape()[1])
    if limit is None:
        return np.ones(len(counts), dtype=np.bool_)
    chosen = np.zeros(len(counts), dtype=np.bool_)
    chosen[np.argsort(-counts, kind="stable")[:limit]] = True
    return chosen & (counts > 0)


def _inverse_gram(taken: sp.csr_matrix, penalty: float, dropout: float) -> Floats:
    """(X'X + R)^-1, [items, items], R the diagonal of ridge terms; with fewer users than items by way of the users
    (Woodbury's identity)."""
    users, items = len(taken.indptr) - 1, int(taken.get_shape()[1])
    counts = np.bincount(taken.indices, minlength=items)
    ridge = (penalty + dropout / (1 - dropout) * counts).astype(np.float32)
    if users >= items:
        gram = np.asarray((taken.T @ taken).todense(), dtype=np.float32)
        gram[np.diag_indices(items)] += ridge
        return scipy.linalg.inv(gram, overwrite_a=True)
    scaled = sp.csr_matrix(taken @ sp.diags(1 / ridge))
    gram = np.asarray((scaled @ taken.T).todense(), dtype=np.float32)
    gram[np.diag_indices(users)] += 1.0
    inner = scipy.linalg.inv(gram, overwrite_a=True)
    inverse = np.asarray(-(scaled.T @ (scaled.T @ inner).T), dtype=np.float32)
    inverse[np.diag_indices(items)] += 1 / ridge
    return inverse


def _strongest(weights: Floats, keep: int | None) -> Floats:
    """The `keep` largest in absolute value of each column, the others 0."""
    if keep is not None and keep < len(weights):
        size = np.abs(weights)
        weights[size < np.partition(size, -keep, axis=0)[-keep]] = 0.0
    return weights
