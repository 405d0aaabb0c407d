"""One sample from its number: draw a scene, march it, shade it, photograph it, label it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import labels, raymarch, shade, shadow
from handloom.data.synthetic.background import draw_background
from handloom.data.synthetic.camera import develop
from handloom.data.synthetic.dress import build_solids
from handloom.data.synthetic.planes import draw_planes, lay
from handloom.data.synthetic.scene import SIZE, Scene, draw_portrait, draw_scene
from handloom.data.synthetic.solids import Solids
from handloom.data.synthetic.surface import paint_tables
from handloom.params import Lever

Field = NDArray[np.float32]
Ids = NDArray[np.int32]

SPLIT_IDS: Final = {"training": 0, "evaluation": 1}
FAR_DEPTH: Final = 5.0
"""Depth written where nothing is, metres: the encoding's end."""

MIN_PIXELS: Final = {1: (300, 0), 2: (300, 150)}
"""Least mask pixels of the larger and of the smaller hand, by the number of hands wanted."""

MIN_VISIBLE: Final = 8
"""Least visible keypoints of the hand that shows most."""


@dataclass(frozen=True)
class Rendered:
    """One sample as RHD holds it.

    color (320, 320, 3) uint8 RGB; mask (320, 320) uint8, ids 0..33; depth (320, 320) float32, metres 0..5;
    intrinsics `K` (3, 3), `uv_vis` (42, 3) pixels and visibility, `xyz` (42, 3) metres, camera frame: float32. And what
    RHD does not hold: `rules` (320, 320), by which rule of `solids` each pixel is painted, -1 for the background.
    """

    color: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]
    rules: NDArray[np.int8]
    K: NDArray[np.float32]
    uv_vis: NDArray[np.float32]
    xyz: NDArray[np.float32]


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return v / np.linalg.norm(v)


def _lights(rng: np.random.Generator, mood: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (6, 3) lights of `shade` for a background of mean linear colour `mood`."""
    key = _unit(np.array([rng.normal(0, 0.7), -abs(rng.normal(0.6, 0.5)), rng.normal(-0.6, 0.5)]))
    fill = _unit(np.array([-key[0] + rng.normal(0, 0.4), rng.normal(-0.2, 0.3), rng.normal(-0.4, 0.5)]))
    warmth = rng.normal(0, 0.05)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    level = mood / max(float(mood.mean()), 1e-3)
    around = 0.85 + 0.15 * level
    strength = rng.uniform(0.35, 1.3)
    ambient = rng.uniform(0.15, 0.55)
    return np.array(
        [
            key, strength * tint, fill, rng.uniform(0.0, 0.35) * around, ambient * around,
            ambient * rng.uniform(0.3, 0.9) * around * np.array([1.05, 1.0, 0.92]),
        ],
        np.float32,
    )  # fmt: skip


def _trace(
    rng: np.random.Generator, scene: Scene, solids: Solids, textures: Field, without: Collection[Lever]
) -> tuple[Field, Ids, Field]:
    """Linear colour (320, 320, 3), nearest solid (320, 320; -1 none) and depth (320, 320; 0 none) of a scene."""
    camera = scene.camera
    floats, ints = solids.seen_from(camera.rotation, camera.position)
    depth = np.zeros((SIZE, SIZE), np.float32)
    which = np.full((SIZE, SIZE), -1, np.int32)
    normal = np.zeros((SIZE, SIZE, 3), np.float32)
    openness = np.ones((SIZE, SIZE), np.float32)
    lit = np.ones((SIZE, SIZE), np.float32)
    raymarch.march(floats, ints, camera.focal, SIZE, depth, which, normal, openness)
    out = draw_background(rng, SIZE)
    planes = draw_planes(rng, scene)
    if "scenery" in without:
        planes = []
        out[:] = out.mean((0, 1))
    for plane in planes:
        lay(plane, camera, depth, which, normal, out)
    lights = _lights(rng, out[::8, ::8].mean((0, 1)))
    softness = np.float32(rng.uniform(6, 24))
    if "shadows" not in without:
        shadow.cast(floats, ints, camera.focal, SIZE, depth, normal, lights[0], softness, lit)
    paints, rules = paint_tables(solids)
    shade.shade(floats, paints, rules, textures, camera.focal, SIZE, depth, which, normal, openness, lit, lights, out)
    return out, which, depth


def shows(rendered: Rendered, wanted: int) -> bool:
    """Whether the picture shows its hands: one in a hundred hides them behind a table, a prop, the body: drawn anew."""
    mask = rendered.mask
    if not wanted:
        return not (mask > 1).any()
    left, right = int(((mask > 1) & (mask < 18)).sum()), int((mask > 17).sum())
    large, small = MIN_PIXELS[wanted]
    seen = rendered.uv_vis[:, 2].reshape(2, 21).sum(1).max()
    return max(left, right) >= large and min(left, right) >= small and int(seen) >= MIN_VISIBLE


def scenes(
    seed: int, split: str, index: int, close_ups: float, portraits: float
) -> Iterator[tuple[np.random.Generator, np.random.Generator, Scene]]:
    """Draw the scenes of a sample, of which the first that shows what it should is taken, with what draws the rest."""
    for attempt in range(8):
        key = [seed, SPLIT_IDS[split], index, attempt]
        # Draws of their own, so that the other pictures stay what they were.
        rng, extras = np.random.default_rng(key), np.random.default_rng([*key, 1])
        yield rng, extras, draw_portrait(rng) if extras.random() < portraits else draw_scene(rng, close_ups)


def joints_of(scene: Scene) -> NDArray[np.float32]:
    """Give (42, 3) joints, metres, camera frame, in RHD's order."""
    return np.concatenate([labels.rhd_order(scene.camera.to_camera(hand.joints)) for hand in scene.hands])


def render(
    seed: int,
    split: str,
    index: int,
    close_ups: float = 0.0,
    portraits: float = 0.0,
    without: Collection[Lever] = (),
) -> Rendered:
    """Sample `index` of `split`: the same for the same six, whatever else is rendered."""
    for rng, extras, scene in scenes(seed, split, index, close_ups, portraits):
        rendered = photograph(rng, extras, scene, without)
        if shows(rendered, scene.wanted):
            break
    return rendered


def photograph(
    rng: np.random.Generator, extras: np.random.Generator, scene: Scene, without: Collection[Lever] = ()
) -> Rendered:
    """Give a scene's picture and truth."""
    solids, textures = build_solids(rng, extras, scene, without)
    linear, which, depth = _trace(rng, scene, solids, textures, without)
    mask = np.array([*solids.parts, 0], np.uint8)[which]
    camera = scene.camera
    intrinsics = np.array([[camera.focal, 0, SIZE / 2], [0, camera.focal, SIZE / 2], [0, 0, 1]], np.float32)
    xyz = joints_of(scene)
    uv = labels.project(xyz, intrinsics)
    seen = labels.visible(uv, mask)
    return Rendered(
        color=develop(rng, linear, mask > (1 if scene.wanted else 0), without),
        mask=mask,
        depth=np.where(depth > 0, np.minimum(depth, FAR_DEPTH), FAR_DEPTH).astype(np.float32),
        rules=np.array([*(paint.rule for paint in solids.paints), -1], np.int8)[which],
        K=intrinsics,
        uv_vis=np.concatenate([uv, seen[:, None]], axis=1).astype(np.float32),
        xyz=xyz,
    )
