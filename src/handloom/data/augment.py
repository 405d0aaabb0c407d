"""Random changes to a batch of pictures and what goes with them, on any device.

One affine map per sample serves pictures, masks and points alike. It maps *output* to *input* pixels about the
centres of both, (x, y) in pixels, as `grid_sample` wants; points go the inverse way.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from handloom.params import AugmentParams


def draw_affines(params: AugmentParams, count: int, size: int, generator: Generator) -> Tensor:
    """Draw `count` maps of random rotation, zoom, shift and mirror; (count, 2, 3), input from output pixels."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle = uniform(-1, 1) * math.radians(params.rotation_deg)
    zoom = (uniform(-1, 1) * -math.log1p(-params.scale)).exp()
    mirror = torch.where(uniform(0, 1) < params.flip, -1.0, 1.0)
    shift = [uniform(-1, 1) * params.shift * size for _ in range(2)]
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([cos * mirror, -sin, shift[0]], dim=-1), torch.stack([sin * mirror, cos, shift[1]], dim=-1)]
    return torch.stack(rows, dim=-2)


def mirrored(affines: Tensor) -> Tensor:
    """Give which maps mirror their picture, so that a left hand shows as a right one; (B, 2, 3) -> (B,) bool."""
    flipped: Tensor = torch.linalg.det(affines[:, :, :2]) < 0
    return flipped


def warp_images(images: Tensor, affines: Tensor, size: int) -> Tensor:
    """Sample (B, C, H, W) pictures at the centres of (size, size) output pixels; mirrored beyond the border."""
    height, width = images.shape[-2:]
    axis = torch.arange(size, device=images.device, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3) @ affines.to(images.device).mT
    grid = grid.view(-1, size, size, 2) / torch.tensor([width / 2, height / 2], device=images.device)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def warp_points(points: Tensor, affines: Tensor, size: int) -> Tensor:
    """Move (B, K, 2) points of the unchanged (size, size) picture to where the warped picture shows them."""
    affines, centre = affines.to(points.device), (size - 1) / 2
    offset = points - centre - affines[:, None, :, 2]
    moved: Tensor = torch.linalg.solve(affines[:, :, :2], offset.mT).mT + centre
    return moved


def change_color(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Change contrast about mid grey, brightness and each channel's gain by up to `amount`; (B, 3, H, W), 0-255."""
    count = len(images)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(count, *shape, 1, 1, generator=generator) * 2 - 1).to(images.device)

    gain = (1 + amount * uniform(1)) * (1 + amount / 2 * uniform(3))
    return ((images - 128) * gain + 128 + 64 * amount * uniform(1)).clamp(0, 255)
