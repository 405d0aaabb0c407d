"""Random changes to a batch of pictures: affine maps for `warp`, and colors."""

import math

import torch
from torch import Generator, Tensor

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


def change_color(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Change contrast about mid grey, brightness and each channel's gain by up to `amount`; (B, 3, H, W), 0-255."""
    count = len(images)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(count, *shape, 1, 1, generator=generator) * 2 - 1).to(images.device)

    gain = (1 + amount * uniform(1)) * (1 + amount / 2 * uniform(3))
    return ((images - 128) * gain + 128 + 64 * amount * uniform(1)).clamp(0, 255)
