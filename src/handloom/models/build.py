"""Nets by their sizes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from handloom.models.unet import UNet


def build(maps: int, numbers: int, sizes: Mapping[str, Any]) -> nn.Module:
    """Give a fresh net of so many maps and numbers; `sizes` is the `model` section of a net's params."""
    return UNet(maps, numbers, **sizes)
