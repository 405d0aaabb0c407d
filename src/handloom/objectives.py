"""What the pose net's maps are held to and how they are read, by the name that `pose.loss` gives.

`cross_entropy` makes each map one distribution over the pixels. The others hold every pixel to a target by itself, as
the 2019 report did: experiments/posenet shows what becomes of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from handloom import heatmaps, losses
from handloom.data.prepared import Keypoints
from handloom.heatmaps import Maps
from handloom.params import PoseParams


@dataclass(frozen=True)
class Objective:
    """One way to learn keypoints from maps."""

    read: Callable[[Any], Any]
    """(B, K, H, W) as the net gives them, tensor or array -> the same >= 0, highest where the keypoint is."""
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None
    """(maps as the net gives them, target maps, visible (B, K)) -> scalar; None: cross-entropy of distributions."""


def _positive(maps: Maps) -> Maps:
    return maps.clip(0)


OBJECTIVES: Final = {
    "cross_entropy": Objective(heatmaps.softmax, None),
    "l2": Objective(_positive, losses.map_l2),
    "weighted_l2": Objective(_positive, losses.map_weighted_l2),
    "l1": Objective(_positive, losses.map_l1),
    "bce": Objective(heatmaps.sigmoid, losses.map_cross_entropy),
    "soft_iou": Objective(heatmaps.sigmoid, losses.map_soft_iou),
}


def read(maps: Maps, params: PoseParams) -> Maps:
    """Give the net's maps >= 0."""
    read: Maps = OBJECTIVES[params.loss].read(maps)
    return read


def map_loss(maps: Tensor, target: Keypoints, params: PoseParams, size: int) -> Tensor:
    """Give the loss of the net's maps (B, 21, H, W) against keypoints in pixels of its (size, size) input."""
    stride = size / maps.shape[-1]
    centres = heatmaps.to_map(target.points, stride)
    marginals = [heatmaps.encode(centres[..., i], maps.shape[-1], params.sigma_px / stride) for i in (0, 1)]
    pixelwise = OBJECTIVES[params.loss].loss
    if pixelwise is None:
        loss = losses.heatmap_cross_entropy(maps, marginals[0], marginals[1], target.visible)
    else:
        loss = pixelwise(maps, _dense_target(marginals, target, params, stride), target.visible)
    if params.coordinate_weight:
        distance = losses.soft_argmax_distance(maps, centres, target.visible)
        loss = loss + params.coordinate_weight * distance * stride / params.sigma_px
    return loss


def _dense_target(marginals: list[Tensor], target: Keypoints, params: PoseParams, stride: float) -> Tensor:
    """Give (B, 21, H, W) targets whose peak is 1 or, at every stride, that of the point blurred at full resolution."""
    maps = heatmaps.dense(marginals[0], marginals[1])
    maps = maps / (maps.amax(dim=(2, 3), keepdim=True) if params.target_peak == "one" else stride**2)
    if params.mask_opacity:
        small = torch.nn.functional.adaptive_avg_pool2d(target.mask.unsqueeze(1), (maps.shape[-2], maps.shape[-1]))
        maps = (1 - params.mask_opacity) * maps + params.mask_opacity * small
    return maps
