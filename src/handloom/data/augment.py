"""Random changes to a batch of pictures: affine maps for `warp`, sharpness and colors."""

import math
from typing import Final

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from handloom import images
from handloom.params import AugmentParams
from handloom.warp import Pictures

LUMA: Final = (0.299, 0.587, 0.114)
"""Share of red, green and blue in a grey (ITU-R BT.601)."""
DETAIL_PX: Final = (0.7, 4.0)
"""Least and most standard deviation of the blur that takes detail away, px of the net's input."""


def draw_affines(params: AugmentParams, count: int, size: int, generator: Generator) -> Tensor:
    """Draw `count` maps of random rotation, zoom, shift and mirror; (count, 2, 3), input from output pixels."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle = uniform(-1, 1) * math.radians(params.rotation_deg)
    zoom = _gains(params.scale, count, generator)
    mirror = torch.where(uniform(0, 1) < params.flip, -1.0, 1.0)
    shift = [uniform(-1, 1) * params.shift * size for _ in range(2)]
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([cos * mirror, -sin, shift[0]], dim=-1), torch.stack([sin * mirror, cos, shift[1]], dim=-1)]
    return torch.stack(rows, dim=-2)


def _gains(amount: float, count: int, generator: Generator) -> Tensor:
    """Draw factors (count,) log-uniformly from [1 - amount, 1 / (1 - amount)]."""
    return ((torch.rand(count, generator=generator) * 2 - 1) * -math.log1p(-amount)).exp()


def change_look(pictures: Pictures, params: AugmentParams, generator: Generator) -> Pictures:
    """Change sharpness, saturation and color of pictures (B, H, W, 3) uint8, each within its range."""
    sharpened = change_sharpness(pictures, params.sharpness, generator)
    return change_color(change_saturation(sharpened, params.saturation, generator), params.color, generator)


def change_sharpness(pictures: Pictures, amount: float, generator: Generator) -> Pictures:
    """Multiply each picture's detail by a gain drawn log-uniformly from [1 - amount, 1 / (1 - amount)].

    Detail is what a blur by a width of `DETAIL_PX`, drawn for each picture, takes away. (B, H, W, 3) uint8.
    """
    if not amount:
        return pictures
    gains = _gains(amount, len(pictures), generator)
    fine, coarse = DETAIL_PX
    sigmas = fine * (coarse / fine) ** torch.rand(len(pictures), generator=generator)
    if isinstance(pictures, Tensor):
        shares = gains.to(pictures.device).view(-1, 1, 1, 1)
        blurred = _blurred(pictures, sigmas)
        return (blurred + shares * (pictures - blurred)).round().clamp(0, 255).to(torch.uint8)
    sharpened = np.empty_like(pictures)
    for picture, gain, sigma, out in zip(pictures, gains.tolist(), sigmas.tolist(), sharpened, strict=True):
        cv2.addWeighted(picture, gain, cv2.GaussianBlur(picture, (0, 0), sigma), 1 - gain, 0, dst=out)
    return sharpened


def _blurred(pictures: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each picture (B, H, W, C) by its own width, px (B,); float32."""
    count, height, width, channels = pictures.shape
    reach = math.ceil(3 * DETAIL_PX[1])
    along = torch.arange(-reach, reach + 1, device=pictures.device)
    kernels = (-(along**2) / (2 * sigmas.to(pictures.device)[:, None] ** 2)).exp()
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None]
    planes = pictures.permute(0, 3, 1, 2).reshape(1, count * channels, height, width).float()
    planes = functional.pad(planes, (reach,) * 4, mode="reflect")
    for kernel in (kernels[..., None, :], kernels[..., None]):
        planes = functional.conv2d(planes, kernel, groups=count * channels)
    return planes.view(count, channels, height, width).permute(0, 2, 3, 1)


def change_saturation(pictures: Pictures, amount: float, generator: Generator) -> Pictures:
    """Multiply what tells each picture's colors from its greys by a gain from [1 - amount, 1 + amount].

    (B, H, W, 3) uint8; an amount of 1 reaches from grey to twice as colorful.
    """
    if not amount:
        return pictures
    gains = (1 + amount * (torch.rand(len(pictures), generator=generator) * 2 - 1)).view(-1, 1, 1)
    mixes = gains * torch.eye(3) + (1 - gains) * torch.tensor(LUMA)  # (B, 3, 3): rows are what a channel is made of
    if isinstance(pictures, Tensor):
        mixed = torch.einsum("bhwc,bdc->bhwd", pictures.float(), mixes.to(pictures.device))
        return mixed.round().clamp(0, 255).to(torch.uint8)
    return np.stack([cv2.transform(picture, mix) for picture, mix in zip(pictures, mixes.numpy(), strict=True)])


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
