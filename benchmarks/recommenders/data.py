"""MovieLens-1M as the protocols want it. It may not be redistributed: it is read from `$MATINEE_SHARED/data/ml-1m`."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.interactions import Interactions


def sasrec_order(folder: Path) -> Interactions:
    """The SASRec file: users and items from 1, chronological for each user; its rows' order stands for time."""
    with gzip.open(folder / "ml-1m_sas.txt.gz") as file:
        pairs = np.loadtxt(file, dtype=np.int64) - 1
    users, items = int(pairs[:, 0].max()) + 1, int(pairs[:, 1].max()) + 1
    return Interactions(pairs[:, 0], pairs[:, 1], np.arange(len(pairs), dtype=np.float64), users, items)


def with_times(folder: Path) -> Interactions:
    """The same interactions (items with five or more), with their seconds; exact from the 0.8 quantile on.

    29 % of the seconds (ratings below 4 before that) are only known to lie between those of the neighbours of the same
    user. Here they are those of the neighbour before.
    """
    return _counted(_ordered(folder))


def with_spread_times(folder: Path) -> Interactions:
    """The same, with the unknown seconds spread evenly between the neighbours: no false equal seconds.

    5,241 rows have only an upper bound, which is taken for their second; none of them is a target.
    """
    known, user = pl.col("ts_width").fill_null(0) == 0, "user_id"
    later = pl.when(known).then(pl.col("ts")).fill_null(strategy="backward").over(user)
    width = pl.min_horizontal(pl.col("ts") + pl.col("ts_width"), later).min().over(user, "ts", known) - pl.col("ts")
    share = pl.int_range(1, pl.len() + 1).over(user, "ts", known) / (pl.len().over(user, "ts", known) + 1)
    spread = (pl.col("ts") + (width * share).floor()).cum_max().over(user)
    return _counted(_ordered(folder).with_columns(pl.when(known).then(pl.col("ts")).otherwise(spread).alias("ts")))


def _ordered(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "interactions.parquet").drop_nulls("sas_pos").sort("user_id", "sas_pos")


def liked(folder: Path) -> Interactions:
    """Ratings of 4 and 5, of all items."""
    return _counted(pl.read_parquet(folder / "interactions.parquet").filter(pl.col("rating") >= 4).sort("ts"))


def sasrec_items(folder: Path) -> NDArray[np.int64]:
    """[items] of each item of `with_times` its number in `sasrec_order`."""
    known = np.loadtxt(folder / "sas_to_original_items.txt", dtype=np.int64)
    return known[np.argsort(known[:, 1]), 0] - 1


def _counted(frame: pl.DataFrame) -> Interactions:
    users, items = (frame[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in ("user_id", "movie_id"))
    return Interactions.sorted(users, items, frame["ts"].to_numpy(), int(users.max()) + 1, int(items.max()) + 1)
