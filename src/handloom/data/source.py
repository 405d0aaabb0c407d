"""What every source of pictures gives the preprocess stage, and the values of its masks."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from handloom.geometry import Points
from handloom.images import Picture

REFERENCE_PX: Final = 320
"""Longer side of the picture in whose pixels hands are measured and errors given, whatever the source: RHD's."""
LEFT: Final = 1
RIGHT: Final = 2
UNKNOWN: Final = 3
"""A hand whose side nobody has said; where there are several in a picture, 3, 4 and 5."""
OTHERS: Final = (3, 4, 5)
IGNORE: Final = 255
"""Neither hand nor background: counts in no loss and no figure."""


@dataclass(frozen=True, eq=False, slots=True)
class Hand:
    """One hand of a picture."""

    side: int
    """LEFT, RIGHT or UNKNOWN."""
    keypoints_px: Points | None
    """(21, 2) pixels of the picture, in skeleton order; None where nobody has marked them."""
    visible: NDArray[np.bool_] | None
    """(21,); None together with the keypoints."""


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One picture and what is known of it."""

    picture: Picture
    """(H, W, 3)."""
    mask: NDArray[np.uint8] | None
    """(H, W): 0 background, else LEFT, RIGHT, one of OTHERS, or IGNORE; None where there is none."""
    hands: tuple[Hand, ...]
    person: NDArray[np.bool_] | None = None
    """(H, W): what a photograph may be put behind; None where nobody knows."""


class Source(Protocol):
    """A set of pictures. Pickles as its path, since worker processes read from it.

    Raises DataError where the whole set cannot be read, and of one sample when that is asked for.
    """

    @property
    def name(self) -> str:
        """The source's name in params.yaml."""

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation", ascending."""

    def group(self, sample_id: int) -> int:
        """Give a number that ids share whose pictures show the same: they go into one split together."""

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample."""

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone."""


def numbered(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tell hands of unknown side that do not touch apart, the largest first; beyond three they are ignored."""
    regions, number = ndimage.label(mask == UNKNOWN, np.ones((3, 3)))
    largest = np.argsort(-np.bincount(regions.ravel(), minlength=number + 1)[1:], kind="stable")[: len(OTHERS)] + 1
    table = np.full(number + 1, IGNORE, np.uint8)
    table[largest] = OTHERS[: len(largest)]
    return np.where(mask == UNKNOWN, table[regions], mask)
