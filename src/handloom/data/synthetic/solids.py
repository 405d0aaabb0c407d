"""The list of solids a picture is made of: where each is, what mask id it writes and what it is painted with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic import raymarch
from handloom.data.synthetic.hand import cross

Array = NDArray[np.float64]
Vector = Sequence[float] | Array

# What a solid is painted with: the colour rule of `shade`.
PLAIN, SKIN, FINGER, NAILED, PALM, CLOTH, FACE, HAIR = range(8)

UPRIGHT: Final = np.eye(3)


@dataclass(frozen=True)
class Paint:
    """Colour rule, linear RGB 0..1, gloss 0..1, texture index (-1 none), repeats per metre and offset in metres.

    For a nail, offset and extra are the colour of its varnish; extra 0 means none. For a palm, extra is how much the
    veins on its back show, 0..1.
    """

    rule: int
    rgb: tuple[float, float, float]
    gloss: float = 0.1
    texture: int = -1
    repeats: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    extra: float = 0.0


def frame_along(direction: Array, toward: Array) -> Array:
    """Rows x, y, z of a right-handed frame whose y runs along `direction` and whose z leans toward `toward`."""
    y = direction / max(float(np.sqrt(direction @ direction)), 1e-9)
    z = toward - y * (toward @ y)
    size = np.sqrt(z @ z)
    if size < 1e-6:
        return frame_along(direction, np.array([0.31, 0.52, 0.79]))
    z = z / size
    return np.array([cross(y, z), y, z])


@dataclass
class Solids:
    """A growing table of solids; `floats` and `ints` are laid out as `raymarch` reads them."""

    rows: list[list[float]] = field(default_factory=list)
    tags: list[tuple[int, int, int, int]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
    groups: int = 0
    chains: int = 0

    def group(self) -> int:
        """A fresh group number."""
        self.groups += 1
        return self.groups

    def chain(self) -> int:
        """A fresh chain number."""
        self.chains += 1
        return self.chains

    def capsule(
        self,
        start: Vector,
        end: Vector,
        radii: tuple[float, float],
        *,
        part: int,
        paint: Paint,
        group: int,
        frame: Array | None = None,
        chain: int = 0,
        role: int = raymarch.BASE,
        blend: float = 0.01,
        root_blend: float = 0.01,
        stretch: tuple[float, float] = (1.0, 1.0),
        toward: Vector = (0.0, 0.0, 1.0),
    ) -> None:
        """Add a tapered capsule from `start` to `end`; `frame` overrules the one built from `toward`."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        run = end - start
        length = max(float(np.sqrt(run @ run)), 1e-4)
        axes = frame_along(run, np.asarray(toward, float)) if frame is None else frame
        bound = length / 2 + max(radii) * max(*stretch, 1.0) + blend / 4 + root_blend / 4 + 0.002
        self.rows.append(
            [*axes.ravel(), *start, *stretch, length, *radii, blend, root_blend, bound, *(start + run / 2), 0.0, 0.0]
        )
        self.tags.append((group, chain, role, raymarch.CAPSULE))
        self.parts.append(part)
        self.paints.append(paint)

    def box(self, centre: Vector, axes: Array, half: Vector, rounding: float, *, part: int, paint: Paint) -> None:
        """Add a rounded box of half sizes `half` (x, y, z)."""
        hx, hy, hz = (float(h) for h in half)
        bound = float(np.sqrt(hx * hx + hy * hy + hz * hz)) + rounding + 0.002
        self.rows.append(
            [*axes.ravel(), *centre, 1.0, 1.0, hy, rounding, rounding, 0.001, 0.001, bound, *centre, hx, hz]
        )
        self.tags.append((self.group(), 0, raymarch.BASE, raymarch.BOX))
        self.parts.append(part)
        self.paints.append(paint)

    def seen_from(self, rotation: Array, position: Array) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The tables in the frame of a camera at `position` whose axes are the rows of `rotation`."""
        floats = np.array(self.rows)
        floats[:, :9] = (floats[:, :9].reshape(-1, 3, 3) @ rotation.T).reshape(-1, 9)
        floats[:, 9:12] = (floats[:, 9:12] - position) @ rotation.T
        bound = slice(raymarch.BOUND_X, raymarch.BOUND_Z + 1)
        floats[:, bound] = (floats[:, bound] - position) @ rotation.T
        return floats.astype(np.float32), np.array(self.tags, np.int32)
