"""Random changes to a batch of pictures: affine maps for `warp`, and colors."""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from handloom import images
from handloom.params import AugmentParams
from handloom.warp import Pictures


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


def change_color(pictures: Pictures, amount: float, generator: Generator) -> Pictures:
    """Change contrast about mid grey, brightness and each channel's gain by up to `amount`; (B, H, W, 3) uint8."""
    count = len(pictures)

    def uniform(channels: int) -> Tensor:
        return torch.rand(count, 1, 1, channels, generator=generator) * 2 - 1

    gain = (1 + amount * uniform(1)) * (1 + amount / 2 * uniform(3))
    shift = 128 - 128 * gain + 64 * amount * uniform(1)
    if isinstance(pictures, Tensor):
        changed = pictures * gain.to(pictures.device) + shift.to(pictures.device)
        return changed.round().clamp(0, 255).to(torch.uint8)
    levels = torch.arange(256.0).view(1, 256, 1)
    tables = (levels * gain[:, 0] + shift[:, 0]).round().clamp(0, 255).to(torch.uint8).numpy()
    return np.stack([images.look_up(picture, table) for picture, table in zip(pictures, tables, strict=True)])
