"""What a title that no other source knows is worth to a viewer: what its content makes one expect."""

import numpy as np

from models.interactions import Floats


def expected(total: Floats, by_content: Floats) -> Floats:
    """[n_items] `total` with its NaNs (items that no source knows) filled by the least-squares line over the others.

    The line predicts this viewer's `total` from `by_content` [n_items], so new titles stand among the known ones as
    far as content tells, and in the middle where it tells nothing.
    """
    known = ~np.isnan(total)
    if known.all() or not known.any():
        return np.nan_to_num(total)
    theirs, ours = by_content[known].astype(np.float64), total[known].astype(np.float64)
    spread = float(theirs.var())
    # A line that falls would put first what content says last: then content tells nothing.
    slope = max(float(((theirs - theirs.mean()) * (ours - ours.mean())).mean()) / spread, 0.0) if spread > 0 else 0.0
    line = ours.mean() + slope * (by_content.astype(np.float64) - theirs.mean())
    return np.where(known, total, line).astype(np.float32)
