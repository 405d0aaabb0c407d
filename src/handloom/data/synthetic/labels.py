"""What is known of a picture: keypoints in RHD's order, and which of them count as visible."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.flesh import FIRST_ID, PALM_STEP
from handloom.skeleton import FROM_RHD

NEIGHBOURHOOD: Final = 2
"""Half width of the square of pixels around a keypoint that is searched for its hand."""

MIN_PIXELS: Final = 5
"""Pixels of its own hand among those 25 that make a keypoint visible."""


def rhd_order(joints: NDArray[np.float64]) -> NDArray[np.float32]:
    """(21, 3) joints from base-to-tip to RHD's tip-to-base order, float32."""
    return joints[list(FROM_RHD)].astype(np.float32)


def project(xyz: NDArray[np.float32], intrinsics: NDArray[np.float32]) -> NDArray[np.float32]:
    """Camera-frame points (N, 3), metres, to pixels (N, 2), float32."""
    uvw = xyz.astype(np.float64) @ intrinsics.astype(np.float64).T
    return (uvw[:, :2] / uvw[:, 2:]).astype(np.float32)


def visible(uv: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(42,) visibility of RHD-ordered points (42, 2): inside the frame, with its own hand's pixels around it."""
    height, width = mask.shape
    x, y = np.rint(np.clip(uv, -1e4, 1e4)).astype(int).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # Outside of the frame nothing is a hand's.
    padded = np.zeros((height + 2 * NEIGHBOURHOOD, width + 2 * NEIGHBOURHOOD), np.uint8)
    padded[NEIGHBOURHOOD:-NEIGHBOURHOOD, NEIGHBOURHOOD:-NEIGHBOURHOOD] = mask
    step = np.arange(2 * NEIGHBOURHOOD + 1)
    rows, cols = np.where(within, y, 0)[:, None, None] + step[:, None], np.where(within, x, 0)[:, None, None] + step
    around = padded[rows, cols]
    first = np.repeat(FIRST_ID, 21)[:, None, None]
    own = (around >= first) & (around <= first + PALM_STEP)
    return np.asarray(within & (own.sum((1, 2)) >= MIN_PIXELS))
