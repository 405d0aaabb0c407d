"""The random draw of a scene: a person whose arms end in posed hands, and a camera that looks at them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import person
from handloom.data.synthetic.hand import Posed, Shape, about, cross, draw_shape, pose
from handloom.data.synthetic.person import Build
from handloom.data.synthetic.poses import draw_angles, draw_name
from handloom.data.synthetic.solids import frame_along

Array = NDArray[np.float64]

SIZE: Final = 320
ZOOM: Final = 1.8, 3.6
"""Of a close-up's lens, least and most."""
EXTENT: Final = 45, 150
"""Least and most of a hand's longer side in a picture, px; a close-up shows up to twice as much."""
_UP: Final = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class PlacedHand:
    """A hand in the world: its shape and pose, the rows of its frame, its wrist, and the arm above it."""

    left: bool
    name: str
    """Of its pose."""
    angles: Array
    """(5, 4), of its joints; see `hand.LIMITS`."""
    posed: Posed
    rotation: Array
    wrist: Array
    elbow: Array
    shoulder: Array

    @property
    def joints(self) -> Array:
        """(21, 3) joints, base to tip, metres, world frame."""
        return self.posed.joints @ self.rotation + self.wrist


@dataclass(frozen=True)
class Camera:
    """A pinhole: axes in rows (x right, y down, z forward), position in the world, focal length in pixels."""

    rotation: Array
    position: Array
    focal: float

    def to_camera(self, points: Array) -> Array:
        """World points (N, 3) in the camera frame."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def project(self, points: Array) -> Array:
        """Camera-frame points (N, 3) to pixels (N, 2)."""
        return np.asarray(points[:, :2] / points[:, 2:] * self.focal + SIZE / 2)


@dataclass(frozen=True)
class Scene:
    """What is to be drawn, in the world frame: left hand first."""

    build: Build
    shape: Shape
    hands: tuple[PlacedHand, PlacedHand]
    camera: Camera
    head_yaw: float
    head_pitch: float
    wanted: int


# Where a wrist may be, relative to its shoulder, in body units: centre and spread of (outward, up, forward).
_PLACES: Final = {
    "front": ((0.00, -0.10, 0.36), (0.11, 0.13, 0.09)),
    "chest": ((-0.12, -0.14, 0.24), (0.08, 0.10, 0.06)),
    "face": ((-0.10, 0.06, 0.24), (0.07, 0.07, 0.06)),
    "head": ((0.02, 0.22, 0.10), (0.06, 0.08, 0.08)),
    "aside": ((0.32, -0.05, 0.12), (0.10, 0.18, 0.10)),
    "raised": ((0.10, 0.32, 0.12), (0.10, 0.10, 0.10)),
    "hip": ((0.06, -0.42, 0.10), (0.05, 0.06, 0.06)),
    "hang": ((0.06, -0.50, 0.04), (0.04, 0.03, 0.07)),
    "lap": ((-0.05, -0.36, 0.28), (0.07, 0.06, 0.08)),
}
_PLACE_NAMES: Final = tuple(_PLACES)
_PLACE_CHANCES: Final = np.array([0.26, 0.15, 0.13, 0.05, 0.12, 0.08, 0.06, 0.07, 0.08])


def _to_segment(points: Array, start: Array, end: Array) -> Array:
    """(N,) distances of points to a segment."""
    way = end - start
    t = np.clip((points - start) @ way / (way @ way), 0.0, 1.0)
    return np.asarray(np.linalg.norm(points - start - t[:, None] * way, axis=1))


def _inside_body(build: Build, points: Array) -> float:
    """Deepest of the points inside torso, head or thighs, metres (negative: outside)."""
    unit = points / build.scale
    flat = np.stack([unit[:, 0] / 1.5, unit[:, 1] - np.clip(unit[:, 1], -0.10, 0.46), unit[:, 2]], axis=1)
    head = np.linalg.norm(unit - np.array([0.0, 0.70, 0.02]), axis=1)
    deep = np.maximum(0.110 * build.girth - np.linalg.norm(flat, axis=1), 0.115 - head)
    for side in (-1.0, 1.0):
        mirror = np.array([side, 1.0, 1.0])
        thigh = _to_segment(unit, person.HIP * mirror, person.knee(build) * mirror)
        deep = np.maximum(deep, 0.080 * build.girth - thigh)
    return float(deep.max()) * build.scale


def _hand_frame(rng: np.random.Generator, hand_left: bool, shoulder: Array, elbow: Array, wrist: Array) -> Array:
    """Rows of the hand frame: the forearm turned by pronation, then bent at the wrist."""
    fore = wrist - elbow
    # With the thumb up (neutral), it points to the side the elbow folds to.
    neutral = frame_along(fore, shoulder - elbow)
    roll = np.radians(np.clip(rng.normal(25, 55), -95, 95))
    thumb = neutral[2] @ about(neutral[1], roll if hand_left else -roll).T
    y = neutral[1]
    x = -thumb if hand_left else thumb
    frame = np.array([x, y, cross(x, y)])
    flex = np.radians(np.clip(rng.normal(-6, 26), -65, 65))
    aside = np.radians(np.clip(rng.normal(0, 11), -25, 25))
    return np.asarray(frame @ (about(frame[0], flex) @ about(frame[2], aside)).T)


def _place_hand(rng: np.random.Generator, build: Build, shape: Shape, left: bool, target: Array) -> PlacedHand:
    side = 1.0 if left else -1.0
    shoulder = build.shoulder * np.array([side, 1.0, 1.0])
    name = draw_name(rng)
    angles = draw_angles(rng, shape, name)
    posed = pose(shape, angles, left=left)
    placed = None
    for attempt in range(8):
        # Each try stands a little further off the body.
        free = target + np.array([side * 0.02, 0.0, 0.025]) * attempt
        pole = np.array([side * rng.uniform(0.1, 1.0), rng.uniform(-1.2, 0.1), rng.uniform(-0.8, 0.2)])
        elbow, wrist = person.bend_arm(build, shoulder, free, pole)
        frame = _hand_frame(rng, left, shoulder, elbow, wrist)
        placed = PlacedHand(left, name, angles, posed, frame, wrist, elbow, shoulder)
        if _inside_body(build, placed.joints) < -0.008:
            break
    assert placed is not None
    return placed


def _draw_hands(rng: np.random.Generator, build: Build, shape: Shape, wanted: int) -> tuple[PlacedHand, PlacedHand]:
    """Both hands; where two are wanted the second is often near the first."""
    first_left = bool(rng.random() < 0.5)
    targets: dict[bool, Array] = {}
    for left in (first_left, not first_left):
        name = _PLACE_NAMES[rng.choice(len(_PLACE_NAMES), p=_PLACE_CHANCES)]
        if wanted == 1 and left != first_left and rng.random() < 0.6:
            name = ("hang", "hip", "aside")[int(rng.integers(3))]
        centre, spread = (np.array(v) for v in _PLACES[name])
        offset = centre + rng.normal(0, 1, 3) * spread
        side = np.array([1.0 if left else -1.0, 1.0, 1.0])
        targets[left] = build.shoulder * side + offset * side * build.scale
        if wanted == 2 and left != first_left and rng.random() < 0.8:
            near = targets[first_left] + rng.normal(0, 1, 3) * np.array([0.05, 0.06, 0.05])
            near[0] = targets[first_left][0] + side[0] * rng.uniform(0.03, 0.30)
            targets[left] = near
    hands = {left: _place_hand(rng, build, shape, left, targets[left]) for left in (first_left, not first_left)}
    return hands[True], hands[False]


def _look(position: Array, target: Array, roll: float) -> Array:
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = cross(forward, _UP)
    right = right / max(float(np.linalg.norm(right)), 1e-6)
    frame = np.array([right, cross(forward, right), forward])
    return np.asarray(about(np.array([0.0, 0.0, 1.0]), roll) @ frame)


def _draw_camera(
    rng: np.random.Generator, build: Build, hands: tuple[PlacedHand, PlacedHand], wanted: int, *, close: bool
) -> Camera:
    """A camera near the hands: mostly before the person, at any height, sometimes behind, sometimes at the eyes."""
    focal = float(rng.uniform(255, 312))
    if close:
        focal *= float(rng.uniform(*ZOOM))
    chosen = hands[int(rng.integers(2))]
    centre = chosen.joints.mean(0) if wanted == 1 else np.concatenate([h.joints for h in hands]).mean(0)
    distance = float(np.clip(rng.lognormal(math.log(0.55), 0.25), 0.33, 1.25))
    if rng.random() < 0.16:
        eyes = np.array([0.0, 0.70, 0.13]) * build.scale + rng.normal(0, 0.05, 3)
        away = eyes - centre
        distance = float(np.clip(np.linalg.norm(away), 0.36, 0.8))
    else:
        azimuth = np.radians(rng.normal(0, 48) if rng.random() < 0.85 else rng.uniform(-180, 180))
        height = np.radians(np.clip(rng.normal(8, 26), -70, 80))
        away = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    away = away / np.linalg.norm(away)
    reach = 0.20 if wanted == 1 else 0.10
    target = centre + rng.normal(0, reach, 3) * distance * 0.8
    position = centre + away * distance + (target - centre) * 0.5
    roll = np.radians(rng.normal(0, 10) if rng.random() < 0.93 else rng.uniform(-180, 180))
    return Camera(_look(position, target, roll), position, focal)


def _blocked(build: Build, camera: Camera, points: Array) -> float:
    """Share of the points hidden from the camera by torso or head."""
    steps = np.linspace(0.05, 0.95, 14)[:, None, None]
    ray = camera.position + (points - camera.position) * steps
    s = build.scale
    unit = ray / s
    flat = np.stack([unit[..., 0] / 1.5, unit[..., 1] - np.clip(unit[..., 1], -0.4, 0.46), unit[..., 2]], axis=-1)
    torso = np.linalg.norm(flat, axis=-1) < 0.100 * build.girth
    head = np.linalg.norm(unit - np.array([0.0, 0.70, 0.02]), axis=-1) < 0.11
    return float((torso | head).any(0).mean())


def _fits(
    build: Build, hands: tuple[PlacedHand, PlacedHand], camera: Camera, wanted: int, whole: float, most: float
) -> bool:
    """Whether this camera shows the wanted number of hands, at a fair size, unhidden by the body, none behind it."""
    if _inside_body(build, camera.position[None]) > -0.13:
        return False
    seen = 0
    for hand in hands:
        points = camera.to_camera(hand.joints)
        if points[:, 2].min() < 0.06:
            return False
        uv = camera.project(points)
        within = ((uv > 1) & (uv < SIZE - 2)).all(1)
        if within.mean() < 0.12:
            continue
        seen += 1
        extent = float((uv.max(0) - uv.min(0)).max())
        if within.mean() < whole or not EXTENT[0] < extent < most or points[:, 2].min() < 0.22:
            return False
        if _blocked(build, camera, hand.joints[::4]) > 0.25:
            return False
    return seen == wanted


def _draw_bystander(rng: np.random.Generator, build: Build, hands: tuple[PlacedHand, PlacedHand]) -> Camera:
    """A camera that looks at a face, mostly, at a forearm, a leg or the chest."""
    focal = float(rng.uniform(255, 312) * rng.uniform(1.0, 2.2))
    arm = hands[int(rng.integers(2))]
    choice, side = rng.random(), rng.choice((-1.0, 1.0))
    if choice < 0.6:
        target = np.array([0.0, 0.68, 0.05]) * build.scale
    elif choice < 0.8:
        target = arm.elbow + rng.uniform(0.0, 0.7) * (arm.wrist - arm.elbow)
    elif choice < 0.9:
        target = person.knee(build) * np.array([side, 1.0, 1.0]) * build.scale
    else:
        target = np.array([0.0, 0.45, 0.05]) * build.scale
    distance = float(np.clip(rng.lognormal(math.log(0.7), 0.35), 0.33, 1.8))
    azimuth = np.radians(rng.normal(0, 40) if rng.random() < 0.9 else rng.uniform(-180, 180))
    height = np.radians(np.clip(rng.normal(3, 18), -60, 60))
    away = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    target = target + rng.normal(0, 0.10, 3) * distance
    roll = np.radians(rng.normal(0, 8) if rng.random() < 0.95 else rng.uniform(-180, 180))
    position = target + away * distance
    return Camera(_look(position, target, roll), position, focal)


def _hides(build: Build, hands: tuple[PlacedHand, PlacedHand], camera: Camera) -> bool:
    """Whether this camera, which must not be in the body, has no joint of a hand in its frame."""
    if _inside_body(build, camera.position[None]) > -0.13:
        return False
    points = camera.to_camera(np.concatenate([hand.joints for hand in hands]))
    before = points[:, 2] > 0.02
    uv = camera.project(points[before])
    return not ((uv > -8) & (uv < SIZE + 8)).all(1).any()


def draw_portrait(rng: np.random.Generator) -> Scene:
    """A random scene that shows a person and no hand."""
    shape = draw_shape(rng)
    build = person.draw_build(rng, shape.scale)
    hands = _draw_hands(rng, build, shape, 1)
    camera = _draw_bystander(rng, build, hands)
    for attempt in range(400):
        if _hides(build, hands, camera):
            break
        if attempt % 6 == 5:
            hands = _draw_hands(rng, build, shape, 1)
        camera = _draw_bystander(rng, build, hands)
    yaw, pitch = (float(a) for a in np.radians(rng.normal(0, (24, 10))))
    return Scene(build, shape, hands, camera, yaw, pitch, wanted=0)


def draw_scene(rng: np.random.Generator, close_ups: float = 0.0) -> Scene:
    """A random scene that shows one or two hands, in equal parts; this share is seen from nearby."""
    close = close_ups > 0 and bool(rng.random() < close_ups)
    most = EXTENT[1] * (2 if close else 1)
    wanted = 1 + int(rng.random() < 0.5)
    # Share of a hand's joints that must lie in the frame: not quite half of the pictures may cut one.
    whole = 0.6 if rng.random() < 0.45 else 1.0
    shape = draw_shape(rng)
    build = person.draw_build(rng, shape.scale)
    hands = _draw_hands(rng, build, shape, wanted)
    camera = _draw_camera(rng, build, hands, wanted, close=close)
    for attempt in range(400):
        if _fits(build, hands, camera, wanted, whole, most):
            break
        if attempt % 12 == 11:
            hands = _draw_hands(rng, build, shape, wanted)
        camera = _draw_camera(rng, build, hands, wanted, close=close)
    yaw, pitch = (float(a) for a in np.radians(rng.normal(0, (28, 12))))
    return Scene(build, shape, hands, camera, yaw, pitch, wanted)
