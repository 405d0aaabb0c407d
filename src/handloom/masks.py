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
MIN_PEAK: Final = 0.1
"""Of the highest count of votes: lower peaks are no hand."""
ONE_HAND: Final = 1.5
"""Cells between a peak of left votes and one of right votes up to which both are of one hand."""
SIDE_REACH: Final = 0.1
"""How far a left vote is from a right one at the same place, half of it, in sides of the picture."""
_CORNERS_TOUCH: Final = np.ones((3, 3), int)


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Give the box of all true pixels; there must be at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1]) + 1.0, float(rows[-1]) + 1.0)


def regions(mask: NDArray[np.bool_]) -> Labels:
    """Take what touches for one hand; regions of stray pixels are none."""
    labels, count = ndimage.label(mask, _CORNERS_TOUCH)
    return _by_size(labels, count)


def part(mask: NDArray[np.bool_], centres: NDArray[np.floating], right: NDArray[np.floating] | None = None) -> Labels:
    """Part a mask into hands by where its pixels say that their hand's centre lies, and which hand it is.

    `centres` (2, H, W), x and y in sides of the picture; `right` (H, W), logits of right against left. Votes pile up at
    centres, those of left and of right pixels apart, and each pixel belongs to the pile nearest to its vote (Cheng et
    al. 2020, without their map of centres): so hands part where they touch, and a hand that something cuts in two stays
    one.
    """
    leaning = np.zeros(int(mask.sum())) if right is None else np.tanh(right[mask] / 2)
    votes = np.stack([*centres[:, mask], SIDE_REACH * leaning], axis=1)  # (N, 3)
    sides = [leaning == 0] if right is None else [leaning <= 0, leaning > 0]
    piles = np.stack([_piles(votes[own]) for own in sides])
    peaks = (piles == ndimage.maximum_filter(piles, size=(1, 5, 5))) & (piles > MIN_PEAK * piles.max())
    places = np.argwhere(peaks)  # (K, 3): side, row, column
    places = places[~_doubles(places, piles[peaks])]
    if not len(places):
        return regions(mask)
    reach = SIDE_REACH * (2 * places[:, 0] - 1) if right is not None else np.zeros(len(places))
    targets = np.column_stack([(places[:, 2] + 0.5) / CELLS, (places[:, 1] + 0.5) / CELLS, reach])
    nearest = np.linalg.norm(votes[:, None] - targets, axis=2).argmin(axis=1)
    labels = np.zeros(mask.shape, int)
    labels[mask] = nearest + 1
    for hand in range(1, len(places) + 1):
        labels[_fragments(labels == hand)] = 0
    return _by_size(labels, len(places))


def _piles(votes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Count votes (N, 3) by place, (CELLS, CELLS), smoothed."""
    counts, _, _ = np.histogram2d(votes[:, 1], votes[:, 0], bins=CELLS, range=[[0, 1], [0, 1]])
    piles: NDArray[np.floating] = ndimage.gaussian_filter(counts, 1.0, mode="constant")
    return piles


def _doubles(places: NDArray[np.integer], heights: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Give which piles (K, 3) stand beside a higher one of the other side: of one hand, some pixels of it mistaken."""
    beside = np.linalg.norm(places[:, None, 1:] - places[:, 1:], axis=2) <= ONE_HAND
    doubles: NDArray[np.bool_] = (beside & (places[:, None, 0] != places[:, 0]) & (heights[:, None] < heights)).any(
        axis=1
    )
    return doubles


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
