"""Keypoints to heatmaps and back, side by side.

A heatmap is a distribution over the pixels of a (H, W) map; the net gives its logits. A map whose stride is s has its
pixel centre h at (h + 0.5) * s - 0.5 of the network input. A target is separable, so it is kept as its two
marginals: two rows of numbers instead of a map, 60 times less work than dense Gaussians at 64 x 64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def to_map(points: Tensor, stride: float) -> Tensor:
    """Map input coordinates to those of a map `stride` times smaller."""
    return (points + 0.5) / stride - 0.5


def from_map(points: Tensor, stride: float) -> Tensor:
    """Undo `to_map`."""
    return (points + 0.5) * stride - 0.5


def encode(centres: Tensor, size: int, sigma: float) -> Tensor:
    """Give the marginal of a Gaussian along one axis; (...,) centres in map pixels -> (..., size), each summing to 1.

    A softmax of the log-density, so that a centre beyond the border still gives a distribution.
    """
    axis = torch.arange(size, dtype=centres.dtype, device=centres.device)
    return torch.softmax((axis - centres.unsqueeze(-1)).square() / (-2 * sigma**2), dim=-1)


def softmax(logits: Tensor) -> Tensor:
    """Give each map as a distribution over its pixels; (B, K, H, W)."""
    return torch.softmax(logits.flatten(2), dim=-1).view_as(logits)


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


def decode(maps: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Give each map's keypoint and peak; (B, K, H, W) >= 0 -> (B, K, 2) map pixels (x, y) and (B, K) peak height.

    Local and sub-pixel: the mean of the map over a window of `radius` about its maximum, 0 for the maximum itself. The
    mean over the whole map would be drawn to the map's centre by every other mode. A radius of 4 errs by 0.01 px on a
    Gaussian of sigma 1.5, one of 2 by 0.14: a window that is cut short draws to its own middle.
    """
    width = maps.shape[-1]
    peak, index = maps.flatten(2).max(dim=-1)
    window = torch.arange(-radius, radius + 1, device=maps.device)
    rows = index.div(width, rounding_mode="floor")[..., None] + window
    columns = index.remainder(width)[..., None] + window
    padded = functional.pad(maps, [radius] * 4).flatten(2)
    flat = (rows + radius)[..., :, None] * (width + 2 * radius) + (columns + radius)[..., None, :]
    weights = padded.gather(2, flat.flatten(2)).view(*flat.shape)
    weights = weights + torch.where(peak > 0, 0.0, 1.0)[..., None, None]  # an all-zero map: the window's middle
    total = weights.sum(dim=(-1, -2))
    x = (weights.sum(dim=-2) * columns).sum(dim=-1) / total
    y = (weights.sum(dim=-1) * rows).sum(dim=-1) / total
    return torch.stack([x, y], dim=-1), peak
