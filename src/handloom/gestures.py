"""From 21 keypoints to the name of a gesture: of any rotation, scale and hand, on numpy alone.

A small net on keypoints that are turned upright and brought to one size here, so that it need not learn that. It is not
told left from right, of which the pose net may be wrong, and is taught both, on rendered poses, which have names
(`data/signs`).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handloom.perceptron import Floats, Perceptron
from handloom.skeleton import MIDDLE_MCP, NUM_KEYPOINTS, WRIST

NAMES: Final = (
    "none", "fist", "open_palm", "point", "victory", "three", "four", "thumb_up", "thumb_down", "ok", "call", "rock",
)  # fmt: skip
"""`none` is any other pose."""
NUMBERS: Final = {"point": 1, "victory": 2, "three": 3, "four": 4, "open_palm": 5}
"""What a gesture counts, where it does."""
BUNDLED: Final = Path(__file__).parent / "weights" / "gestures.safetensors"

_TIPS, _BASES = np.arange(4, 21, 4), np.arange(1, 21, 4)
_THUMB: Final = (2, 4)

INPUTS: Final = 58


class Gesture(NamedTuple):
    """What a hand says, and how sure that is, 0 to 1."""

    name: str
    confidence: float


def features(keypoints: NDArray[np.floating]) -> Floats:
    """Give (N, INPUTS) of keypoints (N, 21, 2), y down.

    The keypoints upright and of one size; how the hand and its thumb point in the picture,
    which tells up from down; distances that tell bent from stretched fingers.
    """
    points = (keypoints - keypoints[:, WRIST, None]).astype(np.float64)
    size = np.sqrt((points**2).sum(axis=-1).mean(axis=-1))
    points /= np.maximum(size, 1e-6)[:, None, None]
    up = points[:, MIDDLE_MCP]
    up = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-6)
    thumb = points[:, _THUMB[1]] - points[:, _THUMB[0]]
    thumb = thumb / np.maximum(np.linalg.norm(thumb, axis=-1, keepdims=True), 1e-6)
    # the turn that takes `up` to (0, -1)
    turn = np.stack([np.stack([-up[:, 1], up[:, 0]], -1), np.stack([-up[:, 0], -up[:, 1]], -1)], axis=1)
    upright = points @ turn.transpose(0, 2, 1)
    tips, bases = points[:, _TIPS], points[:, _BASES]
    reach = np.linalg.norm(tips, axis=-1), np.linalg.norm(tips - bases, axis=-1)
    pinch = np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=-1)
    return np.concatenate(
        [upright[:, 1:].reshape(len(points), 2 * (NUM_KEYPOINTS - 1)), up, thumb, *reach, pinch], axis=1
    ).astype(np.float32)


def read(path: Path) -> Perceptron:
    """Read a gesture net; raises CheckpointError where it is none."""
    return Perceptron.read(path, INPUTS, len(NAMES), "gestures")


def probabilities(keypoints: NDArray[np.floating], net: Perceptron) -> Floats:
    """Give (N, len(NAMES)) of hands' keypoints (N, 21, 2)."""
    values = net(features(keypoints))
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True), np.float32)


MIN_CONFIDENCE: Final = 0.8
"""What is less sure is not called a gesture."""
HOLD_S: Final = 0.6
"""What is held for a shorter time is no command: idle hands give 0.75 a minute, and 1.75 at 0.4 s."""


@dataclass
class Commands:
    """One hand's gestures, frame by frame, as commands: one for each that is held, and none again while it stays."""

    min_confidence: float = MIN_CONFIDENCE
    hold_s: float = HOLD_S
    _held: str = "none"
    _since: float = 0.0
    _given: str = "none"

    def __call__(self, gesture: Gesture, seconds: float) -> str | None:
        """Give a command's name in the frame in which its gesture has been held for long enough."""
        name = gesture.name if gesture.confidence >= self.min_confidence else "none"
        if name != self._held:
            self._held, self._since = name, seconds
        if seconds - self._since < self.hold_s or name == self._given:
            return None
        self._given = name
        return name if name != "none" else None


@cache
def bundled() -> Perceptron:
    """Give the net that comes with the package."""
    return read(BUNDLED)


def gesture_of(keypoints_px: NDArray[np.floating], net: Perceptron | None = None) -> Gesture:
    """Name what one hand (21, 2) says."""
    return likeliest(probabilities(keypoints_px[None], net or bundled())[0])


def likeliest(chances: Floats) -> Gesture:
    """Name the likeliest of `probabilities` (len(NAMES),)."""
    best = int(chances.argmax())
    return Gesture(NAMES[best], float(chances[best]))
