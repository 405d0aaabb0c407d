import numpy as np

from handloom.geometry import Box
from handloom.masks import region_boxes, tight_box


def art(*rows: str) -> np.ndarray:
    return np.array([list(row) for row in rows]) == "#"


MASK = art(
    "##....",
    "##...#",
    "....##",
    "#...##",
)


def test_two_hands_give_two_boxes_largest_first() -> None:
    assert region_boxes(MASK, min_pixels=2) == [Box(4, 1, 6, 4), Box(0, 0, 2, 2)]


def test_a_lone_pixel_is_a_region_only_if_asked_for() -> None:
    assert region_boxes(MASK, min_pixels=1)[-1] == Box(0, 3, 1, 4)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    assert region_boxes(art("#.", ".#"), min_pixels=1) == [Box(0, 0, 2, 2)]


def test_no_hand_gives_no_box() -> None:
    assert region_boxes(np.zeros((4, 4), bool), min_pixels=1) == []


def test_tight_box_holds_every_pixel() -> None:
    assert tight_box(MASK) == Box(0, 0, 6, 4)
