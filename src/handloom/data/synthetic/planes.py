"""Flat painted surfaces in space, a table or a wall, that hands cast shadows on and people stand behind or before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.synthetic.background import draw_desk, draw_wall
from handloom.data.synthetic.scene import SIZE, Camera, Scene

Array = NDArray[np.float64]
Field = NDArray[np.float32]


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
    u, v = np.arange(SIZE, dtype=np.float32)[None], np.arange(SIZE, dtype=np.float32)[:, None]
    facing = (slope[0] * u + slope[1] * v + slope[2]).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.float32(gap) / facing
        x = (rows[0][0] * u + rows[0][1] * v + rows[0][2]).astype(np.float32) / facing
        y = (rows[1][0] * u + rows[1][1] * v + rows[1][2]).astype(np.float32) / facing
    near = (z > 0.05) & (z < 5.0) & (x > 0) & (x < SIZE) & (y > 0) & (y < SIZE) & ((depth == 0) | (z < depth))
    if not near.any():
        return
    coefficients = np.concatenate([rows[0], rows[1], slope[:2]]) / slope[2]
    picture = plane.picture.transform(
        (SIZE, SIZE), Image.Transform.PERSPECTIVE, [float(c) for c in coefficients], Image.Resampling.BILINEAR
    )
    depth[near] = z[near]
    which[near] = -1
    toward = np.sign(up @ (camera.position - plane.corner)) * (camera.rotation @ up)
    normal[near] = toward.astype(np.float32)
    out[near] = (np.asarray(picture)[near].astype(np.float32) * np.float32(1 / 255)) ** 2
