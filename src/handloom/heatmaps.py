"""Keypoints to heatmaps and back, side by side.

A heatmap is a distribution over the pixels of a (H, W) map; the net gives its logits. A map whose stride is s has its
pixel centre h at (h + 0.5) * s - 0.5 of the network input. A target is separable, so it is kept as its two
marginals: two rows of numbers instead of a map, 60 times less work than dense Gaussians at 64 x 64.
"""

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


def decode(logits: Tensor, radius: int = 4) -> tuple[Tensor, Tensor]:
    """Give each map's keypoint and peak; (B, K, H, W) logits -> (B, K, 2) map pixels (x, y) and (B, K) peak height.

    Local and sub-pixel: the mean of the softmax over a window of `radius` about its maximum. The mean over the
    whole map would be drawn to the map's centre by every other mode. A radius of 4 errs by 0.01 px on a Gaussian of
    sigma 1.5, one of 2 by 0.14: a window that is cut short draws to its own middle.
    """
    batch, keypoints, height, width = logits.shape
    maps = torch.softmax(logits.flatten(2), dim=-1)
    peak, index = maps.max(dim=-1)
    window = torch.arange(-radius, radius + 1, device=logits.device)
    rows = index.div(width, rounding_mode="floor")[..., None] + window
    columns = index.remainder(width)[..., None] + window
    padded = functional.pad(maps.view(batch, keypoints, height, width), [radius] * 4).flatten(2)
    flat = (rows + radius)[..., :, None] * (width + 2 * radius) + (columns + radius)[..., None, :]
    weights = padded.gather(2, flat.flatten(2)).view(*flat.shape)
    total = weights.sum(dim=(-1, -2))
    x = (weights.sum(dim=-2) * columns).sum(dim=-1) / total
    y = (weights.sum(dim=-1) * rows).sum(dim=-1) / total
    return torch.stack([x, y], dim=-1), peak
