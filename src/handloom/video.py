"""Hands from frame to frame: the next crop comes from the last keypoints, and the mask net only looks for new hands."""

import math
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handloom.geometry import Box
from handloom.images import Picture
from handloom.inference import MIN_SCORE, Hand, HandFinder, Reading

LOOK_EVERY_S: Final = 0.5
"""With a hand in view the mask net looks for further ones this often; with none, in every frame."""
FORGET_AFTER_S: Final = 0.7
"""A hand that is found again within this time keeps its id."""
MIN_HAND: Final = 0.5
"""How sure the net must be that a followed hand is still there; the least score counts where one is first seen."""
CROP_OVER_EXTENT: Final = 1.5
"""Side of a training crop over the longer side of its keypoints' box: 1.2 to 1.7, median 1.5."""
SAME_HAND: Final = 0.4
"""Mean distance of keypoints, over the hand's extent, below which two readings are of one hand."""


class OneEuro:
    """Smooths a signal: strongly when it rests, so it does not tremble, weakly when it moves, so it does not lag.

    Casiez, Roussel and Vogel 2012. Values of any shape; cutoffs in Hz, `beta` in Hz per unit of speed. Speed is
    in sizes of the thing a second, so that near and far hands are smoothed alike.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 2.0, speed_cutoff: float = 1.0) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._value: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] | None = None
        self._seconds = 0.0

    def __call__(self, value: NDArray[np.floating], seconds: float, size: float = 1.0) -> NDArray[np.float64]:
        """Give the smoothed value at a time later than the last one, of a thing as large as `size`."""
        now = value.astype(np.float64)
        if self._value is None or self._speed is None or seconds <= self._seconds:
            self._value, self._speed, self._seconds = now, np.zeros_like(now), seconds
            return now
        passed, self._seconds = seconds - self._seconds, seconds
        self._speed = _low_pass(self._speed, (now - self._value) / passed, self.speed_cutoff, passed)
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed) / size
        self._value = _low_pass(self._value, now, cutoff, passed)
        return self._value


def _low_pass(
    old: NDArray[np.float64], new: NDArray[np.float64], cutoff: NDArray[np.float64] | float, passed: float
) -> NDArray[np.float64]:
    rate = 1 / (1 + 1 / (2 * math.pi * cutoff * passed))
    return np.asarray(old + rate * (new - old))


def jitter(keypoints: NDArray[np.floating]) -> float:
    """Give how much a hand's keypoints tremble: the mean size of their second differences over the hand's extent.

    (T, K, 2) of T >= 3 frames. Steady motion has none, whatever its speed.
    """
    extent = np.ptp(keypoints, axis=1).max(axis=1).mean()
    return float(np.linalg.norm(np.diff(keypoints, n=2, axis=0), axis=-1).mean() / extent)


@dataclass(frozen=True)
class TrackedHand(Reading):
    """One hand of a frame."""

    id: int
    """Stays with the hand from frame to frame."""
    box: Box
    """Around its keypoints, px of the frame."""


@dataclass
class _Track:
    """A hand that is being followed, or was until a moment ago."""

    id: int
    hand: TrackedHand
    seen: float
    """Seconds at which it was last read."""
    filter: OneEuro = field(default_factory=OneEuro)
    lost: bool = False


class HandTracker:
    """A HandFinder with a memory: call it on one frame after the other, at rising times."""

    def __init__(self, finder: HandFinder, *, min_score: float = MIN_SCORE, smooth: bool = True) -> None:
        self.finder, self.min_score, self.smooth = finder, min_score, smooth
        self._tracks: list[_Track] = []
        self._ids = count(1)
        self._looked = -math.inf

    def __call__(self, picture: Picture, seconds: float) -> list[TrackedHand]:
        """Give the hands of the next frame, longest known first."""
        self._follow(picture, seconds)
        shown = [track for track in self._tracks if not track.lost]
        if len(shown) < len(self._tracks) or not shown or seconds - self._looked >= LOOK_EVERY_S:
            self._looked = seconds
            for hand in self.finder(picture, self.min_score):
                self._meet(hand, seconds)
        self._tracks = [track for track in self._tracks if seconds - track.seen <= FORGET_AFTER_S]
        return [track.hand for track in self._tracks if not track.lost]

    def _follow(self, picture: Picture, seconds: float) -> None:
        """Read every hand where it was last; those that are not there are lost."""
        followed = [track for track in self._tracks if not track.lost]
        crops = [Box.around(track.hand.keypoints_px).square(CROP_OVER_EXTENT) for track in followed]
        known: list[_Track] = []
        before: list[Reading] = [track.hand for track in followed]
        for track, reading in zip(followed, self.finder.read(picture, crops, before), strict=True):
            sure = reading.score >= MIN_HAND and _within(picture, reading)
            if sure and not any(_same(reading, other.hand) for other in known):
                self._see(track, reading, seconds)
                known.append(track)
            else:
                track.lost = True

    def _meet(self, found: Hand, seconds: float) -> None:
        """Take a found hand for a known one, if it lies there, or for a new one."""
        near = [track for track in self._tracks if _same(found, track.hand)]
        if any(not track.lost for track in near):
            return
        # without the mean of several views' gestures: a followed hand's are those of its own keypoints, made steady
        reading = Reading(found.keypoints_px, found.keypoint_confidence, found.right, found.score, nets=found.nets)
        if not near:
            near = [_Track(number := next(self._ids), _tracked(number, reading), seconds)]
            self._tracks += near
        near[0].filter = OneEuro()
        self._see(near[0], reading, seconds)

    def _see(self, track: _Track, reading: Reading, seconds: float) -> None:
        if self.smooth:
            smooth = track.filter(reading.keypoints_px, seconds, Box.around(reading.keypoints_px).side)
            reading = replace(reading, keypoints_px=smooth.astype(np.float32))
        track.hand, track.seen, track.lost = _tracked(track.id, reading), seconds, False


def _tracked(number: int, reading: Reading) -> TrackedHand:
    return TrackedHand(**vars(reading), id=number, box=Box.around(reading.keypoints_px))


def _within(picture: Picture, reading: Reading) -> bool:
    """Whether a hand's middle is in the frame and the hand no larger than it: a followed crop must not run away."""
    height, width = picture.shape[:2]
    box = Box.around(reading.keypoints_px)
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return bool(0 <= x <= width and 0 <= y <= height and box.side <= 1.5 * max(height, width))


def _same(one: Reading, other: Reading) -> bool:
    extent = Box.around(other.keypoints_px).side
    apart = np.linalg.norm(one.keypoints_px - other.keypoints_px, axis=1).mean()
    return bool(apart < SAME_HAND * extent)
