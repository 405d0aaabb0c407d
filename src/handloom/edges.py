"""Masks that end where the picture shows an edge: the guided filter (He et al. 2013), in its fast form (2015)."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from handloom import images
from handloom.images import Picture

RADIUS: Final = 2
"""Of the square about each pixel of the logits, in these, within which they are taken for linear in the colours."""
EPSILON: Final = 5e-4
"""Variance of colours, from 0 to 1, below which a square shows no edge: there logits are only smoothed."""
BAND: Final = 256
"""Rows of the picture that are followed at once: all of 108 megapixels would take 3 GB."""

Floats = NDArray[np.float32]


def follow_edges(logits: Floats, picture: Picture) -> Floats:
    """Give logits (S, S) of a picture padded to a square at the pixels (H, W) of the picture, changing at its edges.

    In each square of `logits` a line of the three colours is fitted to them; each pixel of the picture takes what the
    mean of the lines about it says of its own colour.
    """
    lines = _lines(logits, _colors(images.shrink_square(picture, len(logits))))
    height, width = picture.shape[:2]
    step, how = len(logits) / max(height, width), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    followed = np.empty((height, width), np.float32)
    for top in range(0, height, BAND):
        band = picture[top : top + BAND]
        place = np.array([[step, 0, step / 2 - 0.5], [0, step, step * (top + 0.5) - 0.5]])
        weights = cv2.warpAffine(lines, place, (width, len(band)), flags=how, borderMode=cv2.BORDER_REPLICATE)
        followed[top : top + BAND] = np.einsum("hwc,hwc->hw", weights[..., :3], _colors(band)) + weights[..., 3]
    return followed


def _lines(logits: Floats, colors: Floats) -> Floats:
    """Give weights of the three colours (S, S, 3) and what is added to them, (S, S, 4): the mean about each pixel."""
    mean_color, mean = _mean(colors), _mean(logits)
    together = _mean(colors * logits[..., None]) - mean_color * mean[..., None]
    products = _mean((colors[..., :, None] * colors[..., None, :]).reshape(*logits.shape, 9))
    spread = products.reshape(*logits.shape, 3, 3) - mean_color[..., :, None] * mean_color[..., None, :]
    weights = np.linalg.solve(spread + EPSILON * np.eye(3, dtype=np.float32), together[..., None])[..., 0]
    added = mean - (weights * mean_color).sum(axis=-1)
    return _mean(np.concatenate([weights, added[..., None]], axis=-1))


def _mean(values: Floats) -> Floats:
    """Give the mean of the square about each pixel; (S, S) or (S, S, C)."""
    return np.asarray(cv2.blur(values, (2 * RADIUS + 1, 2 * RADIUS + 1)), np.float32)


def _colors(picture: Picture) -> Floats:
    return picture.astype(np.float32) / np.float32(255)
