"""A second look at each hand: the mask net is shown a square about it, and the mean of both looks counts."""

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from handloom import images
from handloom.geometry import Box
from handloom.images import Picture

Look = Callable[[list[Picture]], NDArray[np.float32]]
"""Pictures (C, C, 3), at least one, to logits of hand against background (N, C, C)."""

FADE: Final = 0.08
"""Of a square's side: as near as this to its edges the second look counts less, at them nothing."""


def look_closer(
    picture: Picture, logits: NDArray[np.float32], boxes: Sequence[Box], look: Look, scale: float, size: int
) -> NDArray[np.float32]:
    """Give logits (S, S) of hand against background after a second look at each hand.

    `logits` (S, S) are those of the first look at the picture padded to a square, `boxes` the hands' in their pixels.
    Squares have `scale` times a box's longer side and are shown at (size, size). In them a pixel's logit is the mean of
    the first look and the second one, where squares overlap of the first one and the mean of the others.
    """
    if not boxes:
        return logits
    step = max(picture.shape[:2]) / len(logits)
    squares = [box.square(scale) for box in boxes]
    closer = look([images.crop(picture, square.times(step), size) for square in squares])
    said, counted = np.zeros_like(logits), np.zeros_like(logits)
    for square, own in zip(squares, closer, strict=True):
        weights = _weights(square, len(logits))
        said += weights * _back(own, square, len(logits))
        counted += weights
    share = np.minimum(counted, 1) / 2
    return ((1 - share) * logits + share * said / np.maximum(counted, 1e-6)).astype(np.float32)


def _weights(square: Box, size: int) -> NDArray[np.float32]:
    """Give how much a look at a square counts in (size, size) pixels: 1 within, less near its edges, 0 beyond."""
    along = np.arange(size, dtype=np.float32) + 0.5
    across, down = (
        np.minimum(along - near, far - along)
        for near, far in ((square.left, square.right), (square.top, square.bottom))
    )
    inside: NDArray[np.float32] = np.clip(np.minimum(across, down[:, None]) / (FADE * square.side), 0, 1)
    return inside


def _back(logits: NDArray[np.float32], square: Box, size: int) -> NDArray[np.float32]:
    """Bring logits (C, C) of a square back to where it lies in (size, size) pixels; 0 beyond."""
    zoom = len(logits) / square.side
    place = [[zoom, 0, zoom * (0.5 - square.left) - 0.5], [0, zoom, zoom * (0.5 - square.top) - 0.5]]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(logits, np.array(place), (size, size), flags=how), np.float32)
