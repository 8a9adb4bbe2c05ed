"""Transition kNN: what followed the newest items of a history in the histories of others."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from models.interactions import Interactions
from models.recommenders.items import ItemWeights


@dataclass(frozen=True)
class TransitionKnn:
    """An item up to `window` places after another counts 1 / distance; the `last` items of a history are asked.

    What followed an item is divided by how often that item was taken, as a probability would be.
    """

    window: int = 10
    last: int = 10
    name: str = "knn"

    def fit(self, data: Interactions) -> ItemWeights:
        histories = data.histories()
        rows, items = histories.rows, histories.values
        followed = sp.csr_matrix((data.n_items, data.n_items), dtype=np.float32)
        for distance in range(1, self.window + 1):
            together = rows[distance:] == rows[:-distance]
            source, target = items[:-distance][together], items[distance:][together]
            weight = np.full(len(source), 1 / distance, dtype=np.float32)
            followed = followed + sp.csr_matrix((weight, (source, target)), shape=followed.shape)
        taken = np.bincount(items, minlength=data.n_items)
        likely = sp.diags((1 / np.maximum(taken, 1)).astype(np.float32)) @ followed
        return ItemWeights(sp.csr_matrix(likely), decay=None, last=self.last)
