"""A net that reads every crop twice: as it is, and turned upright by what the first reading saw.

Hands come at any angle, and to tell the angle first is worth more than three times as many crops (docs/LOG.md).
"""

from typing import Final

from torch import Tensor, nn

from handloom import heatmaps, warp
from handloom.models.unet import Output
from handloom.skeleton import MIDDLE_MCP, WRIST

_RADIUS: Final = 4
"""Of the window about a map's maximum, map pixels."""


class Upright(nn.Module):
    """(B, 3, S, S) -> Output of the inner net in the crop's own frame. In training the net sees what it is given."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Output:
        """Give maps turned back to the crop, and the numbers of the upright reading."""
        first: Output = self.net(images)
        if self.training:
            return first
        points, _ = heatmaps.decode(heatmaps.softmax(first.maps.float()), _RADIUS)
        turns = warp.upright(points[:, WRIST], points[:, MIDDLE_MCP])
        second: Output = self.net(warp.warp_images(images, turns, images.shape[-1]))
        # beyond the turned crop a map has its own lowest value: nothing is there
        lowest = second.maps.amin(dim=(2, 3), keepdim=True)
        maps = warp.warp_images(second.maps - lowest, warp.back(turns), first.maps.shape[-1], padding="zeros") + lowest
        return Output(maps, second.numbers)
