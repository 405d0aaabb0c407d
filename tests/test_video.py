import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handloom.geometry import Box
from handloom.inference import Hand, KeypointNets, Reading, Regions
from handloom.video import FORGET_AFTER_S, LOOK_EVERY_S, HandTracker, OneEuro, jitter

OPEN_HAND = np.random.default_rng(3).uniform(0, 60, (21, 2)).astype(np.float32)
NOWHERE = Regions(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8), 2, 2)
FRAME: Any = np.zeros((1200, 1200, 3), np.uint8)
SEEN = np.ones(21, np.float32)
OWN = KeypointNets()


def at(x: float, y: float = 0) -> np.ndarray:
    return OPEN_HAND + np.array([x, y], np.float32)


class World:
    """Hands whose places are known, in a HandFinder's stead: reads a hand whose middle a crop holds."""

    def __init__(self, *corners: tuple[float, float]) -> None:
        self.places = [at(*corner) for corner in corners]
        self.looked, self.hidden = 0, False

    def __call__(self, picture: Any, min_score: float) -> list[Hand]:
        self.looked += 1
        if self.hidden:
            return []
        box = Box(0, 0, 1, 1)
        return [Hand(place, SEEN, 1.0, 1.0, box, NOWHERE, 1, nets=OWN) for place in self.places]

    def read(self, picture: Any, crops: list[Box], before: list[Reading]) -> list[Reading]:
        said = []
        for crop in crops:
            held = [
                p
                for p in self.places
                if crop.left < p[:, 0].mean() < crop.right and crop.top < p[:, 1].mean() < crop.bottom
            ]
            said.append(Reading(held[0] if held else OPEN_HAND, SEEN, 1.0, 0.9 if held else 0.2, nets=OWN))
        return said


def test_ids_stay_with_hands_that_move() -> None:
    world = World((0, 0), (300, 0))
    tracker = HandTracker(world)  # type: ignore[arg-type]
    for frame in range(60):
        world.places = [at(frame), at(300 - frame)]
        hands = tracker(FRAME, frame / 30)
        assert all(hand.nets is OWN for hand in hands)
        assert [hand.id for hand in hands] == [1, 2]
        assert hands[0].keypoints_px.mean() < hands[1].keypoints_px.mean()


def test_with_a_hand_in_view_the_mask_net_looks_twice_a_second() -> None:
    world = World((0, 0))
    tracker = HandTracker(world)  # type: ignore[arg-type]
    for frame in range(61):
        tracker(FRAME, frame / 30)
    assert world.looked == 1 + math.floor(2 / LOOK_EVERY_S)


def test_without_a_hand_it_looks_in_every_frame() -> None:
    world = World()
    tracker = HandTracker(world)  # type: ignore[arg-type]
    assert [tracker(FRAME, frame / 30) for frame in range(5)] == [[]] * 5
    assert world.looked == 5


@pytest.mark.parametrize(("away_s", "number"), [(FORGET_AFTER_S / 2, 1), (FORGET_AFTER_S * 2, 2)])
def test_a_hand_that_comes_back_soon_keeps_its_id(away_s: float, number: int) -> None:
    world = World((0, 0))
    tracker = HandTracker(world)  # type: ignore[arg-type]
    assert [hand.id for hand in tracker(FRAME, 0.0)] == [1]
    world.places = []
    assert tracker(FRAME, 0.04) == []
    for seconds in np.arange(0.08, away_s, 0.04):
        assert tracker(FRAME, float(seconds)) == []
    world.places = [OPEN_HAND]
    assert [hand.id for hand in tracker(FRAME, away_s)] == [number]


def test_two_tracks_never_share_a_hand() -> None:
    world = World((0, 0), (40, 0))
    tracker = HandTracker(world)  # type: ignore[arg-type]
    assert len(tracker(FRAME, 0.0)) == 2
    world.places = [at(20)]  # both crops hold the one hand that is left
    assert [hand.id for hand in tracker(FRAME, 0.04)] == [1]


def trembling(move: Callable[[float], float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A hand that moves along x at 30 frames a second, and the same with every keypoint trembling by 1 px."""
    rng = np.random.default_rng(seed)
    true = np.stack([at(move(frame / 30)) for frame in range(90)])
    return true, true + rng.normal(0, 1, true.shape)


def test_a_resting_hand_trembles_four_times_less_when_smoothed() -> None:
    _, seen = trembling(lambda t: 0.0)
    smooth = OneEuro()
    shown = np.stack([smooth(points, frame / 30, 60) for frame, points in enumerate(seen)])
    assert jitter(shown[5:]) < jitter(seen[5:]) / 4


@pytest.mark.parametrize("corner", [(0, 0), (1000, 600)])
def test_a_tracked_hand_trembles_less_wherever_it_is(corner: tuple[float, float]) -> None:
    world, rng = World(corner), np.random.default_rng(0)
    seen, shown = [], []
    tracker = HandTracker(world)  # type: ignore[arg-type]
    for frame in range(90):
        seen.append(at(*corner) + rng.normal(0, 1, (21, 2)).astype(np.float32))
        world.places = [seen[-1]]
        shown.append(tracker(FRAME, frame / 30)[0].keypoints_px)
    assert jitter(np.stack(shown[5:])) < jitter(np.stack(seen[5:])) / 3


def test_a_hand_that_leaves_the_frame_is_lost() -> None:
    world = World((1130, 0))
    tracker = HandTracker(world, smooth=False)  # type: ignore[arg-type]
    assert len(tracker(FRAME, 0.0)) == 1
    world.hidden = True  # from the mask net, which sees nothing beyond the frame
    for frame, x in enumerate((1145, 1160, 1175, 1190), start=1):
        world.places = [at(x)]
        inside = world.places[0][:, 0].min() + np.ptp(world.places[0][:, 0]) / 2 < 1200
        assert len(tracker(FRAME, frame / 30)) == inside


def test_a_fast_hand_is_not_left_behind() -> None:
    true, _ = trembling(lambda t: 300 * t)  # five extents a second
    smooth = OneEuro()
    shown = np.stack([smooth(points, frame / 30, 60) for frame, points in enumerate(true)])
    assert np.abs(shown[30:] - true[30:]).max() < 0.1 * 60


def test_steady_motion_has_no_jitter() -> None:
    true, seen = trembling(lambda t: 100 * t)
    assert jitter(true) < 1e-6
    # the second difference of noise of 1 px in x and y has a mean length of sqrt(6) * sqrt(pi / 2) px
    extent = np.ptp(seen, axis=1).max(axis=1).mean()
    assert jitter(seen) * extent == pytest.approx(math.sqrt(6) * math.sqrt(math.pi / 2), rel=0.05)
