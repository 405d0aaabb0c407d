"""Flat painted surfaces in space, a table or a wall, that hands cast shadows on and people stand behind or before."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.synthetic.background import draw_desk, draw_wall
from handloom.data.synthetic.kernels import kernel
from handloom.data.synthetic.scene import SIZE, Camera, Scene

Array = NDArray[np.float64]
Field = NDArray[np.float32]

_TO_LINEAR: Final = (np.arange(256, dtype=np.float32) * np.float32(1 / 255)) ** 2


@dataclass(frozen=True)
class Plane:
    """A square picture in space: corner, two unit axes (right and down in the picture), side in metres."""

    corner: Array
    right: Array
    down: Array
    side: float
    picture: Image.Image


def _table(rng: np.random.Generator, scene: Scene) -> Plane:
    """A table in front of the person, below hands and elbows."""
    lowest = min(min(hand.joints[:, 1].min() - 0.012, hand.elbow[1] - 0.045) for hand in scene.hands)
    height = lowest - float(rng.exponential(0.02))
    side = float(rng.uniform(0.8, 1.3))
    corner = np.array([side * rng.uniform(-0.6, -0.4), height, rng.uniform(0.10, 0.16) * scene.build.scale])
    # Whether the picture lies with its text toward the person or the other way is all one.
    return Plane(corner, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), side, draw_desk(rng, SIZE))


def _backwall(rng: np.random.Generator, scene: Scene) -> Plane:
    """A wall close behind the person's back."""
    side = float(rng.uniform(1.6, 3.0))
    depth = -float(rng.uniform(0.16, 0.5))
    corner = np.array([-side * rng.uniform(0.35, 0.65), side * rng.uniform(0.4, 0.6) + 0.2, depth])
    return Plane(corner, np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0]), side, draw_wall(rng, SIZE))


def draw_planes(rng: np.random.Generator, scene: Scene) -> list[Plane]:
    """No plane, a table (most often where the camera looks down on it), a wall, or both."""
    looks_down = -float(scene.camera.rotation[2, 1])
    before = all(hand.wrist[2] > 0.1 for hand in scene.hands)
    planes = []
    above = scene.camera.position[1] > min(hand.elbow[1] for hand in scene.hands) + 0.05
    if before and above and rng.random() < (0.6 if looks_down > 0.25 else 0.2):
        planes.append(_table(rng, scene))
    if scene.camera.position[2] > 0.1 and rng.random() < 0.12:
        planes.append(_backwall(rng, scene))
    return planes


@kernel()
def _reach(gap, slope, right, down, depth, reached):  # type: ignore[no-untyped-def]
    """Fill `reached` with the plane's z where it is nearest, else 0; says whether it is anywhere.

    A pixel (c, r) sees it at z = gap / (slope @ (c, r, 1)) and at point (right, down) @ (c, r, 1) / the same.
    """
    size = np.float32(SIZE)
    some = False
    for r in range(SIZE):
        for c in range(SIZE):
            facing = np.float32(slope[0] * c + slope[1] * r + slope[2])
            z = gap / facing
            x = np.float32(right[0] * c + right[1] * r + right[2]) / facing
            y = np.float32(down[0] * c + down[1] * r + down[2]) / facing
            far = depth[r, c]
            near = (z > np.float32(0.05)) & (z < np.float32(5.0)) & (x > 0) & (x < size) & (y > 0) & (y < size)
            near &= (far == 0) | (z < far)
            reached[r, c] = z if near else np.float32(0.0)
            some |= near
    return some


@kernel()
def _cover(reached, picture, linear, toward, depth, which, normal, out):  # type: ignore[no-untyped-def]
    """Write depth, which, normal and colour where the plane is reached; `linear` (256) is the light of a byte."""
    for r in range(SIZE):
        for c in range(SIZE):
            if reached[r, c] > 0:
                depth[r, c] = reached[r, c]
                which[r, c] = -1
                for k in range(3):
                    normal[r, c, k] = toward[k]
                    out[r, c, k] = linear[picture[r, c, k]]


def lay(plane: Plane, camera: Camera, depth: Field, which: NDArray[np.int32], normal: Field, out: Field) -> None:
    """Put the plane where it is nearest: updates depth, which (-1), normal and linear colour in place."""
    up = np.cross(plane.right, plane.down)
    to_world = camera.rotation.T @ np.array(
        [[1 / camera.focal, 0, -SIZE / 2 / camera.focal], [0, 1 / camera.focal, -SIZE / 2 / camera.focal], [0, 0, 1]]
    )
    gap = float(up @ (plane.corner - camera.position))
    slope = up @ to_world
    scale = SIZE / plane.side
    rows = [
        scale * (float(axis @ (camera.position - plane.corner)) * slope + gap * (axis @ to_world))
        for axis in (plane.right, plane.down)
    ]
    if abs(slope[2]) < 1e-6:
        return
    reached = np.empty((SIZE, SIZE), np.float32)
    if not _reach(np.float32(gap), slope, rows[0], rows[1], depth, reached):
        return
    coefficients = np.concatenate([rows[0], rows[1], slope[:2]]) / slope[2]
    picture = plane.picture.transform(
        (SIZE, SIZE), Image.Transform.PERSPECTIVE, [float(c) for c in coefficients], Image.Resampling.BILINEAR
    )
    toward = np.sign(up @ (camera.position - plane.corner)) * (camera.rotation @ up)
    _cover(reached, np.asarray(picture), _TO_LINEAR, toward.astype(np.float32), depth, which, normal, out)
