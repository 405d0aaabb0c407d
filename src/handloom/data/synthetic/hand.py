"""The anatomy of a hand: bone lengths, joint limits and the way from joint angles to joints in space.

Hand frame of a right hand, metres: origin at the wrist, +x toward the thumb, +y toward the fingers, +z out of the palm.
A left hand is its mirror image in x. Lengths follow three genuine RHD records (wrist to middle MCP 91-95 mm).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KNUCKLES: Final = np.array(
    [
        [0.027, 0.026, 0.013],
        [0.025, 0.090, 0.001],
        [0.002, 0.095, -0.004],
        [-0.017, 0.091, -0.002],
        [-0.036, 0.081, 0.004],
    ]
)
"""(5, 3) base of every finger in the hand frame: thumb CMC, then the MCPs."""

PHALANGES: Final = np.array(
    [
        [0.0415, 0.034, 0.026],
        [0.0366, 0.0285, 0.0258],
        [0.0369, 0.0294, 0.0295],
        [0.0314, 0.0293, 0.0285],
        [0.0355, 0.0211, 0.0210],
    ]
)
"""(5, 3) bone lengths from base to tip."""

RADII: Final = np.array(
    [
        [0.0150, 0.0118, 0.0102, 0.0075],
        [0.0109, 0.0095, 0.0082, 0.0065],
        [0.0112, 0.0097, 0.0084, 0.0067],
        [0.0105, 0.0090, 0.0078, 0.0063],
        [0.0092, 0.0079, 0.0068, 0.0055],
    ]
)
"""(5, 4) flesh radius at the four joints of every finger."""

LIMITS: Final = np.radians(
    [
        [[-10, 50], [-25, 30], [-10, 55], [-15, 75]],
        [[-20, 90], [-15, 18], [0, 105], [-5, 75]],
        [[-20, 90], [-10, 10], [0, 105], [-5, 75]],
        [[-20, 90], [-14, 10], [0, 105], [-5, 75]],
        [[-20, 90], [-22, 14], [0, 100], [-5, 75]],
    ]
)
"""(5, 4, 2) lowest and highest angle, radians. Fingers: MCP flexion, spread toward the thumb, PIP, DIP flexion.
Thumb: palmar abduction, radial abduction, MCP, IP flexion."""

FAN: Final = np.radians([0.0, 4.0, 0.0, -4.0, -9.0])
"""Spread of a hand at rest, toward the thumb."""

_THUMB_AXIS: Final = np.array([0.62, 0.74, 0.27])
_THUMB_PALMAR: Final = np.array([-0.80, 0.60, 0.30])


@dataclass(frozen=True)
class Shape:
    """Build of one person's hands: overall scale, (5, 3) bone factors, flesh factor, palm width factor."""

    scale: float
    bones: Array
    flesh: float
    width: float


@dataclass(frozen=True)
class Posed:
    """A posed hand: joints (21, 3) base to tip and per-bone frames (5, 3, 3, 3), rows x, y (along), z (palmar)."""

    joints: Array
    frames: Array


def draw_shape(rng: np.random.Generator) -> Shape:
    """A random build around the genuine records; scale has a spread of 5 %."""
    scale = float(np.clip(rng.normal(0.985, 0.05), 0.84, 1.12))
    bones = np.clip(rng.normal(1.0, 0.035, (5, 3)) * rng.normal(1.0, 0.03), 0.88, 1.12)
    flesh = float(np.clip(rng.normal(1.0, 0.09), 0.8, 1.25))
    return Shape(scale, bones, flesh, float(np.clip(rng.normal(1.0, 0.04) * flesh**0.3, 0.88, 1.12)))


def cross(a: Array, b: Array) -> Array:
    """The cross product of two vectors, in a tenth of the time of numpy's, which a scene needs some hundred times."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def about(axis: Array, angle: float) -> Array:
    """The (3, 3) rotation by `angle` radians about a unit axis."""
    x, y, z = axis
    c, s = np.cos(angle), np.sin(angle)
    d = 1.0 - c
    return np.array(
        [
            [c + x * x * d, x * y * d - z * s, x * z * d + y * s],
            [y * x * d + z * s, c + y * y * d, y * z * d - x * s],
            [z * x * d - y * s, z * y * d + x * s, c + z * z * d],
        ]
    )


def _unit(v: Array) -> Array:
    return v / np.sqrt(v @ v)


def _bend(frames: Array, angles: Array) -> Array:
    """`frames` (N, rows x, y, z, 3), each with its y turned toward its z about its x by `angles` (N)."""
    x, y, z = frames[:, 0], frames[:, 1], frames[:, 2]
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return np.stack([x, c * y + s * z, c * z - s * y], axis=1)


# A spread finger turns a little about its own length, as knuckles on an arch do.
_ROLLS: Final = np.stack([about(np.array([0.0, 1.0, 0.0]), 0.10 * (2 - finger)).T for finger in range(1, 5)])


def _finger_roots(angles: Array) -> Array:
    """(4, 3, 3) frames of the first bones of the four fingers."""
    spread = FAN[1:] + angles[:, 1]
    c, s, zero, one = np.cos(spread), np.sin(spread), np.zeros(4), np.ones(4)
    flat = np.array([[c, -s, zero], [s, c, zero], [zero, zero, one]]).transpose(2, 0, 1)
    return _bend(flat @ _ROLLS, angles[:, 0])


def _thumb_at_rest() -> Array:
    along = _unit(_THUMB_AXIS)
    palmar = _unit(_THUMB_PALMAR - along * (_THUMB_PALMAR @ along))
    return np.stack([cross(along, palmar), along, palmar])


_THUMB_FRAME: Final = _thumb_at_rest()
_THUMB_HINGE: Final = _unit(np.array([0.72, -0.69, 0.0]))


def _thumb_root(angles: Array) -> Array:
    frame = _THUMB_FRAME
    # Palmar abduction lifts the thumb off the palm and turns its pad toward the fingers (opposition).
    lift = about(_THUMB_HINGE, angles[0])
    turn = about(np.array([0.0, 0.0, 1.0]), -angles[1])
    frame = frame @ (turn @ lift).T
    return frame @ about(frame[1], -0.5 * angles[0]).T


def pose(shape: Shape, angles: Array, *, left: bool) -> Posed:
    """Joints of a hand in its own frame (metres) from (5, 4) angles (radians; see `LIMITS`)."""
    frame = np.concatenate([_thumb_root(angles[0])[None], _finger_roots(angles[1:])])
    ends = [KNUCKLES * shape.scale * np.array([shape.width, 1.0, 1.0])]
    lengths = PHALANGES * shape.bones * shape.scale
    turned = [frame]
    for bone in range(3):
        if bone:
            frame = _bend(frame, angles[:, 1 + bone])
            turned.append(frame)
        ends.append(ends[-1] + frame[:, 1] * lengths[:, bone, None])
    joints = np.concatenate([np.zeros((1, 3)), np.stack(ends, axis=1).reshape(20, 3)])
    frames = np.stack(turned, axis=1)
    if left:
        mirror = np.array([-1.0, 1.0, 1.0])
        joints, frames = joints * mirror, frames * mirror
    return Posed(joints, frames)
