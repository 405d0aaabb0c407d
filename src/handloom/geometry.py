"""Boxes, points, and the way between a picture and a crop of it: the one pixel convention.

Integer coordinates are pixel centres: pixel (0, 0) covers [-0.5, 0.5) in both axes. A `Box` holds pixel *edges* counted
from the picture's outer corner, so the box of the whole picture is (0, 0, width, height), and pixel centre c lies at
c + 0.5 on that scale.
Points are (x, y); sizes are (height, width).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""(..., 2) pixel coordinates (x, y)."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle of pixel edges, left, top, right, bottom (xyxy, right and bottom exclusive)."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, points: Points) -> Self:
        """Give the tightest box whose pixels hold all points; (N, 2), N >= 1."""
        low, high = points.min(axis=0), points.max(axis=0)
        return cls(float(low[0]), float(low[1]), float(high[0]) + 1.0, float(high[1]) + 1.0)

    @property
    def width(self) -> float:
        """Horizontal extent, px."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Vertical extent, px."""
        return self.bottom - self.top

    @property
    def side(self) -> float:
        """The longer of width and height, px."""
        return max(self.width, self.height)

    def square(self, scale: float) -> Self:
        """Give the square about the same centre whose side is `scale` times the longer side."""
        x, y, half = (self.left + self.right) / 2, (self.top + self.bottom) / 2, self.side * scale / 2
        return type(self)(x - half, y - half, x + half, y + half)

    def times(self, factor: float) -> Self:
        """Give the same box in pixels of which there are `factor` times as many along each axis."""
        return type(self)(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def to_crop(self, points_px: Points, size: int) -> Points:
        """Map picture coordinates to those of this box resized to size x size pixels."""
        return ((points_px + 0.5 - self._corner) * (size / self._extent) - 0.5).astype(np.float32)

    def to_image(self, points_crop: Points, size: int) -> Points:
        """Undo `to_crop`."""
        return ((points_crop + 0.5) * (self._extent / size) + self._corner - 0.5).astype(np.float32)

    @property
    def _corner(self) -> NDArray[np.float64]:
        return np.array([self.left, self.top])

    @property
    def _extent(self) -> NDArray[np.float64]:
        return np.array([self.width, self.height])


def to_images(points_crop: NDArray[np.floating], boxes: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Do `Box.to_image` for many: (M, K, 2) pixels of (size, size) crops of boxes (M, 4), xyxy -> source pictures."""
    edges = boxes[:, None].astype(np.float64)
    corner, extent = edges[..., :2], edges[..., 2:] - edges[..., :2]
    return np.asarray((points_crop + 0.5) * (extent / size) + corner - 0.5)
