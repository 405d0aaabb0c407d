"""Nets by their sizes."""

from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from handloom.models.mobilenet import MobileNetFcn
from handloom.models.unet import UNet
from handloom.models.upright import Upright

KINDS: Final = {"unet": UNet, "mobilenet_fcn": MobileNetFcn}


def build(maps: int, numbers: int, sizes: Mapping[str, Any]) -> nn.Module:
    """Give a fresh net of so many maps and numbers; `sizes` is the `model` section of a net's params."""
    shape = {name: size for name, size in sizes.items() if name not in ("kind", "upright")}
    net = KINDS[sizes["kind"]](maps, numbers, **shape)
    return Upright(net) if sizes.get("upright") else net
