"""From the joints of a hand to its solids, with the mask id of every part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import raymarch
from handloom.data.synthetic.hand import RADII, Posed, Shape
from handloom.data.synthetic.solids import Paint, Solids

Array = NDArray[np.float64]

FIRST_ID: Final = (2, 18)
"""Mask id of the left and right thumb tip; 3 per finger from tip to palm, then the palm."""

PALM_STEP: Final = 15
WRIST_REACH: Final = 0.022
"""Length of the piece of wrist that counts as hand, metres."""


RING: Final = 1.025, 0.001
"""Radius of a ring over the finger's, and length of the capsule that it is, metres: about 5 mm of it stand out."""


@dataclass(frozen=True)
class Skin:
    """What a hand is painted with."""

    palm: Paint
    finger: Paint
    tip: Paint


@dataclass(frozen=True)
class Ring:
    """A ring on the first bone of a finger (0 the thumb), at a share of the bone's length."""

    finger: int
    at: float
    paint: Paint


def part_id(finger: int, bone: int, *, left: bool) -> int:
    """Mask id of a finger's bone (0 at the palm ... 2 at the tip)."""
    return FIRST_ID[0 if left else 1] + 3 * finger + 2 - bone


def palm_id(*, left: bool) -> int:
    """Mask id of the palm."""
    return FIRST_ID[0 if left else 1] + PALM_STEP


def add_hand(
    solids: Solids,
    posed: Posed,
    shape: Shape,
    skin: Skin,
    rotation: Array,
    wrist: Array,
    *,
    left: bool,
    rings: Sequence[Ring] = (),
) -> None:
    """Add the solids of a hand whose frame has the rows `rotation` and whose wrist lies at `wrist`."""
    thick = shape.flesh * shape.scale
    group = solids.group()
    side = np.array([-1.0 if left else 1.0, 1.0, 1.0])
    axes = rotation * side[:, None]

    def place(x: float, y: float, z: float) -> Array:
        point = np.array([x * shape.width * side[0], y, z]) * shape.scale
        return point @ rotation + wrist

    part = palm_id(left=left)

    def bulk(start: Array, end: Array, radii: tuple[float, float], stretch: tuple[float, float] = (1.0, 1.0)) -> None:
        solids.capsule(
            start, end, (radii[0] * thick, radii[1] * thick), part=part, paint=skin.palm, group=group,
            toward=axes[2], blend=0.012, stretch=stretch,
        )  # fmt: skip

    joints = posed.joints @ rotation + wrist
    bulk(place(0, -WRIST_REACH / shape.scale, 0), place(0, 0.014, 0.001), (0.0178, 0.0185), (1.42, 1.0))
    for finger, (x, y, z), ends in (
        (1, (0.012, 0.020, 0.001), (0.0150, 0.0108)),
        (2, (0.002, 0.020, -0.002), (0.0150, 0.0112)),
        (3, (-0.008, 0.020, -0.001), (0.0145, 0.0104)),
        (4, (-0.016, 0.018, 0.003), (0.0140, 0.0094)),
    ):
        bulk(place(x, y, z), joints[1 + 4 * finger], ends)
    bulk(place(-0.019, 0.022, 0.009), place(-0.029, 0.060, 0.008), (0.0125, 0.0105))
    bulk(place(0.006, 0.075, 0.006), place(-0.022, 0.074, 0.008), (0.0085, 0.0085))
    bulk(place(0.010, 0.022, 0.007), (joints[1] + joints[2]) / 2, (0.0130, 0.0125))
    for finger in range(5):
        chain = solids.chain()
        for bone in range(3):
            begin, end = joints[1 + 4 * finger + bone], joints[2 + 4 * finger + bone]
            ra, rb = RADII[finger, bone] * thick, RADII[finger, bone + 1] * thick
            if bone == 2:
                # The keypoint is the fingertip itself: the last sphere ends about there.
                end = end + (begin - end) * min(0.75 * rb / max(float(np.linalg.norm(end - begin)), 1e-4), 0.5)
            solids.capsule(
                begin, end, (ra, rb), part=part_id(finger, bone, left=left),
                paint=skin.tip if bone == 2 else skin.finger, group=group, chain=chain,
                role=raymarch.LINK if bone else raymarch.ROOT, blend=0.004, root_blend=0.016 if finger == 0 else 0.010,
                frame=posed.frames[finger, bone] @ rotation, stretch=(1.06, 0.94),
            )  # fmt: skip
    for ring in rings:
        begin, end = joints[1 + 4 * ring.finger], joints[2 + 4 * ring.finger]
        radius = (1 - ring.at) * RADII[ring.finger, 0] + ring.at * RADII[ring.finger, 1]
        at = begin + ring.at * (end - begin)
        way = (end - begin) / np.linalg.norm(end - begin)
        solids.capsule(
            at, at + way * RING[1], (radius * thick * RING[0],) * 2, part=part_id(ring.finger, 0, left=left),
            paint=ring.paint, group=solids.group(), frame=posed.frames[ring.finger, 0] @ rotation, stretch=(1.06, 0.94),
        )  # fmt: skip
