"""A person: proportions, torso, legs, head with hair and face, and arms that end in the hands.

World frame, metres: origin between the hips, +x toward the person's left, +y up, +z forward.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.hand import about
from handloom.data.synthetic.solids import FACE, SKIN, Paint, Solids, frame_along

Array = NDArray[np.float64]
Point = tuple[float, float, float]

PERSON_ID: Final = 1

HIP: Final = np.array([0.085, -0.09, 0.0])
"""Left end of the thigh, in body units."""


@dataclass(frozen=True)
class Build:
    """Proportions of a body: lengths in metres, girth and shoulder factors."""

    scale: float
    girth: float
    shoulder: Array
    upper_arm: float
    fore_arm: float
    arm_girth: float
    seated: bool


@dataclass(frozen=True)
class Outfit:
    """What a person wears and looks like, as paints, and how far the sleeves reach (0 none ... 1 wrist).

    `band` is a watch or bracelet.
    """

    skin: Paint
    face: Paint
    shirt: Paint
    trousers: Paint
    hair: Paint
    sleeve: float
    sleeve_loose: float
    hair_style: str
    skirt: bool
    band: Paint | None


def draw_build(rng: np.random.Generator, hand_scale: float) -> Build:
    """Random proportions, mostly in keeping with the hands; one body in four is small for its hands, as RHD's are."""
    scale = hand_scale * float(rng.uniform(0.68, 0.85) if rng.random() < 0.25 else rng.normal(0.96, 0.05))
    girth = float(np.clip(rng.normal(1.0, 0.13), 0.75, 1.4))
    shoulder = np.array([0.165 + 0.02 * girth, 0.475, -0.005]) * scale
    upper, fore = 0.285 * scale * rng.normal(1, 0.03), 0.25 * scale * rng.normal(1, 0.03)
    arm = float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.35) * hand_scale * 0.6 + 0.4 * scale)
    return Build(scale, girth, shoulder, float(upper), float(fore), arm, bool(rng.random() < 0.35))


def knee(build: Build) -> Array:
    """The left knee, in body units: before the hip of a seated person, below that of a standing one."""
    return np.array([0.13, -0.12, 0.40] if build.seated else [0.10, -0.50, 0.03])


def bend_arm(build: Build, shoulder: Array, wrist: Array, pole: Array) -> tuple[Array, Array]:
    """Elbow and (possibly pulled in) wrist of a two-bone arm whose elbow leans toward `pole`."""
    reach = wrist - shoulder
    distance = float(np.clip(np.linalg.norm(reach), 0.10 * build.scale, 0.985 * (build.upper_arm + build.fore_arm)))
    axis = reach / max(float(np.linalg.norm(reach)), 1e-6)
    along = (build.upper_arm**2 - build.fore_arm**2 + distance**2) / (2 * distance)
    out = float(np.sqrt(max(build.upper_arm**2 - along**2, 0.0)))
    aside = frame_along(axis, pole)[2]
    return shoulder + axis * along + aside * out, shoulder + axis * distance


def add_arm(
    solids: Solids, build: Build, outfit: Outfit, shoulder: Array, elbow: Array, wrist: Array, palm: Array
) -> None:
    """Add upper arm and forearm, bare or sleeved; `palm` is the palm's normal, which the wrist's flat side follows."""
    g = build.arm_girth
    group = solids.group()
    fore = wrist - elbow
    swell = elbow + 0.38 * fore
    for start, end, radii, stretch in (
        (shoulder, elbow, (0.050 * g, 0.037 * g), (1.0, 1.0)),
        (elbow, swell, (0.036 * g, 0.041 * g), (1.0, 1.0)),
        (swell, wrist, (0.040 * g, 0.0195 * g), (1.14, 0.96)),
    ):
        solids.capsule(
            start, end, radii, part=PERSON_ID, paint=outfit.skin, group=group, toward=palm, blend=0.02, stretch=stretch
        )
    if outfit.band is not None:
        far, near = wrist - fore * 0.16, wrist - fore * 0.12
        solids.capsule(
            far, near, (0.0255 * g, 0.0245 * g), part=PERSON_ID, paint=outfit.band, group=solids.group(), toward=palm,
            stretch=(1.14, 0.96),
        )  # fmt: skip
    add_sleeve(solids, build, outfit, shoulder, elbow, wrist, palm)


def add_cuff(solids: Solids, build: Build, glove: Paint, elbow: Array, wrist: Array, palm: Array) -> None:
    """Add the piece of a glove that reaches over the wrist."""
    g, fore = build.arm_girth, wrist - elbow
    solids.capsule(
        wrist - fore * 0.18, wrist, (0.0275 * g, 0.0225 * g), part=PERSON_ID, paint=glove, group=solids.group(),
        toward=palm, stretch=(1.14, 0.96),
    )  # fmt: skip


