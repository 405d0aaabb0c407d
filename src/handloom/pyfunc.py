"""What MLflow serves: encoded pictures in, hands out. MLflow runs this file to load a model; nothing is pickled."""

import io
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from handloom import images
from handloom.errors import DataError
from handloom.inference import MIN_SCORE, HandFinder
from handloom.results import Row, answer


class HandModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """A table with a column `picture` of bytes (PNG, JPEG, ...) -> a row of `results.answer` for each."""

    def load_context(self, context: Any) -> None:
        """Open both nets, float32: `context.artifacts` names their files."""
        self.finder = HandFinder.load(Path(context.artifacts["segment"]).parent)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Row]:
        """Give each picture's hands of at least the score `min_score`; a server answers 400 to what is no picture."""
        min_score = (params or {}).get("min_score", MIN_SCORE)
        try:
            pictures = [images.read(io.BytesIO(content), "picture") for content in model_input["picture"]]
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return [answer(picture, self.finder(picture, min_score)) for picture in pictures]


mlflow.models.set_model(HandModel())
