"""From 21 keypoints and left or right to their places in space, on numpy alone.

Zimmermann and Brox 2017 lift what their pose net says; here a small net lifts keypoints that are mirrored into a right
hand's, turned upright and brought to one size first, and what it says is turned and mirrored back. How large a hand is
and how far off, no single picture tells: lengths are in bones of this hand, and the wrist is the origin.
"""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.perceptron import Perceptron
from handloom.skeleton import MIDDLE_MCP, NUM_KEYPOINTS, WRIST

UNIT: Final = (MIDDLE_MCP, MIDDLE_MCP + 1)
"""The bone whose length is 1, the middle finger's first; RHD's own unit."""
BUNDLED: Final = Path(__file__).parent / "weights" / "lift.safetensors"
INPUTS: Final = 2 * (NUM_KEYPOINTS - 1)
OUTPUTS: Final = 3 * (NUM_KEYPOINTS - 1)

Floats = NDArray[np.floating]


def upright(keypoints: Floats, right: NDArray[np.bool_]) -> tuple[NDArray[np.float32], Floats]:
    """Give keypoints (N, 21, 2), y down, as the net sees them, (N, INPUTS), and what brings them there, (N, 2, 2).

    `right` (N,): a left hand's keypoints are mirrored. The wrist is the origin, the middle finger's base above it.
    """
    points = (keypoints - keypoints[:, WRIST, None]).astype(np.float64)
    size = np.sqrt((points**2).sum(axis=-1).mean(axis=-1))
    up = points[:, MIDDLE_MCP] * np.where(right, 1.0, -1.0)[:, None] ** [1, 0]
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    up = np.where(length > 0, up / np.maximum(length, 1e-9), [0.0, -1.0])
    turn = np.stack([np.stack([-up[:, 1], up[:, 0]], -1), np.stack([-up[:, 0], -up[:, 1]], -1)], axis=1)
    turn[:, :, 0] *= np.where(right, 1.0, -1.0)[:, None]
    shown = points @ turn.swapaxes(1, 2) / np.maximum(size, 1e-9)[:, None, None]
    return shown[:, WRIST + 1 :].reshape(len(points), -1).astype(np.float32), turn


def lifted(keypoints: Floats, right: NDArray[np.bool_], net: Perceptron | None = None) -> NDArray[np.float32]:
    """Give (N, 21, 3) of hands' keypoints (N, 21, 2): x right, y down, z away, from the wrist, in lengths of `UNIT`."""
    shown, turn = upright(keypoints, right)
    said = (net or bundled())(shown).reshape(-1, NUM_KEYPOINTS - 1, 3).astype(np.float64)
    said[..., :2] = said[..., :2] @ turn
    return np.concatenate([np.zeros((len(said), 1, 3)), said], axis=1).astype(np.float32)


@cache
def bundled() -> Perceptron:
    """Give the net that comes with the package."""
    return read(BUNDLED)


def read(path: Path) -> Perceptron:
    """Read a lifting net, without layers where `lift.enabled` is false; raises CheckpointError where it is none."""
    return Perceptron.read(path, INPUTS, OUTPUTS, "lift", may_be_empty=True)