def add_sleeve(
    solids: Solids, build: Build, outfit: Outfit, shoulder: Array, elbow: Array, wrist: Array, palm: Array
) -> None:
    """Add the sleeve over an arm: down to `outfit.sleeve` of its length, with a cuff where it ends on the forearm."""
    if outfit.sleeve <= 0.05:
        return
    g, loose = build.arm_girth, outfit.sleeve_loose
    group = solids.group()
    upper = min(outfit.sleeve / 0.5, 1.0)
    solids.capsule(
        shoulder, shoulder + (elbow - shoulder) * upper, (0.053 * g + loose, 0.041 * g + loose), part=PERSON_ID,
        paint=outfit.shirt, group=group, toward=palm, blend=0.03,
    )  # fmt: skip
    if outfit.sleeve <= 0.5:
        return
    share = min((outfit.sleeve - 0.5) / 0.5, 0.985)
    end = elbow + (wrist - elbow) * share
    mid = elbow + (wrist - elbow) * min(0.38, share)
    last = 0.041 * g + (0.024 - 0.041) * g * max(share - 0.38, 0) / 0.62 + loose * 0.8
    solids.capsule(
        elbow, mid, (0.041 * g + loose, 0.043 * g + loose), part=PERSON_ID, paint=outfit.shirt, group=group,
        toward=palm, blend=0.03,
    )  # fmt: skip
    if share > 0.4:
        solids.capsule(
            mid, end, (0.043 * g + loose, last), part=PERSON_ID, paint=outfit.shirt, group=group, toward=palm,
            blend=0.03, stretch=(1.12, 1.0),
        )  # fmt: skip
        cuff = end - (wrist - elbow) * 0.05
        solids.capsule(
            cuff, end, (last * 1.06, last * 1.06), part=PERSON_ID, paint=outfit.shirt, group=solids.group(),
            toward=palm, stretch=(1.12, 1.0),
        )  # fmt: skip


def add_body(solids: Solids, build: Build, outfit: Outfit) -> None:
    """Add torso, shoulders, neck and legs."""
    s, w = build.scale, build.girth
    torso = solids.group()
    sx, sy, sz = build.shoulder

    def cloth(
        start: Array, end: Array, radii: tuple[float, float], stretch: tuple[float, float], paint: Paint, group: int
    ) -> None:
        solids.capsule(start, end, radii, part=PERSON_ID, paint=paint, group=group, blend=0.07 * s, stretch=stretch)

    at = np.array
    cloth(
        at([0, -0.02 * s, 0]),
        at([0, 0.22 * s, 0.005]),
        (0.110 * s * w, 0.102 * s * w),
        (1.42, 1.0),
        outfit.shirt,
        torso,
    )
    cloth(
        at([0, 0.20 * s, 0]),
        at([0, 0.385 * s, 0]),
        (0.104 * s * w**0.6, 0.108 * s * w**0.5),
        (1.50, 1.0),
        outfit.shirt,
        torso,
    )
    for side in (-1.0, 1.0):
        cloth(
            at([side * 0.05 * s, sy - 0.005 * s, sz]),
            at([side * sx, sy, sz]),
            (0.066 * s, 0.058 * s),
            (1, 1),
            outfit.shirt,
            torso,
        )
    cloth(
        at([0, 0.42 * s, -0.005]),
        at([0, 0.53 * s, -0.01 * s]),
        (0.085 * s, 0.052 * s),
        (1.15, 1.0),
        outfit.shirt,
        torso,
    )
    solids.capsule(
        [0, 0.47 * s, -0.005 * s], [0, 0.60 * s, 0.012 * s], (0.056 * s, 0.050 * s), part=PERSON_ID,
        paint=outfit.skin, group=solids.group(),
    )  # fmt: skip
    legs = solids.group()
    hip = 0.118 * s * w
    cloth(at([0, -0.10 * s, 0]), at([0, 0.0, 0]), (hip, hip * 0.97), (1.48, 1.05), outfit.trousers, legs)
    for side in (-1.0, 1.0):
        mirror = at([side, 1.0, 1.0]) * s
        knee_at = knee(build) * mirror
        foot = at([0.12, -0.52, 0.42] if build.seated else [0.10, -0.90, -0.02]) * mirror
        lower = outfit.skin if outfit.skirt else outfit.trousers
        cloth(HIP * mirror, knee_at, (0.088 * s * w, 0.060 * s), (1.05, 1.0), outfit.trousers, legs)
        cloth(knee_at, foot, (0.056 * s, 0.040 * s), (1.0, 1.0), lower, solids.group())


