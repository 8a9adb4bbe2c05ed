"""The registered model as an MLflow pyfunc, for notebooks.

`mlflow.pyfunc.load_model("models:/matinee-recommender@champion").predict(pandas.DataFrame({"history": [["a", "b"]]}))`.
Serving does not come this way: it reads the same files, exported by `models.recommenders.export`.
"""

from pathlib import Path
from typing import Any

from mlflow.pyfunc.model import PythonModel

from models.recommenders.system import Asked, System


class HistoryRecommender(PythonModel):
    """In: a frame with a column `history` of title ids, oldest first. Out: the ten best new title ids of each row."""

    def load_context(self, context: Any) -> None:
        self.system = System.load(Path(context.artifacts["model"]))

    # no type hints: MLflow would make its own rules of them, and the signature is given when the model is logged
    # its base class says that nothing comes back
    def predict(self, context, model_input, params=None):  # noqa: ARG002 # pyright: ignore[reportIncompatibleMethodOverride]
        return [self._best(tuple(row)) for row in model_input["history"]]

    def _best(self, history: tuple[str, ...]) -> list[str]:
        unseen = self.system.mask(self.system.items) & ~self.system.mask(history)
        asked = Asked(history, now=self.system.about.fitted_until)
        return [pick.title_id for pick in self.system.rank(asked, unseen, 10)]
