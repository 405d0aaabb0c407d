"""Nets by their sizes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from handloom.models.unet import UNet
from handloom.models.upright import Upright


def build(maps: int, numbers: int, sizes: Mapping[str, Any]) -> nn.Module:
    """Give a fresh net of so many maps and numbers; `sizes` is the `model` section of a net's params."""
    net = UNet(maps, numbers, **{name: size for name, size in sizes.items() if name != "upright"})
    return Upright(net) if sizes.get("upright") else net