def add_head(solids: Solids, build: Build, outfit: Outfit, yaw: float, pitch: float) -> None:
    """Add head, nose, ears and hair; the face is a texture on the front of the head."""
    s = build.scale
    neck = np.array([0, 0.585 * s, 0.0])
    turn = about(np.array([0.0, 1.0, 0.0]), yaw) @ about(np.array([1.0, 0.0, 0.0]), pitch)
    axes = turn.T

    def place(x: float, y: float, z: float) -> Array:
        return neck + turn @ (np.array([x, y, z]) * s)

    def lump(
        a: Point,
        b: Point,
        radii: tuple[float, float],
        paint: Paint,
        group: int,
        stretch: tuple[float, float] = (1.0, 1.0),
        blend: float = 0.02,
    ) -> None:
        """One capsule of the head; the face texture is centred between eyes and mouth, 0.10 above the neck's end."""
        if paint.rule == FACE:
            paint = Paint(
                FACE, paint.rgb, paint.gloss, paint.texture, paint.repeats / s, (a[0] * s, (a[1] - 0.085) * s)
            )
            frame = axes
        else:
            frame = None
        solids.capsule(
            place(*a), place(*b), (radii[0] * s, radii[1] * s), part=PERSON_ID, paint=paint, group=group, frame=frame,
            toward=axes[2], stretch=stretch, blend=blend * s,
        )  # fmt: skip

    head = solids.group()
    lump((0, 0.085, 0.012), (0, 0.155, 0.012), (0.070, 0.082), outfit.face, head, (0.94, 1.12))
    lump((0, 0.018, 0.050), (0, 0.075, 0.050), (0.034, 0.052), outfit.face, head, (1.12, 0.95), 0.04)
    lump(
        (0, 0.062, 0.108),
        (0, 0.098, 0.094),
        (0.0125, 0.007),
        Paint(SKIN, outfit.skin.rgb, 0.2),
        head,
        (1.0, 1.0),
        0.012,
    )
    ears = solids.group()
    for side in (-1.0, 1.0):
        lump((side * 0.076, 0.070, 0.0), (side * 0.080, 0.105, -0.006), (0.013, 0.017), outfit.skin, ears, (0.45, 1.0))
    hair = solids.group()
    for a, b, radii, stretch in _HAIR[outfit.hair_style]:
        lump(a, b, radii, outfit.hair, hair, stretch, 0.025)


_CAP = ((0.0, 0.130, -0.022), (0.0, 0.160, -0.014), (0.086, 0.089), (0.98, 1.10))
_HAIR: dict[
    str,
    tuple[tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float], tuple[float, float]], ...],
] = {
    "bald": (),
    "short": (_CAP,),
    "cropped": (((0.0, 0.125, -0.020), (0.0, 0.160, -0.010), (0.083, 0.082), (0.97, 1.08)),),
    "long": (
        _CAP,
        ((0.055, 0.130, -0.02), (0.070, -0.06, -0.01), (0.050, 0.040), (0.9, 1.0)),
        ((-0.055, 0.130, -0.02), (-0.070, -0.06, -0.01), (0.050, 0.040), (0.9, 1.0)),
        ((0.0, 0.10, -0.06), (0.0, -0.08, -0.07), (0.070, 0.060), (1.3, 0.8)),
    ),
    "bob": (
        _CAP,
        ((0.050, 0.140, -0.01), (0.070, 0.03, 0.005), (0.052, 0.038), (0.9, 1.0)),
        ((-0.050, 0.140, -0.01), (-0.070, 0.03, 0.005), (0.052, 0.038), (0.9, 1.0)),
        ((0.0, 0.12, -0.05), (0.0, 0.02, -0.06), (0.070, 0.055), (1.2, 0.8)),
    ),
    "bun": (_CAP, ((0.0, 0.215, -0.07), (0.0, 0.225, -0.075), (0.040, 0.038), (1.0, 1.0))),
    "tail": (_CAP, ((0.0, 0.17, -0.10), (0.0, -0.03, -0.15), (0.034, 0.018), (1.0, 1.0))),
    "afro": (((0.0, 0.150, -0.030), (0.0, 0.165, -0.025), (0.118, 0.122), (1.0, 1.0)),),
    "fringe": (_CAP, ((-0.045, 0.178, 0.072), (0.045, 0.172, 0.076), (0.024, 0.028), (1.0, 1.0))),
    "hat": (
        _CAP,
        ((0.0, 0.172, 0.0), (0.0, 0.176, 0.0), (0.100, 0.098), (1.0, 1.15)),
        ((0.0, 0.172, 0.07), (0.0, 0.166, 0.15), (0.050, 0.046), (1.3, 0.25)),
    ),
}
HAIR_STYLES = tuple(_HAIR)
