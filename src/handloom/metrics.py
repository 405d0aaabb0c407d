"""How good masks and keypoints are. Every function gives values per sample or per keypoint; means are taken last.

PCK and AUC follow mmpose's RHD evaluation, whose AUC has a ceiling of 0.95. hand3d's AUC differs: never compare across.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PCK_THRESHOLD: Final = 0.2
"""Of the longer side of the keypoints' extent x 1.2."""
AUC_THRESHOLDS_PX: Final = 30.0 * np.arange(20) / 20
"""0, 1.5, ... 28.5 px of the source picture."""


def overlap(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the pixels of intersection and union per picture; two (N, H, W) -> two (N,)."""
    return (predicted & true).sum(axis=(1, 2)), (predicted | true).sum(axis=(1, 2))


def iou(intersection: NDArray[np.int64], union: NDArray[np.int64]) -> Floats:
    """Give intersection over union per picture, 0..1; two empty masks agree, so 1."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


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


def below(errors: Floats, threshold: NDArray[np.floating] | float) -> Floats:
    """Give 1 where an error is less than its threshold, 0 where not, NaN where it does not count."""
    return np.where(np.isnan(errors), np.nan, errors < threshold)


def pck(errors_px: Floats, box_px: NDArray[np.floating]) -> Floats:
    """Give the share of each keypoint's errors below 0.2 x its hand's box side; (N, K), (N,) -> (K,)."""
    return mean_per_keypoint(below(errors_px, PCK_THRESHOLD * box_px[:, None]))


def pck_curve(errors_px: Floats, thresholds_px: Floats) -> Floats:
    """Give the share of errors below each threshold, per keypoint and then their mean; (N, K), (T,) -> (T,)."""
    return np.array([np.nanmean(mean_per_keypoint(below(errors_px, t))) for t in thresholds_px])


def auc(errors_px: Floats) -> float:
    """Give the area under the PCK curve from 0 to 30 px as mmpose sums it: 20 left values, ceiling 0.95."""
    return float(pck_curve(errors_px, AUC_THRESHOLDS_PX).mean())


def mask_scores(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Give the mean and median IoU per picture, and the IoU of all pixels pooled."""
    intersection, union = overlap(predicted, true)
    per_picture = iou(intersection, union)
    return {
        "iou_mean": float(per_picture.mean()),
        "iou_median": float(np.median(per_picture)),
        "iou_pooled": float(intersection.sum() / max(union.sum(), 1)),
    }


def keypoint_scores(errors_px: Floats, box_px: NDArray[np.floating]) -> dict[str, float]:
    """Give EPE over all visible keypoints, px of the source picture, PCK@0.2 and AUC."""
    return {
        "pck_0.2": float(np.nanmean(pck(errors_px, box_px))),
        "epe_mean_px": float(np.nanmean(errors_px)),
        "epe_median_px": float(np.nanmedian(errors_px)),
        "auc_30px": auc(errors_px),
    }
