import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handloom.geometry import Box, to_images

corners = st.floats(-500, 500)
sides = st.floats(2, 700)


@given(corners, corners, sides, st.integers(16, 512))
def test_to_image_undoes_to_crop(left: float, top: float, side: float, size: int) -> None:
    box = Box(left, top, left + side, top + side)
    points = np.array([[left, top], [left + side / 3, top + side], [12, 33]], np.float32)
    np.testing.assert_allclose(box.to_image(box.to_crop(points, size), size), points, atol=1e-3)


def test_pixel_centres_stay_pixel_centres() -> None:
    # a 2x2 box blown up to 4x4: source pixel 0 covers crop pixels 0 and 1, whose middle is 0.5
    moved = Box(0, 0, 2, 2).to_crop(np.zeros((1, 2), np.float32), 4)
    np.testing.assert_allclose(moved, [[0.5, 0.5]])


def test_box_around_points_holds_their_pixels() -> None:
    assert Box.around(np.array([[3, 4], [5, 4]], np.float32)) == Box(3, 4, 6, 5)


def test_square_keeps_the_centre_and_scales_the_longer_side() -> None:
    assert Box(10, 20, 30, 30).square(1.5) == Box(5, 10, 35, 40)


def test_many_crops_map_back_as_each_box_does() -> None:
    points = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    boxes = [Box(3, 5, 67, 69), Box(-10, 2.5, 22, 34.5)]
    edges = np.array([[b.left, b.top, b.right, b.bottom] for b in boxes])
    each = np.stack([box.to_image(of, 128) for box, of in zip(boxes, points, strict=True)])
    assert np.allclose(to_images(points, edges, 128), each, atol=1e-5)
