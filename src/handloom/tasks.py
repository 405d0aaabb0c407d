"""SEGMENT and POSE: all that differs between the two nets, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from handloom import draw, heatmaps, losses, metrics
from handloom.data.prepared import Keypoints, PoseSet, SegmentSet
from handloom.images import Picture
from handloom.params import PoseParams, SegmentParams
from handloom.skeleton import NUM_KEYPOINTS

Predictions = dict[str, NDArray[Any]]
"""What a net says of N samples, array by array, each with N rows."""


@dataclass(frozen=True)
class Task:
    """What a net learns. `data` is SegmentSet for one and PoseSet for the other, `target` what its batches hold."""

    name: str
    outputs: int
    data: Any
    loss: Callable[[Tensor, Any, Any, int], Tensor]
    """(logits, target, params, side of the network input) -> scalar."""
    predict: Callable[[Tensor, int], Predictions]
    """(logits, side of the network input) -> arrays."""
    score: Callable[[Predictions, Any], Mapping[str, float]]
    """(predictions of a whole split, that split) -> named figures."""
    headline: str
    """The figure by which a training is judged; higher is better."""
    show: Callable[[Predictions, Any, int], Picture]
    """(predictions of a whole split, that split, row) -> a picture of prediction against truth."""


def _hand_logits(logits: Tensor, size: int) -> Tensor:
    """Bring the one map of a strided net back to the resolution of its input; (B, 1, H, W) -> (B, S, S)."""
    return functional.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False).squeeze(1)


def _mask_loss(logits: Tensor, mask: Tensor, params: SegmentParams, size: int) -> Tensor:
    full = _hand_logits(logits, size)
    loss = losses.mask_cross_entropy(full, mask)
    return loss + params.iou_weight * losses.soft_iou(full, mask) if params.iou_weight else loss


def _predict_masks(logits: Tensor, size: int) -> Predictions:
    """Give `masks` (B, S, S) bool: hand where that is the likelier."""
    return {"masks": (_hand_logits(logits, size) > 0).cpu().numpy()}


def _score_masks(predictions: Predictions, truth: SegmentSet) -> Mapping[str, float]:
    return metrics.mask_scores(predictions["masks"], truth.masks[:] > 0)


def _show_mask(predictions: Predictions, truth: SegmentSet, row: int) -> Picture:
    return draw.enlarge(draw.mask(truth.images[row], predictions["masks"][row], truth.masks[row] > 0), 2)


def _heatmap_loss(logits: Tensor, target: Keypoints, params: PoseParams, size: int) -> Tensor:
    stride = size / logits.shape[-1]
    centres = heatmaps.to_map(target.points, stride)
    along_x, along_y = (
        heatmaps.encode(centres[..., axis], logits.shape[-1], params.sigma_px / stride) for axis in (0, 1)
    )
    return losses.heatmap_cross_entropy(logits, along_x, along_y, target.visible)


def _predict_keypoints(logits: Tensor, size: int) -> Predictions:
    """Give `keypoints` (B, 21, 2) in pixels of the network input, and `peaks` (B, 21), 0..1."""
    points, peaks = heatmaps.decode(logits.float())
    in_crop = heatmaps.from_map(points, size / logits.shape[-1])
    return {"keypoints": in_crop.cpu().numpy(), "peaks": peaks.cpu().numpy()}


def keypoint_errors_px(predictions: Predictions, truth: PoseSet) -> NDArray[np.float64]:
    """Give each keypoint's distance in pixels of the source picture, NaN where not visible; (M, 21)."""
    crop_errors = metrics.distances(predictions["keypoints"], truth.keypoints[:], truth.visible[:])
    side_px = truth.boxes[:, 2] - truth.boxes[:, 0]
    return crop_errors * (side_px / truth.size)[:, None]


def _score_keypoints(predictions: Predictions, truth: PoseSet) -> Mapping[str, float]:
    return metrics.keypoint_scores(keypoint_errors_px(predictions, truth), truth.pck_px[:])


def _show_keypoints(predictions: Predictions, truth: PoseSet, row: int) -> Picture:
    images, _ = truth.batch(np.array([row]))
    crop = images[0].permute(1, 2, 0).to(torch.uint8).numpy()
    true = draw.skeleton(crop, truth.keypoints[row], truth.visible[row], scale=2, dashed=True)
    return draw.skeleton(true, predictions["keypoints"][row] * 2 + 0.5, truth.visible[row])


SEGMENT: Final = Task(
    name="segment",
    outputs=1,
    data=SegmentSet,
    loss=_mask_loss,
    predict=_predict_masks,
    score=_score_masks,
    headline="iou_mean",
    show=_show_mask,
)
POSE: Final = Task(
    name="pose",
    outputs=NUM_KEYPOINTS,
    data=PoseSet,
    loss=_heatmap_loss,
    predict=_predict_keypoints,
    score=_score_keypoints,
    headline="pck_0.2",
    show=_show_keypoints,
)
TASKS: Final = {task.name: task for task in (SEGMENT, POSE)}
