"""A net that reads a crop twice: as it is, and turned upright by what the first reading saw.

Hands come at any angle, and to tell the angle first is worth more than three times as many crops (docs/LOG.md).
"""

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from handloom import heatmaps, warp
from handloom.heatmaps import Maps
from handloom.models.unet import Output
from handloom.skeleton import MIDDLE_MCP, WRIST

_RADIUS: Final = 4
"""Of the window about a map's maximum, map pixels."""
TOLERANCE: Final = 25.0
"""Degrees from upright up to which one reading will do: PCK@0.2 as at 20 (0.822), at 35 it is 0.002 lower."""


class Upright(nn.Module):
    """(B, 3, S, S) -> Output of the inner net in the crop's own frame. In training the net sees what it is given."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Output:
        """Give maps turned back to the crop, and the numbers of the upright reading."""
        if self.training:
            given: Output = self.net(images)
            return given
        said: Output = self.net(images)
        turns = turns_of(said)
        lying = aside(turns)
        if lying.any():
            second = self.net(turned(images[lying], turns[lying]))
            said = Output(*(one.index_put((lying,), other) for one, other in zip(said, second, strict=True)))
        # beyond the turned crop a map has its own lowest value: nothing is there
        lowest = said.maps.amin(dim=(2, 3), keepdim=True)
        side = said.maps.shape[-1]
        maps = warp.warp_images(said.maps - lowest, warp.back(turns), side, padding="zeros") + lowest
        return Output(maps, said.numbers)


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Show crops (B, 3, S, S) turned."""
    return warp.warp_images(images, turns, images.shape[-1])


def turns_of(reading: Output) -> Tensor:
    """Give the turns (B, 2, 3) that show each hand upright, from a first reading."""
    return turns(lean_of(reading.maps.float()))


def lean_of(maps: Maps) -> Maps:
    """Give how far each hand leans (B,), from the maps of a first reading."""
    points, _ = heatmaps.decode(heatmaps.softmax(maps[:, [WRIST, MIDDLE_MCP]]), _RADIUS)
    return lean(points[:, 0], points[:, 1])


def lean(wrist: Maps, base: Maps) -> Maps:
    """Give how far hands lean to the right, radians, by their wrist and middle finger's base, two (B, 2).

    What stands upright within TOLERANCE leans by 0. Takes tensors and arrays.
    """
    xp: Any = torch if isinstance(base, Tensor) else np
    way = base - wrist
    angle = xp.arctan2(way[:, 0], -way[:, 1])
    leaning: Maps = xp.where(abs(angle) <= math.radians(TOLERANCE), 0.0 * angle, angle)
    return leaning


def turns(angle: Tensor) -> Tensor:
    """Give the turns (B, 2, 3) that show hands upright which lean so (B,)."""
    cos, sin, nothing = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, nothing, sin, cos, nothing], dim=-1).view(-1, 2, 3)


def aside(turns: Tensor) -> Tensor:
    """Give which turns (B,) turn anything."""
    return turns[:, 0, 0] < 1


def single(net: nn.Module) -> nn.Module:
    """Give the net of one reading."""
    return net.net if isinstance(net, Upright) else net
