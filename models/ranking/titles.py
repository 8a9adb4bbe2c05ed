"""What serves of the titles' features: the same point-in-time join as in training, asked for one moment."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from numpy.typing import ArrayLike

from features.views import EVENT_TIMESTAMP, TITLE, VIEWS
from models.ranking.frame import TITLE_FEATURES, TitleTable


def title_table(
    marts: Path, items: Sequence[str], created: ArrayLike, genres: Sequence[Sequence[str]], at: datetime
) -> TitleTable:
    """The table of these items (films and series) as known `at` a moment, from published `feat_<view>.parquet`.

    Raises:
        FeatureError: a mart is missing, or `at` has no time zone.
    """
    from features.asof import asof_join

    asked = pl.DataFrame({TITLE.join_key: list(items)}, schema={TITLE.join_key: pl.String})
    asked = asked.with_columns(pl.lit(at).alias(EVENT_TIMESTAMP))
    known = asof_join(asked, marts, [view for view in VIEWS if view.entity == TITLE])
    columns = {name: known[column].cast(pl.Float32).to_numpy() for name, column in TITLE_FEATURES.items()}
    return TitleTable.of(columns, created, genres)
