"""The test split, scored: figures over all, per keypoint and per sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from handloom import metrics
from handloom.checkpoint import Model
from handloom.data.prepared import PoseSet, SegmentSet
from handloom.prediction import device, predict
from handloom.skeleton import NAMES
from handloom.tasks import POSE, SEGMENT, Predictions, keypoint_errors_px

CURVE_PX = np.arange(0, 31.0)
"""Thresholds of the PCK curve, px of the source picture."""


class FlipTest(nn.Module):
    """A net whose logits are the mean over a picture and its mirror image, mirrored back; mmpose's flip test.

    A mirrored left hand is a right hand with the same 21 keypoints, so no map changes its place.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Give logits of the net's own shape."""
        mean: Tensor = (self.net(images) + self.net(images.flip(-1)).flip(-1)) / 2
        return mean


class ScaleTest(nn.Module):
    """A net whose logits are the mean over a picture at several sizes, brought back to the picture's own."""

    def __init__(self, net: nn.Module, scales: Sequence[float]) -> None:
        super().__init__()
        self.net, self.scales = net, scales

    def forward(self, images: Tensor) -> Tensor:
        """Give logits at the pictures' resolution."""
        sizes = [round(images.shape[-1] * scale) for scale in self.scales]
        logits = [_resized(self.net(_resized(images, size)), images.shape[-1]) for size in sizes]
        return torch.stack(logits).mean(dim=0)


def _resized(maps: Tensor, size: int) -> Tensor:
    return functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _scored(model: Model, flip: bool) -> nn.Module:
    net = model.net.to(device())
    return FlipTest(net) if flip else net


@dataclass(frozen=True)
class Report:
    """What one net does on a test split."""

    predictions: Predictions
    scores: dict[str, Any]
    """Named figures over the whole split."""
    samples: pd.DataFrame
    """One row per picture or hand."""
    tables: dict[str, pd.DataFrame]
    """Further tables, by name, for plots."""


def evaluate_segment(model: Model, test: SegmentSet, batch_size: int, *, flip: bool, scales: Sequence[float]) -> Report:
    """Score masks, hand against background, at the size of the network input."""
    predictions, _ = predict(ScaleTest(_scored(model, flip), scales), SEGMENT, test, batch_size)
    true = test.masks[:] > 0
    intersection, union = metrics.overlap(predictions["masks"], true)
    samples = pd.DataFrame(
        {
            "sample_id": test.ids[:],
            "iou": metrics.iou(intersection, union),
            "predicted_pixels": predictions["masks"].sum(axis=(1, 2)),
            "true_pixels": true.sum(axis=(1, 2)),
        }
    )
    scores = {"num_pictures": len(test), **SEGMENT.score(predictions, test)}
    return Report(predictions, scores, samples, {})


def evaluate_pose(model: Model, test: PoseSet, batch_size: int, *, flip: bool) -> Report:
    """Score keypoints on the true crop: every kept hand, its visible keypoints, wrist as keypoint 0."""
    predictions, _ = predict(_scored(model, flip), POSE, test, batch_size)
    errors = keypoint_errors_px(predictions, test)
    columns = {f"error_px.{name}": errors[:, i] for i, name in enumerate(NAMES)}
    samples = pd.DataFrame(
        {
            "sample_id": test.ids[:],
            "hand": np.where(test.sides[:] == 1, "left", "right"),
            "num_visible": test.visible.sum(axis=1),
            "pck_box_px": test.pck_px[:],
            "epe_px": np.nanmean(errors, axis=1),
            **columns,
        }
    )
    scores = {"num_hands": len(test), **POSE.score(predictions, test)}
    tables = {"keypoints": _per_keypoint(errors, test.pck_px[:]), "pck": _curve(errors)}
    return Report(predictions, scores, samples, tables)


def _per_keypoint(errors: NDArray[np.float64], box_px: NDArray[np.float32]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "keypoint": NAMES,
            "pck_0.2": metrics.pck(errors, box_px),
            "epe_mean_px": metrics.mean_per_keypoint(errors),
            "epe_median_px": [float(np.median(e[~np.isnan(e)])) if not np.isnan(e).all() else np.nan for e in errors.T],
            "auc_30px": [metrics.auc(errors[:, [i]]) for i in range(errors.shape[1])],
            "num_visible": (~np.isnan(errors)).sum(axis=0),
        }
    )


def _curve(errors: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame({"threshold_px": CURVE_PX, "pck": metrics.pck_curve(errors, CURVE_PX)})
