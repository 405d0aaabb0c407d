"""Dresses a scene: clothes, skin, hair and the solids of person, hands and occluders."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import person, texture
from handloom.data.synthetic.flesh import add_hand
from handloom.data.synthetic.noise import any_colour, linear, skin_colour, tile_noise
from handloom.data.synthetic.person import HAIR_STYLES, Outfit
from handloom.data.synthetic.props import add_props
from handloom.data.synthetic.scene import Scene
from handloom.data.synthetic.solids import CLOTH, FACE, HAIR, PLAIN, SKIN, Paint, Solids

Field = NDArray[np.float32]

SKIN_NOISE, CLOTH_NOISE, SHIRT, TROUSERS, FACE_TEXTURE = range(5)

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


def build_solids(rng: np.random.Generator, scene: Scene) -> tuple[Solids, Field]:
    """All solids of the scene in the world frame, and their textures."""
    outfit, textures = draw_outfit(rng)
    solids = Solids()
    for hand in scene.hands:
        add_hand(solids, hand.posed, scene.shape, outfit.skin, hand.rotation, hand.wrist, left=hand.left)
        person.add_arm(solids, scene.build, outfit, hand.shoulder, hand.elbow, hand.wrist, hand.rotation[2])
    person.add_body(solids, scene.build, outfit)
    person.add_head(solids, scene.build, outfit, scene.head_yaw, scene.head_pitch)
    add_props(rng, solids, scene)
    return solids, textures
