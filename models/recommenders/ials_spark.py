"""iALS by Spark MLlib, for interactions that outgrow one machine; asked like the one that `implicit` fits.

The same objective in other words. A taken item weighs `confidence` against 1 of every other: MLlib writes 1 + alpha.
The penalty of MLlib grows with what a viewer or an item has (ALS-WR, Zhou et al. 2008), that of `Ials` does not. Only
the product of both sides' penalties matters, as factors may be scaled against each other, so it is `penalty` over the
geometric mean of what viewers and items have on average: the same model where all have equally much, else a near one.
Its viewers are folded in with its own kind of penalty.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matinee.settings import Settings
from models.interactions import Interactions
from models.recommenders.ials import IalsFitted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame  # pyright: ignore[reportMissingImports] - an extra

_CHECKPOINT = 3  # iterations


@dataclass(frozen=True)
class IalsSpark:
    """Parameters as of `Ials`; `blocks`: into how many parts viewers and items are divided.

    It runs where MATINEE_SPARK_URL says, in this process by default.
    """

    settings: Settings
    factors: int = 64
    penalty: float = 20.0
    confidence: float = 4.0
    iterations: int = 15
    seed: int = 0
    blocks: int = 4
    name: str = "ials_spark"

    def fit(self, data: Interactions) -> IalsFitted:
        """Fit to what this machine holds.

        Raises:
            WarehouseError: PySpark is not installed.
        """
        import pyarrow as pa

        from warehouse.spark import session

        folder = self.settings.lake.root / "ials"
        with session(self.settings, folder) as spark:
            taken = spark.createDataFrame(pa.table({"user": data.users, "item": data.items}))
            fitted = self.fit_frame(taken, data.n_items, folder / "checkpoints")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return fitted

    def fit_frame(self, taken: "DataFrame", n_items: int, checkpoints: Path) -> IalsFitted:
        """Fit to columns `user` and `item` (whole numbers from 0); only the items' factors come to this machine.

        `checkpoints`: a folder that all of the cluster sees. Without, a long plan of iterations overflows the stack.
        """
        from pyspark.ml.recommendation import ALS  # pyright: ignore[reportMissingImports] - an extra
        from pyspark.sql import functions  # pyright: ignore[reportMissingImports] - an extra

        taken.sparkSession.sparkContext.setCheckpointDir(str(checkpoints))
        pairs = taken.select("user", "item").distinct().withColumn("taken", functions.lit(1.0)).cache()
        count, users, items = pairs.agg(
            functions.count("*"), functions.countDistinct("user"), functions.countDistinct("item")
        ).first()
        share = self.penalty / float(np.sqrt(count / max(users, 1) * count / max(items, 1)) or 1.0)
        rank = min(self.factors, max(1, min(users, items) - 1))
        model = ALS(
            rank=rank,
            regParam=share,
            alpha=self.confidence - 1,
            maxIter=self.iterations,
            implicitPrefs=True,
            userCol="user",
            itemCol="item",
            ratingCol="taken",
            numUserBlocks=self.blocks,
            numItemBlocks=self.blocks,
            checkpointInterval=_CHECKPOINT,
            coldStartStrategy="drop",
            seed=self.seed,
        ).fit(pairs)
        found = model.itemFactors.toArrow()
        # An item that nobody took has no factors: it scores 0.
        factors = np.zeros((n_items, rank), dtype=np.float32)
        factors[found["id"].to_numpy()] = np.array(found["features"].to_pylist(), dtype=np.float32)
        return IalsFitted(factors, share, self.confidence, by_length=True)
