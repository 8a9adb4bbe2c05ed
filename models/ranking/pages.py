"""Logged impressions as the pages on which they stood: which row came where, and what was played of it."""

import polars as pl

from features.views import EVENT_TIMESTAMP
from models.ranking.frame import row_kind
from models.ranking.rows import row_values


def paged(impressions: pl.DataFrame) -> pl.DataFrame:
    """`features.training_set` with `page` (numbered in order of time) and `vertical` (the row's place on it, 0 first).

    What does not say in which row and where it stood is left out.

    A page is one answer of the API (`request_id`), else a visit (`session_id`), else what one viewer saw at one moment;
    its rows stand in the order in which the client numbered their impressions (`seq`; without it, in order of time).
    """
    moment = pl.col(EVENT_TIMESTAMP).dt.epoch("us").cast(pl.String)
    names = [name for name in ("request_id", "session_id") if name in impressions.columns]
    key = pl.concat_str("profile_key", pl.coalesce(*names, moment), separator="\x1f")
    order = "seq" if "seq" in impressions.columns else EVENT_TIMESTAMP
    placed = impressions.drop_nulls(["surface_row", "surface_position"])
    keyed = placed.with_columns(page_key=key, opened=pl.col(EVENT_TIMESTAMP).min().over(key))
    ordered = keyed.sort("opened", "page_key", order, "surface_position", maintain_order=True)
    first = pl.col(order).min().over("page_key", "surface_row")
    return ordered.with_columns(
        page=pl.col("page_key").rle_id().cast(pl.Int64),
        vertical=(first.rank("dense").over("page_key") - 1).cast(pl.Float32),
    ).drop("page_key", "opened")


def learned_rows(impressions: pl.DataFrame) -> dict[str, float]:
    """The worth of each kind of row (`rows.row_values`) from `features.training_set`; {} where nothing can be said."""
    if impressions.is_empty():
        return {}
    rows = paged(impressions).group_by("page", "surface_row").agg(pl.col("vertical").first(), pl.col("is_played").max())
    kinds = [row_kind(row) for row in rows["surface_row"].to_list()]
    return row_values(kinds, rows["vertical"].to_numpy(), rows["is_played"].to_numpy())
