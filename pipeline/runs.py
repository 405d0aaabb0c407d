"""What stages without a training tell MLflow: a run each, with figures, pictures and the model of both nets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from handloom import files
from handloom.tracking import flatten
from pipeline import layout


def track_evaluation(scores: dict[str, dict[str, Any]], params: dict[str, Any]) -> None:
    """Give the evaluation a run of its own, with the headline figures and the pictures."""
    with _run("evaluate", params) as run:
        run.metrics(flatten(scores), 0)
        for figure in sorted(layout.FIGURES.glob("*.png")):
            run.file(figure, "figures")


def track_export(finder: Any, pictures: Any, figures: dict[str, Any], params: dict[str, Any]) -> None:
    """Register both nets as one model of encoded pictures, with a picture that has hands as its example."""
    from handloom import images
    from handloom.inference import MIN_SCORE
    from handloom.results import answer

    picture = next((each for each in pictures if finder(each, min_score=0)), pictures[0])
    asked = pd.DataFrame({"picture": [images.encode_png(picture)]})
    nets = {net: layout.ONNX / f"{net}.onnx" for net in ("segment", "pose")}
    with _run("export", params) as run:
        run.metrics(flatten(figures), 0)
        run.model(nets, asked, {"min_score": MIN_SCORE}, [answer(picture, finder(picture, min_score=0))])


@contextmanager
def _run(stage: str, params: dict[str, Any]) -> Iterator[Any]:
    """Open a stage's run, which says what it read."""
    from handloom import checkpoint, tracking

    deps = {str(path): files.dvc_hash(path) for path in layout.deps(stage)}
    key = checkpoint.key_of(stage, params, deps)
    tags = {f"dvc.dep.{path}": md5 for path, md5 in deps.items()}
    with tracking.run(stage, key, {stage: params}, tags) as run:
        yield run
