"""What every source of pictures gives the preprocess stage, and the values of its masks."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handloom.geometry import Points
from handloom.images import Picture

LEFT: Final = 1
RIGHT: Final = 2
UNKNOWN: Final = 3
"""A hand whose side nobody has said."""
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
    """(H, W): 0 background, else LEFT, RIGHT, UNKNOWN or IGNORE; None where there is none."""
    hands: tuple[Hand, ...]


class Source(Protocol):
    """A set of pictures. Pickles as its path, since worker processes read from it.

    Raises DataError where the whole set cannot be read, and of one sample when that is asked for.
    """

    name: str

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation", ascending."""

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample."""
