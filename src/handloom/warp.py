"""Affine maps of batches of pictures and what goes with them, on any device.

One map per sample, (B, 2, 3), serves pictures, masks and points alike. It maps *output* to *input* pixels about the
centres of both, (x, y) in pixels, as `grid_sample` wants; points go the inverse way.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from handloom import images

Pictures = TypeVar("Pictures", Tensor, NDArray[np.uint8])
"""(B, H, W, C) uint8 in memory, or on a device."""


def upright(below: Tensor, above: Tensor) -> Tensor:
    """Give the turns that show one point straight above another; two (B, 2) -> (B, 2, 3). Equal points turn nothing."""
    way = above - below
    length = way.norm(dim=1, keepdim=True)
    x, y = torch.where(length > 0, way / length.clamp(min=1e-9), way.new_tensor([0.0, -1.0])).unbind(dim=1)
    nothing = torch.zeros_like(x)
    return torch.stack([torch.stack([-y, -x, nothing], dim=-1), torch.stack([x, -y, nothing], dim=-1)], dim=-2)


def back(turns: Tensor) -> Tensor:
    """Give the opposite turns."""
    rotation = turns[..., :2]
    return torch.cat([rotation.mT, torch.zeros_like(turns[..., 2:])], dim=-1)


def turned_back(points: Tensor, turns: Tensor, size: int) -> Tensor:
    """Move (B, K, 2) points of turned (size, size) pictures to where the pictures themselves show them."""
    centre = (size - 1) / 2
    return (points - centre) @ turns[..., :2].to(points.device).mT + centre


def mirrored(affines: Tensor) -> Tensor:
    """Give which maps mirror their picture, so that a left hand shows as a right one; (B, 2, 3) -> (B,) bool."""
    flipped: Tensor = torch.linalg.det(affines[:, :, :2]) < 0
    return flipped


def warp_images(maps: Tensor, affines: Tensor, size: int, padding: str = "reflection") -> Tensor:
    """Sample (B, C, H, W) maps at the centres of (size, size) output pixels; `padding` as `grid_sample` has it."""
    height, width = maps.shape[-2:]
    affines = affines.to(maps.device)
    axis = torch.arange(size, device=maps.device, dtype=torch.float32) - (size - 1) / 2
    x, y, shift = (affines / affines.new_tensor([[width / 2], [height / 2]])).unbind(dim=-1)
    # rows and columns by themselves: a matrix product of all places took twice as long as the sampling
    grid = axis[:, None] * x[:, None, None] + (axis[:, None] * y[:, None] + shift[:, None])[:, :, None]
    return functional.grid_sample(maps, grid, padding_mode=padding, align_corners=False)


def warp_pictures(pictures: Pictures, affines: Tensor, size: int) -> Pictures:
    """Do `warp_images` of (B, H, W, C) uint8, mirrored beyond the border: -> (B, size, size, C) uint8; C is 1 or 3.

    Arrays by OpenCV: bytes in an eighth of the time that `grid_sample` takes for floats. Of two channels it would round
    places to 1/32 px.
    """
    if isinstance(pictures, Tensor):
        warped = warp_images(pictures.permute(0, 3, 1, 2).float(), affines, size)
        return warped.round().to(torch.uint8).permute(0, 2, 3, 1)
    maps = affines.double().numpy().copy()
    height, width, channels = pictures.shape[1:]
    maps[:, :, 2] += (np.array([width, height]) - 1) / 2 - maps[:, :, :2].sum(axis=2) * (size - 1) / 2
    out = np.empty((len(pictures), size, size, channels), np.uint8)
    for picture, affine, row in zip(pictures, maps, out, strict=True):
        row[:] = images.warp(picture, affine, size, images.MIRRORED).reshape(size, size, channels)
    return out


def scaled(affines: Tensor, factor: float) -> Tensor:
    """Give maps for an output of other pixels, each as large as `factor` of the former ones; (B, 2, 3)."""
    return torch.cat([affines[..., :2] * factor, affines[..., 2:]], dim=-1)


def warp_points(points: Tensor, affines: Tensor, size: int, out_size: int | None = None) -> Tensor:
    """Move (B, K, 2) points of the unchanged (size, size) picture to where the warped one shows them."""
    affines, centre = affines.to(points.device), (size - 1) / 2
    offset = points - centre - affines[:, None, :, 2]
    moved: Tensor = torch.linalg.solve(affines[:, :, :2], offset.mT).mT + ((out_size or size) - 1) / 2
    return moved
