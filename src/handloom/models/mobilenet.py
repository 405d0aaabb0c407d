"""The 2019 report's first approach: a fully convolutional net in the style of MobileNet (Howard et al. 2017).

Depthwise separable convolutions down to a coarse map, which is the answer: no way up, no skips, so what is smaller than
a cell of that map, a finger, has no place to be said.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from handloom.models.unet import MEAN, SCALE, Output, stem_of


def _separable(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Each channel's own 3x3 convolution, then 1x1 across channels, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride=stride, padding=1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class MobileNetFcn(nn.Module):
    """(B, 3, H, W) values 0-255 -> Output, maps of H / (stem x 2^depth); sizes as those of `UNet`.

    `decoder` is the width of the last convolution before the maps over that of the lowest level.
    """

    def __init__(self, maps: int, numbers: int, *, width: int, depth: int, stem: int, decoder: float, cap: int) -> None:
        super().__init__()
        down = [min(width * 2**level, cap) for level in range(depth + 1)]
        last = max(8, round(down[-1] * decoder))
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("scale", torch.tensor(SCALE))
        self.stem = stem_of(down[0], stem)
        levels = (nn.Sequential(_separable(a, b, 2), _separable(b, b, 1)) for a, b in pairwise(down))
        self.down = nn.Sequential(*levels)
        self.head = nn.Sequential(_separable(down[-1], last, 1), nn.Conv2d(last, maps, 1))
        self.numbers = nn.Linear(down[-1], numbers) if numbers else None

    def forward(self, images: Tensor) -> Output:
        """Give coarse maps, and numbers."""
        x = self.down(self.stem((images - self.mean) * self.scale))
        numbers = self.numbers(x.mean(dim=(2, 3))) if self.numbers else x.new_empty(x.shape[0], 0)
        return Output(self.head(x), numbers)
