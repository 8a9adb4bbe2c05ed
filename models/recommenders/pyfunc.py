"""The registered model as an MLflow pyfunc, for notebooks.

`mlflow.pyfunc.load_model("models:/matinee-recommender@champion").predict(pandas.DataFrame({"history": [["a", "b"]]}))`.
Serving does not come this way: it reads lists that `models.recommenders.serve` made from the same arrays.
"""

from pathlib import Path
from typing import Any

from mlflow.pyfunc.model import PythonModel

from models.evaluation.metrics import top_items
from models.recommenders.stored import Stored


class HistoryRecommender(PythonModel):
    """In: a frame with a column `history` of title ids, oldest first. Out: the ten best new title ids of each row."""

    def load_context(self, context: Any) -> None:
        self.stored = Stored.load(Path(context.artifacts["model"]))

    # no type hints: MLflow would make its own rules of them, and the signature is given when the model is logged
    # its base class says that nothing comes back
    def predict(self, context, model_input, params=None):  # noqa: ARG002 # pyright: ignore[reportIncompatibleMethodOverride]
        histories = self.stored.histories([list(row) for row in model_input["history"]])
        scores = self.stored.score(histories)
        scores[histories.rows, histories.values] = float("-inf")
        return [[self.stored.items[item] for item in row if item >= 0] for row in top_items(scores, 10)]
