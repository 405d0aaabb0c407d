"""Masks of hands: which pixels make one hand, and its box. A mask is (H, W), true where a hand is.

Labels are (H, W) uint8: 0 no hand, 1 the largest hand, 2 the next, and so on.
"""

from typing import Final

import cv2
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
ALIKE: Final = 0.3
"""Parts that touch are one hand where their pixels' mean leanings, from left -1 to right 1, are less apart: so are half
of what is parted by mistake, and 8 % of touching hands."""
_SIDES: Final = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_CORNERS: Final = np.ones((3, 3), np.uint8)
_PEAK: Final = np.ones((5, 5), np.uint8)
"""Cells about a peak that none is higher in."""
SPREAD: Final = ndimage.gaussian_filter1d(np.eye(CELLS), 1.0, mode="constant")
"""(CELLS, CELLS) what smooths a row of cells: a product with it takes a fifth of the filter's time."""


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Give the box of all true pixels; there must be at least one."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return Box(float(left), float(top), float(left + width), float(top + height))


def regions(mask: NDArray[np.bool_], fine: NDArray[np.bool_] | None = None) -> Labels:
    """Take what touches for one hand; regions of stray pixels are none. Labels are at the resolution of `fine`."""
    labels, count = ndimage.label(mask, _CORNERS)
    ranks = np.zeros(count + 1, np.uint16)
    ranks[1 + np.argsort(-np.bincount(labels.ravel(), minlength=count + 1)[1:], kind="stable")] = np.arange(
        1, count + 1
    )
    ranked = ranks[labels]
    return _by_size(ranked if fine is None else _enlarged(ranked, fine), count)


def part(
    mask: NDArray[np.bool_],
    centres: NDArray[np.floating],
    right: NDArray[np.floating] | None = None,
    fine: NDArray[np.bool_] | None = None,
) -> Labels:
    """Part a mask into hands by where its pixels say that their hand's centre lies, and which hand it is.

    `centres` (2, H, W), x and y in sides of the picture; `right` (H, W), logits of right against left. Votes pile up at
    centres, those of left and of right pixels apart, and each pixel belongs to the pile nearest to its vote (Cheng et
    al. 2020, without their map of centres): so hands part where they touch, and a hand that something cuts in two stays
    one. Labels are at the resolution of `fine`, the same mask n times as wide and high; there a quarter of the pixels
    makes them as well, since votes are no finer.
    """
    leaning = np.zeros(np.count_nonzero(mask)) if right is None else np.tanh(right[mask] / 2)
    votes = np.stack([*centres[:, mask], SIDE_REACH * leaning])  # (3, N)
    piles = _piles(votes[:2], np.zeros(len(leaning), np.intp) if right is None else (leaning > 0).astype(np.intp))
    peaks = (piles == [cv2.dilate(pile, _PEAK) for pile in piles]) & (piles > MIN_PEAK * piles.max())
    order = np.argsort(-piles[peaks], kind="stable")
    places = np.argwhere(peaks)[order]  # (K, 3): side, row, column; the highest pile first
    places = places[~_doubles(places, piles[peaks][order])]
    if not len(places):
        return regions(mask, fine)
    reach = SIDE_REACH * (2 * places[:, 0] - 1) if right is not None else np.zeros(len(places))
    targets = np.column_stack([(places[:, 2] + 0.5) / CELLS, (places[:, 1] + 0.5) / CELLS, reach])
    apart = ((votes - targets[:, :, None]) ** 2).sum(axis=1)  # (K, N)
    labels: NDArray[np.integer] = np.zeros(mask.shape, np.uint16)
    labels[mask] = apart.argmin(axis=0) + 1
    for hand, place in enumerate(ndimage.find_objects(labels), start=1):
        if place:
            labels[place][_fragments(labels[place] == hand)] = 0
    if right is not None and len(places) > 1:
        labels = _united(labels, right, len(places))
    return _by_size(labels if fine is None else _enlarged(labels, fine), len(places))


def _united(labels: NDArray[np.integer], right: NDArray[np.floating], count: int) -> NDArray[np.integer]:
    """Make one of parts 1...count that touch and lean alike: a large hand's votes may pile up twice."""
    inside = labels > 0
    sizes = np.bincount(labels[inside], minlength=count + 1)
    leanings = np.bincount(labels[inside], np.tanh(right[inside] / 2), minlength=count + 1) / np.maximum(sizes, 1)
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    one, other = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in sides], axis=1)
    pairs = (one != other) & (one > 0) & (other > 0)
    one, other = one[pairs], other[pairs]
    alike = np.abs(leanings[one] - leanings[other]) < ALIKE
    joined = np.eye(count + 1, dtype=bool)
    joined[one[alike], other[alike]] = joined[other[alike], one[alike]] = True
    for _ in range(count.bit_length()):
        joined = joined @ joined  # what a chain twice as long joins
    united: NDArray[np.integer] = joined.argmax(axis=1)[labels]
    return united


def _enlarged(labels: NDArray[np.integer], fine: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Bring labels (h, w) to the pixels of a finer mask (H, W), which may reach one of their own pixels farther.

    There a pixel is of what it touches with a side, else with a corner; of several hands, the one of the highest label,
    which is the lowest pile or the smallest region.
    """
    factor, labels = len(fine) // len(labels), labels.astype(np.uint16)
    sides, corners = (cv2.dilate(labels, near) for near in (_SIDES, _CORNERS))
    reached = np.where(labels > 0, labels, np.where(sides > 0, sides, corners))
    enlarged: NDArray[np.integer] = reached.repeat(factor, axis=0).repeat(factor, axis=1) * fine
    return enlarged


def _piles(votes: NDArray[np.floating], sides: NDArray[np.integer]) -> NDArray[np.floating]:
    """Count votes (2, N), x and y, by side (N,), 0 or 1, and place, (2, CELLS, CELLS), smoothed."""
    counted = ((votes >= 0) & (votes < 1)).all(axis=0)
    x, y = (votes[:, counted] * CELLS).astype(np.intp)
    counts = np.bincount((sides[counted] * CELLS + y) * CELLS + x, minlength=2 * CELLS**2)
    piles: NDArray[np.floating] = SPREAD @ counts.reshape(2, CELLS, CELLS) @ SPREAD
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
    if order == list(range(count)):
        return labels.astype(np.uint8, copy=False)
    table = np.zeros(count + 1, np.uint8)
    table[[i + 1 for i in order]] = np.arange(1, len(order) + 1)
    numbered: Labels = table[labels]
    return numbered


def _fragments(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give a hand's small fragments: with 90 % of it in one piece, what else votes for its centre is no part of it."""
    count, fragments, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count == 2:
        return np.zeros_like(mask)
    sizes = stats[:, cv2.CC_STAT_AREA]
    sizes[0] = 0  # what is no hand
    small = sizes < min(FRAGMENT_SHARE * sizes.sum(), sizes.max())
    strays: NDArray[np.bool_] = small[fragments] & mask
    return strays


def boxes(labels: Labels) -> list[Box]:
    """Give one box per hand, in the order of labels."""
    return [tight_box(labels == hand) for hand in range(1, int(labels.max()) + 1)]
