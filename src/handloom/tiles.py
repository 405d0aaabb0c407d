"""Small hands: a finder that looks at overlapping parts of each picture beside the whole, as in sliced inference.

The mask net sees any picture at one small size, so a hand much smaller than its training's is a few pixels to it. In a
part of the picture it is larger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from handloom.geometry import Box
from handloom.images import Picture
from handloom.inference import MIN_SCORE, Hand, HandFinder, Regions

OVERLAP: Final = 0.2
"""Of a tile's side that its neighbour sees too: a hand of up to about that size is whole in one of them."""
CUT_PX: Final = 2.0
"""A box that comes so near to a tile's edge inside the picture, in pixels of the net's, is of a hand that is cut."""
SAME_HAND: Final = 0.4
"""Share of the smaller of two boxes in the other, above which they are of one hand: a finger's is in its hand's."""


@dataclass(frozen=True)
class TileRegions(Regions):
    """What the mask net says of a part of a picture: `height` and `width` are the part's, boxes and masks are not."""

    tile: Box
    """Where the part lies, whole px of the picture."""
    size: tuple[int, int]
    """(height, width) of the picture."""

    def box(self, hand: int) -> Box:
        """Give the box of a hand by its label, px of the picture."""
        own, (left, top) = super().box(hand), (self.tile.left, self.tile.top)
        return Box(own.left + left, own.top + top, own.right + left, own.bottom + top)

    def mask(self, hand: int) -> NDArray[np.bool_]:
        """Give the pixels (H, W) of the picture that belong to a hand, by its label."""
        mask = np.zeros(self.size, bool)
        mask[_inside(self.tile)] = super().mask(hand)
        return mask

    def cut(self, box: Box) -> bool:
        """Whether what a box holds goes on beyond the part, where the picture goes on."""
        (height, width), near = self.size, CUT_PX * self.step
        return bool(
            0 < self.tile.left > box.left - near
            or 0 < self.tile.top > box.top - near
            or width > self.tile.right < box.right + near
            or height > self.tile.bottom < box.bottom + near
        )


class TiledFinder(HandFinder):
    """A HandFinder that looks at `tiles` parts of a picture's longer side too, and at as many as fit of the shorter.

    What the whole picture shows stays; a part adds the hands that nothing else shows.
    """

    tiles: int = 1

    @classmethod
    def of(cls, finder: HandFinder, tiles: int) -> Self:
        """Give one with the same nets."""
        tiled = cls(
            finder.segment,
            finder.pose,
            finder.nets,
            finder.size,
            closer=finder.closer,
            edges=finder.edges,
            views=len(finder.views),
        )
        tiled.tiles = tiles
        return tiled

    def __call__(self, picture: Picture, min_score: float = MIN_SCORE) -> list[Hand]:
        """Give the hands of a (H, W, 3) uint8 RGB picture, those of the whole first, then the surest first."""
        kept, more = super().__call__(picture, min_score), list[Hand]()
        for tile in tiles_of(picture.shape[0], picture.shape[1], self.tiles):
            said = self.regions(picture[_inside(tile)])
            part = TileRegions(**vars(said), tile=tile, size=(picture.shape[0], picture.shape[1]))
            more += [hand for hand in self.hands(picture, part, min_score) if not part.cut(hand.box)]
        for hand in sorted(more, key=lambda hand: -hand.score):
            others = (other for other in kept if other.regions is not hand.regions)  # who parted two is right
            if all(_shared(hand.box, other.box) <= SAME_HAND for other in others):
                kept.append(hand)
        return kept


def tiles_of(height: int, width: int, count: int) -> Iterator[Box]:
    """Give squares that cover a picture, `count` along its longer side, row by row; none for a count of 1.

    Neighbours share at least `OVERLAP` of a side.
    """
    if count > 1:
        side = int(np.ceil(max(height, width) / (count - (count - 1) * OVERLAP)))
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield Box(left, top, min(left + side, width), min(top + side, height))


def _starts(length: int, side: int) -> NDArray[np.integer]:
    """Give where tiles of a side begin along a length, evenly."""
    count = 1 + int(np.ceil(max(0, length - side) / (side * (1 - OVERLAP))))
    return np.linspace(0, max(0, length - side), count).round().astype(np.intp)


def _inside(tile: Box) -> tuple[slice, slice]:
    return slice(int(tile.top), int(tile.bottom)), slice(int(tile.left), int(tile.right))


def _shared(one: Box, other: Box) -> float:
    """Give the share of the smaller box that lies in the other."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0.0, width) * max(0.0, height) / min(one.width * one.height, other.width * other.height)
