"""Dresses a scene: clothes, skin, hair and the solids of person, hands and occluders."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import person, texture
from handloom.data.synthetic.flesh import Ring, Skin, add_hand
from handloom.data.synthetic.noise import any_colour, linear, skin_colour, tile_noise
from handloom.data.synthetic.person import HAIR_STYLES, Outfit
from handloom.data.synthetic.props import add_props
from handloom.data.synthetic.scene import Scene
from handloom.data.synthetic.solids import CLOTH, FACE, FINGER, HAIR, NAILED, PALM, PLAIN, SKIN, Paint, Solids
from handloom.params import Lever

Field = NDArray[np.float32]

SKIN_NOISE, CLOTH_NOISE, SHIRT, TROUSERS, FACE_TEXTURE = range(5)

GLOVED: Final = 0.03
"""Share of persons with gloves."""
RINGED: Final = 0.12
"""Share of hands with rings."""
_METALS: Final = ((0.83, 0.66, 0.30), (0.78, 0.77, 0.76), (0.30, 0.29, 0.30))
_HAIR_COLOURS: Final = (
    (0.05, 0.04, 0.04),
    (0.12, 0.08, 0.06),
    (0.28, 0.18, 0.11),
    (0.55, 0.40, 0.22),
    (0.80, 0.68, 0.45),
    (0.45, 0.18, 0.09),
    (0.62, 0.61, 0.60),
)


def draw_outfit(rng: np.random.Generator) -> tuple[Outfit, Field]:
    """A random look and its (5, S, S, 3) linear textures."""
    skin = skin_colour(rng)
    hair = any_colour(rng) if rng.random() < 0.06 else _HAIR_COLOURS[int(rng.integers(len(_HAIR_COLOURS)))]
    size = texture.SIZE
    textures = np.stack(
        [
            tile_noise(rng, size, (4, 12, 48)),
            tile_noise(rng, size, (3, 6, 24)),
            texture.cloth(rng),
            texture.cloth(rng)
            if rng.random() < 0.3
            else np.full((size, size, 3), linear(any_colour(rng, 0.5)), np.float32),
            texture.face(rng, skin, hair),
        ]
    )
    shine = float(rng.uniform(0.1, 0.5))
    flesh = Paint(SKIN, linear(skin), shine)
    nail = any_colour(rng) if rng.random() < 0.12 else (0.0, 0.0, 0.0)
    flesh = replace(flesh, offset=linear(nail)[:2], extra=linear(nail)[2])
    sleeve = float(
        rng.choice(
            [0.0, rng.uniform(0.2, 0.5), rng.uniform(0.55, 0.9), rng.uniform(0.93, 1.0)], p=[0.10, 0.30, 0.14, 0.46]
        )
    )
    outfit = Outfit(
        skin=flesh,
        face=Paint(FACE, linear(skin), shine, FACE_TEXTURE, 1 / 0.24),
        shirt=Paint(CLOTH, (0.5, 0.5, 0.5), 0.03, SHIRT, float(rng.uniform(1.6, 5.0)), (float(rng.random()), 0.0)),
        trousers=Paint(CLOTH, (0.5, 0.5, 0.5), 0.03, TROUSERS, float(rng.uniform(2, 5))),
        hair=Paint(HAIR, linear(hair), 0.4),
        sleeve=sleeve,
        sleeve_loose=float(rng.uniform(0.003, 0.016)),
        hair_style=HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))],
        skirt=bool(rng.random() < 0.25),
        band=Paint(PLAIN, linear(any_colour(rng)), 0.6) if rng.random() < 0.15 else None,
    )  # fmt: skip
    return outfit, textures


def _hand_paints(rng: np.random.Generator, flesh: Paint, without: Collection[Lever]) -> Skin:
    """Bare skin with nails, sometimes varnished, and more or less of its veins."""
    veins = float(rng.random() ** 2)
    if "skin" in without:
        return Skin(flesh, flesh, flesh)
    if "veins" in without:
        veins = 0.0
    finger = Paint(FINGER, flesh.rgb, flesh.gloss)
    return Skin(
        palm=Paint(PALM, flesh.rgb, flesh.gloss, extra=veins),
        finger=finger,
        tip=finger if "nails" in without else replace(flesh, rule=NAILED),
    )


def _glove(rng: np.random.Generator) -> Paint:
    """Knitted or smooth, in any colour."""
    colour, smooth = linear(any_colour(rng)), rng.random() < 0.5
    return Paint(PLAIN, colour, float(rng.uniform(0.1, 0.6))) if smooth else Paint(CLOTH, colour, 0.03)


def _rings(rng: np.random.Generator) -> list[Ring]:
    """None, or one or two on the fingers of a hand, the thumb least of all."""
    if rng.random() > RINGED:
        return []
    fingers = rng.choice(5, size=1 + int(rng.random() < 0.25), replace=False, p=[0.06, 0.2, 0.22, 0.4, 0.12])
    metal = _METALS[int(rng.integers(len(_METALS)))] if rng.random() < 0.85 else any_colour(rng)
    return [Ring(int(finger), float(rng.uniform(0.4, 0.6)), Paint(PLAIN, linear(metal), 0.8)) for finger in fingers]


def _outfit_without(outfit: Outfit, without: Collection[Lever]) -> Outfit:
    return replace(
        outfit,
        sleeve=0.0 if "sleeves" in without else outfit.sleeve,
        band=None if "watches" in without else outfit.band,
    )


def build_solids(
    rng: np.random.Generator, extras: np.random.Generator, scene: Scene, without: Collection[Lever] = ()
) -> tuple[Solids, Field]:
    """All solids of the scene in the world frame, and their textures.

    What is worn on hands comes from `extras`, and what is left out is drawn all the same, so that scenes differ in
    nothing else.
    """
    outfit, textures = draw_outfit(rng)
    outfit = _outfit_without(outfit, without)
    gloved, glove = extras.random() < GLOVED and "gloves" not in without, _glove(extras)
    skin = _hand_paints(extras, outfit.skin, without)
    solids = Solids()
    for hand in scene.hands:
        rings = _rings(extras)
        add_hand(
            solids, hand.posed, scene.shape, Skin(glove, glove, glove) if gloved else skin, hand.rotation, hand.wrist,
            left=hand.left, rings=() if gloved or "rings" in without else rings,
        )  # fmt: skip
        if gloved:
            person.add_cuff(solids, scene.build, glove, hand.elbow, hand.wrist, hand.rotation[2])
        person.add_arm(solids, scene.build, outfit, hand.shoulder, hand.elbow, hand.wrist, hand.rotation[2])
    person.add_body(solids, scene.build, outfit)
    if "faces" not in without:
        person.add_head(solids, scene.build, outfit, scene.head_yaw, scene.head_pitch)
    add_props(rng, solids, scene, without)
    return solids, textures
