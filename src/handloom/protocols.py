"""The two public ways of scoring keypoints on RHD, as data. Never compare across them.

mmpose (InterNet's): every annotated hand, wrist as keypoint 0, flip test, means over visible keypoints. hand3d
(Zimmermann & Brox 2017): in each picture the hand with more mask pixels, the palm's centre as keypoint 0, no flip test,
means per keypoint and then over the 21. The same errors score about 0.025 more under hand3d's AUC than under mmpose's.
Both are applied here to the crop around a hand's mask, where the originals crop around the annotated keypoints.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom import metrics
from handloom.metrics import Floats
from handloom.skeleton import MIDDLE_MCP, WRIST


def _over_keypoints(values: Floats) -> float:
    """Give the mean per keypoint, then over keypoints."""
    return float(np.nanmean(metrics.mean_per_keypoint(values)))


def _median_over_keypoints(values: Floats) -> float:
    return float(np.nanmean(metrics.median_per_keypoint(values)))


def _over_all(values: Floats) -> float:
    """Give the mean over all visible keypoints of all hands."""
    return float(np.nanmean(values))


def _as_they_are(errors_px: Floats, box_px: NDArray[np.floating]) -> Floats:
    return errors_px


@dataclass(frozen=True)
class Figure:
    """One figure: what each error counts, and how that is added up."""

    counts: Callable[[Floats, NDArray[np.floating]], Floats]
    """((N, K) errors px, (N,) box side px) -> (N, K)."""
    total: Callable[[Floats], float]


@dataclass(frozen=True)
class Protocol:
    """Which hands, which keypoint 0, which figures."""

    name: str
    dominant_only: bool
    """Whether only the hand with more mask pixels counts, of the two that a picture may have."""
    palm: bool
    """Whether keypoint 0 is the middle between wrist and middle MCP, visible if either is; else the wrist."""
    flip_test: bool
    figures: Mapping[str, Figure]

    def errors_px(self, predicted: Floats, true: Floats, visible: NDArray[np.bool_]) -> Floats:
        """Give the distances that count; two (N, 21, 2) px of the source picture, (N, 21) -> (N, 21)."""
        if self.palm:
            (predicted, _), (true, visible) = palm_for_wrist(predicted, visible), palm_for_wrist(true, visible)
        return metrics.distances(predicted, true, visible)

    def figures_of(self, errors_px: Floats, box_px: NDArray[np.floating]) -> "Scored":
        """Give the figures as a function of rows, so that they can be asked of all and of many resamples."""
        return Scored({name: (f.counts(errors_px, box_px), f.total) for name, f in self.figures.items()})


@dataclass(frozen=True)
class Scored:
    """What every error counts in every figure of a protocol."""

    parts: Mapping[str, tuple[Floats, Callable[[Floats], float]]]

    def __call__(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Give the figures over some rows."""
        return {name: total(counts[rows]) for name, (counts, total) in self.parts.items()}


def palm_for_wrist(points: Floats, visible: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Give points (N, 21, 2) and visible (N, 21) whose keypoint 0 is hand3d's palm centre."""
    points, visible = np.array(points, np.float64), visible.copy()
    points[:, WRIST] = (points[:, WRIST] + points[:, MIDDLE_MCP]) / 2
    visible[:, WRIST] |= visible[:, MIDDLE_MCP]
    return points, visible


def _pck(errors_px: Floats, box_px: NDArray[np.floating]) -> Floats:
    return metrics.below(errors_px, metrics.PCK_THRESHOLD * box_px[:, None])


MMPOSE: Final = Protocol(
    name="mmpose",
    dominant_only=False,
    palm=False,
    flip_test=True,
    figures={
        "pck_0.2": Figure(_pck, _over_keypoints),
        "auc_30px": Figure(lambda errors, box: metrics.auc_mmpose(errors), _over_keypoints),
        "epe_mean_px": Figure(_as_they_are, _over_all),
        "epe_median_px": Figure(_as_they_are, lambda errors: float(np.nanmedian(errors))),
    },
)
HAND3D: Final = Protocol(
    name="hand3d",
    dominant_only=True,
    palm=True,
    flip_test=False,
    figures={
        "auc_30px": Figure(lambda errors, box: metrics.auc_hand3d(errors), _over_keypoints),
        "epe_mean_px": Figure(_as_they_are, _over_keypoints),
        "epe_median_px": Figure(_as_they_are, _median_over_keypoints),
    },
)
PROTOCOLS: Final = (MMPOSE, HAND3D)
