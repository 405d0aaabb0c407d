"""Teaches the lifting net on the joints of an archive of RHD's layout, and scores it by hand3d's measures.

hand3d scores one hand of each picture; here every hand counts.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from handloom import lift, metrics, perceptron_training
from handloom.data.prepared import PoseSet
from handloom.data.rhd import RhdSource
from handloom.data.signs import strayed
from handloom.data.source import LEFT, RIGHT
from handloom.params import LiftParams
from handloom.perceptron import Perceptron
from handloom.skeleton import FROM_RHD, NUM_KEYPOINTS, WRIST

AUC_MM: Final = {"auc_0_50": (0.0, 50.0), "auc_20_50": (20.0, 50.0)}
"""Ranges of the PCK curve whose area counts: hand3d's lifting table takes the first, its whole system's the second."""
AUC_STEPS: Final = 20


class Hands(NamedTuple):
    """Hands whose joints are known."""

    rows: NDArray[np.int64]
    """(N,) of the pose set."""
    keypoints: NDArray[np.float32]
    """(N, 21, 2) px of the crop."""
    right: NDArray[np.bool_]
    joints: NDArray[np.float32]
    """(N, 21, 3) from the wrist, in units of `lift.UNIT`."""
    unit_mm: NDArray[np.float32]
    """(N,) that unit's length."""


def hands_of(samples: PoseSet, split: str, archive: RhdSource) -> Hands:
    """Give the hands of a split that are the archive's own; crops without a hand have none."""
    own = samples.sources[:] == samples.names.index(archive.name)
    rows = np.flatnonzero(own & ((samples.sides[:] == LEFT) | (samples.sides[:] == RIGHT)))
    order = np.array(FROM_RHD)
    joints = np.empty((len(rows), NUM_KEYPOINTS, 3), np.float32)
    for place, row in enumerate(tqdm(rows, desc="reading joints", unit="hand", leave=False)):
        both = archive.joints(split, int(samples.ids[row])).reshape(2, NUM_KEYPOINTS, 3)
        joints[place] = both[int(samples.sides[row]) - LEFT][order]
    joints -= joints[:, WRIST, None]
    start, end = lift.UNIT
    unit = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    right = samples.sides[:][rows] == RIGHT
    return Hands(rows, samples.keypoints[:][rows], right, joints / unit[:, None, None], unit * 1000)


def train(hands: Hands, params: LiftParams) -> Perceptron:
    """Give a net that lifts these hands' keypoints, which stray anew in each step as a pose net's answers do."""
    rng = np.random.default_rng(params.seed)
    extent = np.ptp(hands.keypoints, axis=1).max(axis=-1)[:, None, None]
    sizes = (lift.INPUTS, params.width, params.width, params.width, lift.OUTPUTS)

    def loss(net: nn.Module, _: int) -> Tensor:
        rows = rng.integers(len(hands.rows), size=params.batch_size)
        points = hands.keypoints[rows] + params.noise * strayed(rng, params.batch_size) * extent[rows]
        shown, turn = lift.upright(points, hands.right[rows])
        true = hands.joints[rows, WRIST + 1 :].copy()
        true[..., :2] = true[..., :2] @ turn.swapaxes(1, 2)
        said = net(torch.from_numpy(shown)).reshape(true.shape)
        apart: Tensor = (said - torch.from_numpy(true)).norm(dim=-1).mean()
        return apart

    steps = round(params.epochs * len(hands.rows) / params.batch_size)
    return perceptron_training.fit(
        sizes, loss, steps, learning_rate=params.learning_rate, seed=params.seed, name="lift"
    )


def scores(net: Perceptron, hands: Hands, said: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Give the errors from true keypoints and sides, and from those that the pose net said of all rows of the set."""
    inputs = {
        "true": (hands.keypoints, hands.right),
        "predicted": (said["keypoints"][hands.rows], said["right"][hands.rows] > 0.5),
    }
    figures: dict[str, float] = {"num_hands": len(hands.rows)}
    for name, (keypoints, right) in inputs.items():
        apart = lift.lifted(keypoints, right, net) - hands.joints
        errors = np.linalg.norm(apart.astype(np.float64), axis=-1) * hands.unit_mm[:, None]
        figures |= {f"{name}_keypoints.{key}": value for key, value in _errors(errors).items()}
    return figures


def _errors(errors_mm: NDArray[np.float64]) -> dict[str, float]:
    """Give the figures of (N, 21) errors; hand3d's median is the mean of each keypoint's own."""
    areas = {
        name: float(metrics.auc_hand3d(errors_mm, np.linspace(*limits, AUC_STEPS)).mean())
        for name, limits in AUC_MM.items()
    }
    median = float(np.median(errors_mm, axis=0).mean())
    return {"error_mean_mm": float(errors_mm.mean()), "error_median_mm": median, **areas}
