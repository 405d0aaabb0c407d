"""Ways to show a square of a picture: from closer or farther, mirrored, turned. A net errs in each elsewhere."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from handloom.geometry import Points
from handloom.images import Picture
from handloom.perceptron import Floats


class View(NamedTuple):
    """One way to show a square: a smaller or larger one about its centre, mirrored or not, then turned to the left."""

    quarters: int
    mirrored: bool
    side: float = 1.0
    """Of the square that is shown, over the given one's: less than 1 is closer."""

    def show(self, pictures: Picture) -> Picture:
        """Show pictures (..., S, S, 3) of its square."""
        shown: Picture = pictures[..., ::-1, :] if self.mirrored else pictures
        return np.ascontiguousarray(np.rot90(shown, self.quarters, axes=(-3, -2)))

    def back(self, points: Points, size: int) -> Points:
        """Give where points (..., 2) of a shown picture (size, size) lie in as large a one of the given square."""
        x, y = points[..., 0], points[..., 1]
        for _ in range(self.quarters):
            x, y = size - 1 - y, x
        found, centre = np.stack([size - 1 - x if self.mirrored else x, y], axis=-1), (size - 1) / 2
        return found if self.side == 1 else ((found - centre) * self.side + centre).astype(found.dtype)


_STANDING: Final = (
    (1.0, False), (1.0, True), (0.92, False), (1.1, True), (1.1, False), (0.92, True), (0.85, False), (0.85, True),
)  # fmt: skip
VIEWS: Final = tuple(View(quarters, mirrored, side) for quarters in (0, 2, 1, 3) for side, mirrored in _STANDING)
"""All, of which the first so many are taken: eight as the picture stands, and as many again of each quarter turn."""
SHARPNESS: Final = 5.0
"""How much more a sure view counts; of 3,335 gestures eight quarter turns name 0.824 at 0, 0.830 at 5, 0.822 at 20."""


def sureness(peaks: Floats) -> Floats:
    """Give how sure readings are, of the peaks (..., 21) of their maps: the mean of the logarithm."""
    return np.asarray(np.log(peaks.clip(min=1e-12)).mean(axis=-1), np.float32)


def agreed(chances: Floats, sure: Floats) -> Floats:
    """Give what V views say of N hands in the mean, sure ones more; (V, N, C), (V, N) -> (N, C)."""
    weights = special.softmax(SHARPNESS * sure, axis=0)
    return np.asarray((weights[..., None] * chances).sum(axis=0), np.float32)


def together(
    said: dict[str, Floats], views: Sequence[View], size: int, named: Callable[[Points], Floats]
) -> dict[str, Floats]:
    """Give what V views of N crops (size, size) say in one, of what `tasks.read_pose` says of all, view by view.

    The surest view's keypoints, the mean of visibilities and sides, the mean of the logits of a hand, and `chances`
    (N, C): the mean, where sure views count more, of what `named` says of each view's keypoints.
    """
    by_view = {name: values.reshape(len(views), -1, *values.shape[1:]) for name, values in said.items()}
    sure = sureness(by_view["peaks"])
    keypoints = np.stack([view.back(own, size) for view, own in zip(views, by_view["keypoints"], strict=True)])
    rights = [1 - own if view.mirrored else own for view, own in zip(views, by_view["right"], strict=True)]
    return {
        "keypoints": keypoints[sure.argmax(axis=0), np.arange(sure.shape[1])],
        "visible": by_view["visible"].mean(axis=0),
        "right": np.mean(rights, axis=0),
        "hand": _mean_chance(by_view["hand"]),
        "chances": agreed(np.stack([named(own) for own in keypoints]), sure),
    }


def _mean_chance(chances: Floats) -> Floats:
    """Give the probability (N,) whose logit is the mean of those of V views' (V, N); 1 where all are 1."""
    logits = special.logit(chances.astype(np.float64).clip(1e-9, 1 - 1e-9))
    return np.asarray(special.expit(logits.mean(axis=0)), np.float32)
