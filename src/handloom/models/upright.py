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
        if self.training:
            given: Output = self.net(images)
            return given
        turns = self.turns(images)
        second = self.turned(images, turns)
        # beyond the turned crop a map has its own lowest value: nothing is there
        lowest = second.maps.amin(dim=(2, 3), keepdim=True)
        side = second.maps.shape[-1]
        maps = warp.warp_images(second.maps - lowest, warp.back(turns), side, padding="zeros") + lowest
        return Output(maps, second.numbers)

    def turns(self, images: Tensor) -> Tensor:
        """Give the turns (B, 2, 3) that show each hand upright, from a first reading."""
        maps = self.net(images).maps[:, [WRIST, MIDDLE_MCP]].float()
        points, _ = heatmaps.decode(heatmaps.softmax(maps), _RADIUS)
        return warp.upright(points[:, 0], points[:, 1])

    def turned(self, images: Tensor, turns: Tensor) -> Output:
        """Give the reading of turned crops, in their frame."""
        output: Output = self.net(warp.warp_images(images, turns, images.shape[-1]))
        return output


def single(net: nn.Module) -> nn.Module:
    """Give the net of one reading."""
    return net.net if isinstance(net, Upright) else net
