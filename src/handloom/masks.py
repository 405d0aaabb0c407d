"""Masks of hands: regions and their boxes. A mask is (H, W), true or non-zero where a hand is."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from handloom.geometry import Box

MIN_REGION_PIXELS = 24
"""Smaller regions of a 128 x 128 mask are stray pixels: about 12 px across in a 320 px picture."""


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Give the box of all true pixels; there must be at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1]) + 1.0, float(rows[-1]) + 1.0)


def region_boxes(mask: NDArray[np.bool_], min_pixels: int) -> list[Box]:
    """Give one box per 8-connected region of at least `min_pixels`, largest region first."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), int))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    slices = ndimage.find_objects(labels)
    kept = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= min_pixels]
    return [Box(float(x.start), float(y.start), float(x.stop), float(y.stop)) for y, x in (slices[i] for i in kept)]
