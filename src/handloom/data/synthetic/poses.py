"""Random hand poses: named ones with jitter, and free ones with correlated flexion, all within the joint limits."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.hand import LIMITS, RADII, Shape, pose

Array = NDArray[np.float64]

# Degrees: thumb (palmar abduction, radial abduction, MCP, IP), then index ... little (MCP, spread, PIP, DIP).
_OPEN = [(10, 12, 5, 0), (3, 4, 6, 4), (2, 0, 6, 4), (3, -4, 6, 4), (4, -10, 8, 5)]
_FLAT = [(8, -15, 5, 5), (2, -5, 4, 3), (1, 0, 4, 3), (2, 3, 4, 3), (2, 7, 5, 3)]
_RELAXED = [(18, 0, 15, 15), (25, 2, 30, 18), (32, 0, 36, 20), (38, 0, 38, 22), (42, -3, 38, 22)]
_FIST = [(27, -10, 46, 56), (78, 0, 93, 42), (80, 0, 93, 42), (79, 0, 92, 42), (77, 0, 88, 42)]
_POINT = [(26, -10, 46, 58), (8, 0, 8, 5), (80, 0, 95, 43), (82, 0, 96, 43), (80, 0, 90, 43)]
_VICTORY = [(32, -14, 44, 52), (4, 10, 6, 4), (4, -8, 6, 4), (80, 0, 95, 43), (78, 0, 90, 43)]
_THUMB_UP = [(-4, 20, -2, -5), (78, 0, 93, 42), (80, 0, 93, 42), (79, 0, 92, 42), (78, 0, 88, 42)]
_PISTOL = [(-2, 20, 0, 0), (6, 0, 8, 5), (80, 0, 95, 43), (84, 0, 96, 43), (82, 0, 90, 43)]
_HORNS = [(30, -12, 46, 52), (6, 4, 6, 4), (80, 0, 95, 43), (82, 0, 95, 43), (6, -6, 8, 5)]
_CALL = [(-2, 25, 0, -5), (78, 0, 95, 43), (82, 0, 96, 43), (80, 0, 92, 43), (10, -14, 10, 6)]
_THREE = [(38, -18, 44, 45), (4, 8, 6, 4), (4, 0, 6, 4), (6, -8, 8, 5), (78, 0, 90, 43)]
_FOUR = [(34, -14, 46, 40), (4, 8, 6, 4), (3, 2, 6, 4), (4, -4, 6, 4), (5, -12, 8, 5)]
_PINCH = [(28, 6, 26, 37), (50, 0, 46, 24), (38, 0, 34, 18), (30, -2, 28, 14), (24, -6, 26, 12)]
_RING = [(28, 6, 26, 37), (50, 0, 46, 24), (16, 2, 16, 8), (10, -3, 12, 6), (8, -10, 12, 6)]
_PINCH_MIDDLE = [(37, -11, 35, 23), (18, 4, 18, 9), (54, 0, 46, 24), (30, -2, 28, 14), (22, -8, 24, 12)]
_GRIP = [(36, 6, 16, 26), (42, 2, 46, 28), (46, 0, 48, 30), (50, 0, 50, 30), (54, -2, 50, 30)]
_CLAW = [(26, 14, 14, 34), (-4, 6, 62, 42), (-4, 0, 64, 44), (-2, -4, 64, 44), (0, -12, 62, 42)]
_THREE_THUMB = [(10, 12, 5, 0), (4, 8, 6, 4), (4, -6, 6, 4), (80, 0, 95, 43), (78, 0, 90, 43)]
_PINCH_RING = [(42, -14, 38, 26), (12, 6, 12, 6), (14, 2, 14, 8), (56, 0, 48, 24), (22, -8, 22, 12)]
_PINCH_LITTLE = [(46, -18, 44, 34), (8, 6, 8, 5), (8, 0, 8, 5), (14, -2, 14, 8), (60, -2, 52, 26)]
_CUP = [(34, 0, 10, 12), (30, -3, 24, 14), (32, 0, 24, 14), (34, 2, 24, 14), (36, 5, 24, 14)]

NAMED: Final[dict[str, Array]] = {
    name: np.radians(table)
    for name, table in {
        "open": _OPEN, "flat": _FLAT, "relaxed": _RELAXED, "fist": _FIST, "point": _POINT, "victory": _VICTORY,
        "thumb_up": _THUMB_UP, "pistol": _PISTOL, "horns": _HORNS, "call": _CALL, "three": _THREE, "four": _FOUR,
        "pinch": _PINCH, "ring": _RING, "pinch_middle": _PINCH_MIDDLE, "grip": _GRIP, "claw": _CLAW, "cup": _CUP,
    }.items()
}  # fmt: skip
"""(5, 4) angles, radians, of every named pose."""

UNCOMMON: Final[dict[str, Array]] = {
    name: np.radians(table)
    for name, table in {
        "three_thumb": _THREE_THUMB, "pinch_ring": _PINCH_RING, "pinch_little": _PINCH_LITTLE,
    }.items()
}  # fmt: skip
"""The same of poses that no rendered hand takes: people count with them."""

_WEIGHTS: Final = {
    "open": 9, "flat": 4, "relaxed": 9, "fist": 7, "point": 8, "victory": 4, "thumb_up": 4, "pistol": 2, "horns": 1.5,
    "call": 1.5, "three": 2, "four": 2, "pinch": 6, "ring": 3, "pinch_middle": 2, "grip": 6, "claw": 2, "cup": 3,
    "free": 14, "mixed": 12,
}  # fmt: skip
_NAMES: Final = tuple(_WEIGHTS)
_CHANCES: Final = np.array(list(_WEIGHTS.values())) / sum(_WEIGHTS.values())


def _free(rng: np.random.Generator) -> Array:
    """Flexion shared by the hand plus each finger's own; PIP follows MCP, DIP follows PIP, neighbours pull along."""
    curl = rng.uniform(-0.05, 1.0)
    own = rng.normal(0.0, 0.28, 5)
    own[2:4] = 0.5 * own[2:4] + 0.5 * own[[1, 2]]
    level = np.clip(curl + own[1:], 0.0, 1.0)
    angles = np.zeros((5, 4))
    angles[1:, 0] = np.radians(rng.normal(85 * level - 6, 12))
    angles[1:, 1] = np.radians(rng.normal(0, 7, 4)) + np.radians(rng.normal(0, 6)) * np.array([1.0, 0.3, -0.4, -1.0])
    angles[1:, 2] = np.radians(np.abs(rng.normal(92 * level, 14)))
    angles[1:, 3] = angles[1:, 2] * rng.uniform(0.4, 0.7)
    low, high = LIMITS[0, :, 0], LIMITS[0, :, 1]
    angles[0] = low + (high - low) * rng.beta(1.6, 1.6, 4)
    return angles


