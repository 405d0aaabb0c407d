"""Keypoints of hands that say something: poses by name, seen from anywhere, as true as a pose net's answers are."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.hand import Posed, draw_shape, pose
from handloom.data.synthetic.poses import NAMED, UNCOMMON, draw_angles
from handloom.data.synthetic.render import joints_of, scenes
from handloom.gestures import NAMES
from handloom.params import SyntheticParams

Array = NDArray[np.float64]

SIGNS: Final = {
    "fist": ("fist",),
    "open_palm": ("open", "flat"),
    "point": ("point",),
    "victory": ("victory",),
    "three": ("three", "three_thumb"),
    "four": ("four",),
    "thumb": ("thumb_up",),
    "ok": ("ring",),
    "call": ("call",),
    "rock": ("horns",),
}
"""Poses of each gesture; of `thumb` the picture's up and down say which it is."""
OTHERS: Final = (
    "relaxed", "grip", "claw", "cup", "pinch", "pinch_middle", "pinch_ring", "pinch_little", "pistol", "free", "mixed",
)  # fmt: skip
UNNAMED: Final = ("free", "mixed")
"""Of them those that may be a gesture by chance."""
NONE_SHARE: Final = 0.3
"""Of drawn hands that say nothing."""
UPRIGHT_DEG: Final = 50.0
"""How far a thumb may lean from up or down; between it is nothing."""
DOUBTFUL: Final = np.radians(16.0)
"""Mean difference of angles from a gesture's below which a free pose is none and not: such are not drawn."""
NOISE: Final = 0.06
"""Most that keypoints stray: standard deviation over the hand's extent."""
_SIGN_OF: Final = {name: sign for sign, names in SIGNS.items() for name in names}
_SIGNING: Final = [({**NAMED, **UNCOMMON})[name] for name in _SIGN_OF]


class Signs(NamedTuple):
    """Hands and what they say."""

    keypoints: NDArray[np.float32]
    """(N, 21, 2), y down."""
    labels: NDArray[np.int64]
    """(N,) of `gestures.NAMES`."""


def draw_signs(seed: Sequence[int], count: int) -> Signs:
    """Draw so many hands, seen from any side and distance; all gestures alike often."""
    rng = np.random.default_rng(seed)
    hands = [_draw_hand(rng) for _ in range(count)]
    points, labels = zip(*hands, strict=True)
    return Signs(np.array(points, np.float32), np.array(labels))


def _draw_hand(rng: np.random.Generator) -> tuple[Array, int]:
    name, shape = _draw_name(rng), draw_shape(rng)
    angles = draw_angles(rng, shape, name)
    while is_doubtful(name, angles):
        angles = draw_angles(rng, shape, name)
    points = _seen(rng, pose(shape, angles, left=bool(rng.random() < 0.5)))
    return points + NOISE * strayed(rng, 1)[0] * np.ptp(points, axis=0).max(), label_of(name, points)


def strayed(rng: np.random.Generator, count: int) -> Array:
    """Give how far (count, 21, 2) keypoints stray as a pose net's do, of a hand whose worst deviates by 1.

    Each by itself, and fingers as a whole.
    """
    own = rng.normal(0, 1, (count, 21, 2)) * rng.random((count, 1, 1))
    fingers = rng.normal(0, 3, (count, 5, 1, 2)) * rng.random((count, 1, 1, 1)) * (rng.random((count, 5, 1, 1)) < 0.3)
    reach = np.linspace(0.25, 1.0, 4)[:, None]
    own[:, 1:] += (fingers * reach).reshape(count, 20, 2)
    return np.asarray(own)


def _draw_name(rng: np.random.Generator) -> str:
    if rng.random() < NONE_SHARE:
        return OTHERS[int(rng.integers(len(OTHERS)))]
    signs = [*SIGNS, "thumb"]  # it is two gestures
    names = SIGNS[signs[int(rng.integers(len(signs)))]]
    return names[int(rng.integers(len(names)))]


def is_doubtful(name: str, angles: Array) -> bool:
    """Whether a free pose, which is called nothing, is nearly a gesture."""
    return name in UNNAMED and any(np.abs(angles - known).mean() < DOUBTFUL for known in _SIGNING)


def _seen(rng: np.random.Generator, posed: Posed) -> Array:
    """Give (21, 2) of a hand turned any way, before a camera; a thumb is as often up as down as aside."""
    turn, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    turn = turn * np.linalg.det(turn)
    points = (posed.joints - posed.joints.mean(axis=0)) @ turn.T
    points[:, 2] += rng.uniform(0.25, 1.0)
    return np.asarray(points[:, :2] / points[:, 2:])


def label_of(name: str, points: NDArray[np.floating]) -> int:
    """Give the gesture of a pose's name as its keypoints (21, 2), y down, show it."""
    sign = _SIGN_OF.get(name, "none")
    if sign == "thumb":
        right, down = points[4] - points[2]
        lean = np.degrees(np.arctan2(abs(right), -down))
        sign = "thumb_up" if lean < UPRIGHT_DEG else "thumb_down" if lean > 180 - UPRIGHT_DEG else "none"
    return NAMES.index(sign)


def labels_in(
    rendered: SyntheticParams, split: str, index: int, joints: NDArray[np.float32], points: NDArray[np.float32]
) -> list[int]:
    """Give what both hands of a rendered sample say, left first, -1 what is doubtful.

    `joints` (42, 3) are the sample's, in RHD's order, `points` (2, 21, 2) its keypoints in ours. Empty where no scene
    of these numbers has such joints: it was rendered by other code.
    """
    shares = (rendered.close_ups, rendered.portraits) if split == "training" else (0.0, 0.0)
    for _, _, scene in scenes(rendered.seed, split, index, *shares):
        if np.allclose(joints_of(scene), joints, atol=1e-4):
            return [
                -1 if is_doubtful(hand.name, hand.angles) else label_of(hand.name, own)
                for hand, own in zip(scene.hands, points, strict=True)
            ]
    return []
