"""Do the ways to the same nets say the same? Trained and exported nets, the one file, and the registered model."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from handloom import images
from handloom.errors import DataError
from handloom.images import Picture
from handloom.params import Params
from handloom.reporting import reported
from pipeline import layout
from pipeline.sources import opened

NEAR_PX: Final = 0.5


@dataclass(frozen=True)
class Said:
    """What one way says of a picture."""

    keypoints: NDArray[np.floating]
    """(N, 21, 2) px."""
    mask: NDArray[np.bool_]
    """Hand against background: (H, W) of the picture, or (S, S) of the picture padded to a square."""


Way = Callable[[Picture], Said]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--count", default=200, show_default=True, type=click.IntRange(1), help="Pictures of the test split.")
def agree(count: int) -> None:
    """Compare what every way to models/ and onnx/ says of test pictures with what the trained nets say in torch."""
    from handloom.inference import HandFinder

    finder = HandFinder.load(layout.MODELS)
    first = _finder(finder)
    ways = {
        "exported nets": (first, _finder(HandFinder.load(layout.ONNX))),
        "one file": (_finder(finder, of_the_net=True), _one_file()),
        "registered model": (first, _registered()),
        "exported nets, int8": (first, _finder(HandFinder.load(layout.ONNX, int8=True))),
    }
    source, *_ = opened(Params.load(layout.PARAMS))
    pictures = [source.picture("evaluation", sample) for sample in source.ids("evaluation")[:count]]
    for name, (reference, way) in ways.items():
        _compare(name, [(reference(p), way(p)) for p in tqdm(pictures, name, unit="picture", leave=False)])


def _compare(name: str, said: list[tuple[Said, Said]]) -> None:
    same = [pair for pair in said if len(pair[0].keypoints) == len(pair[1].keypoints)]
    if not any(len(a.keypoints) for a, _ in same):
        raise DataError(f"{name}: must see a hand in some picture, got none; compare other pictures or nets")
    apart = np.concatenate([np.linalg.norm(a.keypoints - b.keypoints, axis=-1).ravel() for a, b in same])
    pixels = np.mean([(a.mask != b.mask).mean() for a, b in said])
    click.echo(
        f"{name:20} hands as many in {len(same)} of {len(said)} pictures; keypoints within {NEAR_PX} px "
        f"{(apart < NEAR_PX).mean():.3%} of {len(apart):,}, median {np.median(apart):.5f}; "
        f"mask pixels apart {pixels:.4%}"
    )


def _finder(finder: Any, *, of_the_net: bool = False) -> Way:
    def way(picture: Picture) -> Said:
        hands = finder(picture)
        mask = np.zeros(picture.shape[:2], bool)
        if of_the_net:
            mask = np.zeros((finder.size, finder.size), bool)
        for hand in hands:
            mask |= hand.regions.labels == hand.label if of_the_net else hand.mask
        return Said(np.array([hand.keypoints_px for hand in hands]).reshape(-1, 21, 2), mask)

    return way


def _one_file() -> Way:
    import onnxruntime

    from handloom.inference import MIN_SCORE
    from handloom.whole import Hands

    session = onnxruntime.InferenceSession(str(layout.ONNX / "hands.onnx"), providers=["CPUExecutionProvider"])

    def way(picture: Picture) -> Said:
        said = Hands(*session.run(None, {"picture": picture, "min_score": np.array(MIN_SCORE, np.float32)}))
        return Said(np.asarray(said.keypoints)[..., :2], np.isin(said.labels, said.numbers))

    return way


def _registered() -> Way:
    import mlflow

    from handloom import tracking

    mlflow.set_tracking_uri(tracking.store())
    model = mlflow.pyfunc.load_model(f"models:/{tracking.MODEL}@{tracking.ALIAS}")

    def way(picture: Picture) -> Said:
        (row,) = model.predict(pd.DataFrame({"picture": [images.encode_png(picture)]}))
        points = np.array([hand["keypoints"] for hand in row["hands"]], np.float32).reshape(-1, 21, 3)
        with Image.open(io.BytesIO(base64.b64decode(row["mask"]))) as mask:
            return Said(points[..., :2], np.asarray(mask) > 0)

    return way


def main() -> None:
    """Show a mistake of the user as one line and an exit code."""
    with reported():
        agree(prog_name="python -m pipeline.agree")


if __name__ == "__main__":
    main()