def _mixed(rng: np.random.Generator) -> Array:
    """Part of the way between two named poses, finger by finger."""
    one, two = (NAMED[_NAMES[i]] for i in rng.choice(len(NAMED), 2, replace=False))
    share = np.clip(rng.uniform(0, 1) + rng.normal(0, 0.2, (5, 1)), 0.0, 1.0)
    return np.asarray(one * share + two * (1 - share))


_FREE: Final[dict[str, Callable[[np.random.Generator], Array]]] = {"free": _free, "mixed": _mixed}


def _gaps(joints: Array) -> Array:
    """(5, 5) least distance between points along two fingers, metres; fingertips to the palm on the diagonal."""
    fingers = joints[1:].reshape(5, 4, 3)
    samples = np.concatenate([fingers[:, 1:], (fingers[:, 1:] + fingers[:, :-1]) / 2], axis=1)
    apart = np.sqrt(((samples[:, None, :, None] - samples[None, :, None]) ** 2).sum(-1)).min((2, 3))
    metacarpals = np.linspace(0.35, 0.95, 4)[:, None, None] * fingers[None, 1:, 0]
    palm = np.sqrt(((fingers[:, 2:, None] - metacarpals.reshape(1, 1, -1, 3)) ** 2).sum(-1)).min((1, 2))
    apart[np.arange(5), np.arange(5)] = palm
    return np.asarray(apart)


_CLEAR: Final = 0.72 * (RADII[:, 2][:, None] + RADII[:, 2][None]) - np.diag([0.0, *[0.0012] * 4])


def draw_name(rng: np.random.Generator) -> str:
    """The name of a pose: one of `NAMED`, `free` or `mixed`."""
    return _NAMES[rng.choice(len(_NAMES), p=_CHANCES)]


def draw_angles(rng: np.random.Generator, shape: Shape, name: str) -> Array:
    """(5, 4) joint angles, radians, within `LIMITS`; fingers do not pass through each other or the palm."""
    known = NAMED.get(name, UNCOMMON.get(name))
    jitter = np.radians(rng.choice([3.0, 6.0, 9.0]))
    need = _CLEAR * shape.flesh * shape.scale
    for attempt in range(12):
        angles = _FREE[name](rng) if known is None else known + rng.normal(0, jitter, (5, 4)) * 0.9**attempt
        # Bent fingers cannot spread.
        angles[1:, 1] *= np.cos(np.clip(angles[1:, 0], 0, 1.5))
        angles = np.clip(angles, LIMITS[..., 0], LIMITS[..., 1])
        if (_gaps(pose(shape, angles, left=False).joints) >= need).all():
            return np.asarray(angles)
    return (NAMED["relaxed"] if known is None else known).copy()
