"""Keypoints to heatmaps and back, side by side.

A heatmap is a distribution over the pixels of a (H, W) map; the net gives its logits. A map whose stride is s has its
pixel centre h at (h + 0.5) * s - 0.5 of the network input. A target is separable, so it is kept as its two
marginals: two rows of numbers instead of a map, 60 times less work than dense Gaussians at 64 x 64.

What reads maps takes tensors and arrays: in the few maps of one picture numpy finds the points in two thirds of torch's
time.
"""

import math
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

Maps = TypeVar("Maps", Tensor, NDArray[np.floating])


def to_map(points: Maps, stride: float) -> Maps:
    """Map input coordinates to those of a map `stride` times smaller."""
    return (points + 0.5) / stride - 0.5


def from_map(points: Maps, stride: float) -> Maps:
    """Undo `to_map`."""
    return (points + 0.5) * stride - 0.5


def encode(centres: Tensor, size: int, sigma: float) -> Tensor:
    """Give the marginal of a Gaussian along one axis; (...,) centres in map pixels -> (..., size), each summing to 1.

    A softmax of the log-density, so that a centre beyond the border still gives a distribution.
    """
    axis = torch.arange(size, dtype=centres.dtype, device=centres.device)
    return torch.softmax((axis - centres.unsqueeze(-1)).square() / (-2 * sigma**2), dim=-1)


def softmax(logits: Maps) -> Maps:
    """Give each map as a distribution over its pixels; (B, K, H, W)."""
    if isinstance(logits, Tensor):
        return torch.softmax(logits.flatten(2), dim=-1).view_as(logits)
    above: NDArray[np.floating] = np.exp(logits - logits.max((-2, -1), keepdims=True))
    maps: NDArray[np.floating] = above / above.sum((-2, -1), keepdims=True)
    return maps


def sigmoid(logits: Maps) -> Maps:
    """Give probabilities, of tensors or arrays."""
    said: Maps = torch.sigmoid(logits) if isinstance(logits, Tensor) else special.expit(logits)
    return said


def dense(along_x: Tensor, along_y: Tensor) -> Tensor:
    """Give the map of two marginals; (B, K, W), (B, K, H) -> (B, K, H, W)."""
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def entropy(maps: Tensor) -> Tensor:
    """Give each map's spatial entropy over that of a flat one, 0 (one pixel) to 1 (says nothing); (B, K, H, W) >= 0.

    An all-zero map is flat.
    """
    flat = maps.flatten(2) + 1e-12
    share = flat / flat.sum(dim=-1, keepdim=True)
    return -(share * share.log()).sum(dim=-1) / math.log(flat.shape[-1])


def response_box(maps: Tensor) -> Tensor:
    """Give the box around every pixel that reaches half of its map's peak in any map of a sample, map pixel edges.

    (B, K, H, W) >= 0 -> (B, 4) xyxy.
    """
    flat = (maps >= maps.amax(dim=(2, 3), keepdim=True) / 2).any(dim=1)
    edges = []
    for axis in (1, 2):  # the axis that is folded away: rows for x, columns for y
        there = flat.any(dim=axis).int()
        length = there.shape[1]
        edges.append((there.argmax(dim=1), length - there.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], dim=1).float()


def decode(maps: Maps, radius: int) -> tuple[Maps, Maps]:
    """Give each map's keypoint and peak; (B, K, H, W) >= 0 -> (B, K, 2) map pixels (x, y) and (B, K) peak height.

    Local and sub-pixel: the mean of the map over a window of `radius` about its maximum, 0 for the maximum itself. The
    mean over the whole map would be drawn to the map's centre by every other mode. A radius of 4 errs by 0.01 px on a
    Gaussian of sigma 1.5, one of 2 by 0.14: a window that is cut short draws to its own middle. A map of zeros gives
    its first pixel.
    """
    xp: Any = torch if isinstance(maps, Tensor) else np
    height, width = maps.shape[-2:]
    flat = maps.reshape(*maps.shape[:2], height * width)
    highest = flat.argmax(-1)[..., None]
    y, x = (xp.arange(length, dtype=maps.dtype, device=maps.device) for length in (height, width))
    near_y, near_x = abs(y - highest // width) <= radius, abs(x - highest % width) <= radius
    window = maps * near_y[..., :, None] * near_x[..., None, :]
    along_x, along_y = window.sum(-2), window.sum(-1)
    total = along_x.sum(-1)
    found = xp.stack([along_x @ x, along_y @ y], -1) / (total + (total == 0))[..., None]
    return found, xp.amax(flat, -1)
