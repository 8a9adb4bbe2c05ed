"""Which titles may come out for whom, when a part of time begins that a model is judged on."""

import numpy as np
from numpy.typing import NDArray

from models.evaluation.splits import Task
from models.recommenders.marts import Marts
from models.recommenders.segments import KIDS_MATURITY

RULES = f"known when the fold began, or not for children's profiles, which are shown titles up to {KIDS_MATURITY}"


def allowed(marts: Marts, task: Task, start: float) -> NDArray[np.bool_]:
    """[rows, n_items] titles that were made, or taken by anybody, before `start` (seconds) and suit the row's profile.

    What licences and regions allowed at that time is not kept, so it is not judged.
    """
    first = np.full(len(marts.items), np.inf)
    np.minimum.at(first, marts.data.items, marts.data.times)
    known = np.minimum(first, marts.created) < start
    for_kids = np.array([content.maturity <= KIDS_MATURITY for content in marts.content], dtype=np.bool_)
    return known & (for_kids | ~marts.kids[task.users][:, None])
