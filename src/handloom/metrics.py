"""How good masks and keypoints are. Every function gives values per sample or per keypoint; means are taken last.

Keypoint errors are (N, K) distances, NaN where a keypoint does not count. The two public ways of adding them up stand
in `protocols`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Figures = Mapping[str, float]

PCK_THRESHOLD: Final = 0.2
"""Of the longer side of the keypoints' extent x 1.2."""
AUC_MAX_PX: Final = 30.0
MIN_SKILL: Final = 0.01
"""Of a pose net that follows the picture at all. A constant answer has at most 0.001; after 500 steps the best of the
2019 report's attempts has -0.15 and the worst recipe that learns something 0.03 (docs/posenet.md)."""
MMPOSE_THRESHOLDS_PX: Final = AUC_MAX_PX * np.arange(20) / 20
"""0, 1.5, ... 28.5 px of the source picture."""
HAND3D_THRESHOLDS_PX: Final = np.linspace(0, AUC_MAX_PX, 20)
"""0, 1.58, ... 30 px of the source picture."""


def overlap(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the pixels of intersection and union per picture; two (N, H, W) -> two (N,)."""
    return (predicted & true).sum(axis=(1, 2)), (predicted | true).sum(axis=(1, 2))


def iou(intersection: NDArray[np.int64], union: NDArray[np.int64]) -> Floats:
    """Give intersection over union per picture, 0..1; two empty masks agree, so 1."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def mask_scores(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Give the mean and median IoU per picture, and the IoU of all pixels pooled."""
    intersection, union = overlap(predicted, true)
    per_picture = iou(intersection, union)
    return {
        "iou_mean": float(per_picture.mean()),
        "iou_median": float(np.median(per_picture)),
        "iou_pooled": float(intersection.sum() / max(union.sum(), 1)),
    }


def box_iou(predicted: Floats, true: Floats) -> Floats:
    """Give the intersection over union of boxes (..., 4), xyxy, that are not empty; broadcasts."""
    low = np.maximum(predicted[..., :2], true[..., :2])
    high = np.minimum(predicted[..., 2:], true[..., 2:])
    intersection = (high - low).clip(0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (predicted, true)]
    result: Floats = intersection / (areas[0] + areas[1] - intersection)
    return result


def distances(predicted: NDArray[np.floating], true: NDArray[np.floating], visible: NDArray[np.bool_]) -> Floats:
    """Give each keypoint's distance in the points' unit, NaN where not visible; two (N, K, 2), (N, K) -> (N, K)."""
    offset = predicted.astype(np.float64) - true
    return np.where(visible, np.sqrt((offset**2).sum(axis=-1)), np.nan)


def mean_per_keypoint(values: Floats) -> Floats:
    """Give the mean over samples of each keypoint, NaN for one that was never visible; (N, K) -> (K,)."""
    counted = ~np.isnan(values)
    total = np.where(counted, values, 0.0).sum(axis=0)
    means: Floats = np.full(values.shape[1], np.nan)
    np.divide(total, counted.sum(axis=0), out=means, where=counted.any(axis=0))
    return means


def median_per_keypoint(values: Floats) -> Floats:
    """Give the median over samples of each keypoint, NaN for one that was never visible; (N, K) -> (K,)."""
    ordered = np.sort(values, axis=0)  # NaN last; nanmedian takes ten times as long
    count = (~np.isnan(values)).sum(axis=0)
    columns = np.arange(values.shape[1])
    low, high = ordered[(count - 1).clip(0) // 2, columns], ordered[(count // 2).clip(max=len(values) - 1), columns]
    middle: Floats = (low + high) / 2
    return middle


def below(errors: Floats, threshold: NDArray[np.floating] | float) -> Floats:
    """Give 1 where an error is less than its threshold, 0 where not, NaN where it does not count."""
    return np.where(np.isnan(errors), np.nan, errors < threshold)


def auc_mmpose(errors_px: Floats) -> Floats:
    """Give each error's share of the area under the PCK curve as mmpose sums it: strict <, left sum, at most 0.95."""
    share = (errors_px[..., None] < MMPOSE_THRESHOLDS_PX).mean(axis=-1)
    return np.where(np.isnan(errors_px), np.nan, share)


def auc_hand3d(errors: Floats, thresholds: Floats = HAND3D_THRESHOLDS_PX) -> Floats:
    """Give each error's share of the area under the PCK curve as hand3d sums it: <=, trapezoids, at most 1."""
    reached = (errors[..., None] <= thresholds).astype(float)
    share = np.trapezoid(reached, thresholds, axis=-1) / (thresholds[-1] - thresholds[0])
    return np.where(np.isnan(errors), np.nan, share)


def pck_curve(errors_px: Floats, thresholds_px: Floats) -> Floats:
    """Give the share of errors below each threshold, per keypoint and then their mean; (N, K), (T,) -> (T,)."""
    return np.array([np.nanmean(mean_per_keypoint(below(errors_px, t))) for t in thresholds_px])


def collapse_signs(
    predicted: NDArray[np.floating], true: NDArray[np.floating], visible: NDArray[np.bool_], size: int
) -> dict[str, float]:
    """Give what shows whether keypoints (N, K, 2), pixels of a (size, size) crop, follow the picture at all.

    `skill`: 1 - mean distance / mean distance of always answering each keypoint's mean place; 1 is exact, 0 or less
    says nothing. Squared distances would let a few far keypoints hide a net that works.
    `corner_rate`: share of keypoints within a sixteenth of the side from a corner.
    """
    shown = visible[..., None]
    mean = np.where(shown, true, 0.0).sum(axis=0) / shown.sum(axis=0).clip(1)
    own, constant = (
        np.nansum(distances(said, true, visible)) for said in (predicted, np.broadcast_to(mean, true.shape))
    )
    margin = size / 16
    corner = ((predicted < margin) | (predicted > size - 1 - margin)).all(axis=-1)
    return {"skill": float(1 - own / max(constant, 1e-12)), "corner_rate": float(corner.mean())}


def calibration_table(probability: Floats, truth: NDArray[np.bool_], bins: int = 10) -> NDArray[np.float64]:
    """Give the reliability curve: per bin of probability its mean, the share that was true, the count; (bins, 3)."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins).astype(float)
    said, was = (np.bincount(place, weights=w, minlength=bins) for w in (probability, truth.astype(float)))
    with np.errstate(invalid="ignore"):
        return np.stack([said / count, was / count, count], axis=1)


def calibration_error(table: NDArray[np.float64]) -> float:
    """Give the expected calibration error of a reliability curve: the gap's mean, weighted by count."""
    filled = table[table[:, 2] > 0]
    return float((np.abs(filled[:, 0] - filled[:, 1]) * filled[:, 2]).sum() / filled[:, 2].sum())


def bootstrap(
    figures: Callable[[NDArray[np.int64]], Figures], groups: Sequence[NDArray[np.int64]], resamples: int
) -> dict[str, tuple[float, float]]:
    """Give each figure's 95 % percentile interval over groups of rows drawn with replacement, the same every time.

    A group is a picture: its two hands share light, blur and person, so they are drawn together.
    """
    draw = np.random.default_rng(0)
    drawn = [figures(np.concatenate([groups[i] for i in draw.integers(0, len(groups), len(groups))]))
             for _ in range(resamples)]  # fmt: skip
    return {
        name: (float(low), float(high))
        for name in drawn[0]
        for low, high in [np.percentile([each[name] for each in drawn], [2.5, 97.5])]
    }
