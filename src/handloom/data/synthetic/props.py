"""Things that are not the person: held in a hand, standing about in skin-like colours, or in the way of the view."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.hand import about
from handloom.data.synthetic.noise import any_colour, linear, skin_like
from handloom.data.synthetic.scene import PlacedHand, Scene
from handloom.data.synthetic.solids import PLAIN, SKIN, Paint, Solids
from handloom.params import Lever

Array = NDArray[np.float64]

NOTHING = 0
"""Mask id of all that is not a person."""


def _paint(rng: np.random.Generator, skin_share: float) -> Paint:
    """A plain colour; with chance `skin_share` a skin-like one, half of those mottled as skin is."""
    if rng.random() < skin_share:
        return Paint(SKIN if rng.random() < 0.5 else PLAIN, linear(skin_like(rng)), float(rng.uniform(0.05, 0.5)))
    return Paint(PLAIN, linear(any_colour(rng)), float(rng.uniform(0.0, 0.7)))


def _turn(rng: np.random.Generator) -> Array:
    """A random rotation."""
    axis = rng.normal(0, 1, 3)
    return about(axis / np.linalg.norm(axis), float(rng.uniform(0, np.pi)))


def _hold(rng: np.random.Generator, solids: Solids, hand: PlacedHand) -> None:
    """A stick, cup, ball, card or pen between palm and fingers."""
    paint = _paint(rng, 0.25)
    radius = float(rng.uniform(0.006, 0.030))

    def at(x: float, y: float, z: float) -> Array:
        return np.array([x, y, z]) @ hand.rotation + hand.wrist

    kind = rng.random()
    rise = 0.014 + radius
    if kind < 0.5:
        reach = rng.uniform(0.05, 0.14)
        ends = at(reach, 0.085, rise), at(-reach * rng.uniform(0.6, 1.0), 0.075, rise)
        solids.capsule(*ends, (radius, radius), part=NOTHING, paint=paint, group=solids.group())
    elif kind < 0.7:
        ball = float(rng.uniform(0.02, 0.036))
        middle = at(0.0, 0.085, 0.014 + ball)
        solids.capsule(middle, middle + 0.001, (ball, ball), part=NOTHING, paint=paint, group=solids.group())
    elif kind < 0.85:
        half = (float(rng.uniform(0.028, 0.038)), float(rng.uniform(0.05, 0.075)), 0.003)
        solids.box(at(0.0, 0.10, 0.024), hand.rotation, half, 0.003, part=NOTHING, paint=paint)
    else:
        thumb, index = hand.joints[4], hand.joints[8]
        grip = (thumb + index) / 2
        way = (grip - hand.joints[5]) + rng.normal(0, 0.02, 3)
        way = way / np.linalg.norm(way)
        solids.capsule(
            grip - way * 0.09, grip + way * 0.05, (0.004, 0.004), part=NOTHING, paint=paint, group=solids.group()
        )


def _thing(rng: np.random.Generator, solids: Solids, centre: Array, size: float, skin_share: float) -> None:
    """A bar, ball, box or bunch of bars of about `size` metres."""
    paint, axes = _paint(rng, skin_share), _turn(rng)
    kind = rng.random()
    if kind < 0.3:
        half = rng.uniform(0.2, 1.0, 3) * size / 2
        solids.box(centre, axes, half, float(rng.uniform(0.002, 0.012)), part=NOTHING, paint=paint)
        return
    group = solids.group()
    if kind < 0.55:
        stretch = (float(rng.uniform(0.6, 1.4)), float(rng.uniform(0.6, 1.4)))
        solids.capsule(
            centre, centre + axes[1] * size * rng.uniform(0.01, 0.4), (size / 2, size * rng.uniform(0.2, 0.5)),
            part=NOTHING, paint=paint, group=group, stretch=stretch,
        )  # fmt: skip
        return
    count = 1 if kind < 0.96 else int(rng.integers(2, 6))
    radius, fan = size * rng.uniform(0.06, 0.14), rng.normal(0, 0.15)
    for i in range(count):
        way = axes[1] + axes[0] * fan * (i - count / 2)
        start = centre + axes[0] * radius * 2.1 * (i - count / 2)
        end = start + way * size * rng.uniform(0.6, 1.2)
        solids.capsule(
            start, end, (float(radius), float(radius * rng.uniform(0.6, 1.1))), part=NOTHING, paint=paint, group=group,
            blend=0.004,
        )  # fmt: skip


def _place_clear(rng: np.random.Generator, scene: Scene, near: float, far: float) -> Array | None:
    """A world point in view at depth near..far (in hand depths) away from all hand joints, or None."""
    camera = scene.camera
    joints = np.concatenate([hand.joints for hand in scene.hands])
    depths = camera.to_camera(joints)[:, 2]
    for _ in range(6):
        z = float(rng.uniform(near, far) * max(np.median(depths), 0.3))
        x, y = rng.uniform(-0.6, 0.6, 2) * z * 320 / camera.focal
        point = np.array([x, y, z]) @ camera.rotation + camera.position
        if np.linalg.norm(joints - point, axis=1).min() > 0.11:
            return np.asarray(point)
    return None


def add_props(rng: np.random.Generator, solids: Solids, scene: Scene, without: Collection[Lever] = ()) -> None:
    """Add held things (one picture in ten), things about (one in four, few skin-like), things in the way (7 %)."""
    nowhere = Solids()
    if rng.random() < 0.10:
        _hold(rng, nowhere if "held" in without else solids, scene.hands[int(rng.integers(2))])
    if "things" in without:
        solids = nowhere
    skin_share = 0.6 if rng.random() < 0.25 else 0.0
    for chance, most, near, far, size in ((0.25, 4, 1.0, 2.2, 0.22), (0.07, 2, 0.6, 0.85, 0.08)):
        if rng.random() > chance:
            continue
        for _ in range(int(rng.integers(1, most))):
            point = _place_clear(rng, scene, near, far)
            if point is not None:
                _thing(rng, solids, point, float(rng.uniform(0.3, 1.0) * size), skin_share)
