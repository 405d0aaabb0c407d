"""Masks of hands: which pixels make one hand, and its box. A mask is (H, W), true where a hand is.

Labels are (H, W) uint8: 0 no hand, 1 the largest hand, 2 the next, and so on.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from handloom.geometry import Box

Labels = NDArray[np.uint8]

MIN_SHARE: Final = 24 / 128**2
"""Smaller hands are stray pixels: 24 of a 128 x 128 mask are about 12 px across in a 320 px picture."""
FRAGMENT_SHARE: Final = 0.1
"""Of its hand: smaller fragments that do not touch the rest are stray pixels too."""
CELLS: Final = 32
"""Votes for a hand's centre are counted in so many cells along each side."""
MIN_PEAK: Final = 0.15
"""Of the highest count of votes: lower peaks are no hand."""
_CORNERS_TOUCH: Final = np.ones((3, 3), int)


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Give the box of all true pixels; there must be at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1]) + 1.0, float(rows[-1]) + 1.0)


def regions(mask: NDArray[np.bool_]) -> Labels:
    """Take what touches for one hand; regions of stray pixels are none."""
    labels, count = ndimage.label(mask, _CORNERS_TOUCH)
    return _by_size(labels, count)


def part(mask: NDArray[np.bool_], centres: NDArray[np.floating]) -> Labels:
    """Part a mask into hands by where its pixels say that their hand's centre lies.

    `centres` (2, H, W), x and y in sides of the picture. Votes pile up at centres, and each pixel belongs to the pile
    nearest to its vote (Cheng et al. 2020, without their map of centres): so hands part where they touch, and a hand
    that something cuts in two stays one.
    """
    votes = centres[:, mask]  # (2, N)
    counts, _, _ = np.histogram2d(votes[1], votes[0], bins=CELLS, range=[[0, 1], [0, 1]])
    piles = ndimage.gaussian_filter(counts, 1.0, mode="constant")
    peaks = (piles == ndimage.maximum_filter(piles, size=5)) & (piles > MIN_PEAK * piles.max())
    rows, columns = np.nonzero(peaks)
    if not len(rows):
        return regions(mask)
    places = (np.stack([columns, rows]) + 0.5) / CELLS  # (2, K)
    nearest = np.linalg.norm(votes[:, :, None] - places[:, None], axis=0).argmin(axis=1)
    labels = np.zeros(mask.shape, int)
    labels[mask] = nearest + 1
    for hand in range(1, len(rows) + 1):
        labels[_fragments(labels == hand)] = 0
    return _by_size(labels, len(rows))


def _by_size(labels: NDArray[np.integer], count: int) -> Labels:
    """Number labels 1...count anew, largest first, without those of stray pixels."""
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= MIN_SHARE * labels.size][:255]
    table = np.zeros(count + 1, np.uint8)
    table[[i + 1 for i in order]] = np.arange(1, len(order) + 1)
    numbered: Labels = table[labels]
    return numbered


def _fragments(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give a hand's small fragments: with 90 % of it in one piece, what else votes for its centre is no part of it."""
    fragments, _ = ndimage.label(mask, _CORNERS_TOUCH)
    sizes = np.bincount(fragments.ravel())
    sizes[0] = 0
    small = sizes < min(FRAGMENT_SHARE * sizes.sum(), sizes.max())
    strays: NDArray[np.bool_] = small[fragments] & mask
    return strays


def boxes(labels: Labels) -> list[Box]:
    """Give one box per hand, in the order of labels."""
    return [tight_box(labels == hand) for hand in range(1, int(labels.max()) + 1)]
