from pathlib import Path

import numpy as np
import pytest

from handloom import images, views
from handloom.data.rhd import RhdArchive
from handloom.geometry import Box
from handloom.gestures import NAMES
from handloom.inference import HandFinder
from handloom.views import VIEWS, View


def test_there_are_eight_and_the_first_is_the_picture_itself() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    shown = [view.show(picture) for view in VIEWS]
    assert len({each.tobytes() for each in shown}) == 8
    assert np.array_equal(shown[0], picture)
    assert np.array_equal(shown[1], picture[:, ::-1])
    assert np.array_equal(shown[2], picture[::-1, ::-1])


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_view_shows_is_found_where_it_is(view: View) -> None:
    pictures = np.zeros((2, 9, 9, 3), np.uint8)
    pictures[:, 2, 7] = 255  # x 7, y 2
    shown = view.show(pictures)
    row, column = np.argwhere(shown[1, ..., 0])[0]
    assert view.back(np.array([[float(column), float(row)]], np.float32), 9).tolist() == [[7, 2]]
    assert shown.shape == pictures.shape


def test_the_surest_view_gives_the_points_and_sure_views_count_more() -> None:
    points = np.arange(2 * 3 * 21 * 2, dtype=np.float32).reshape(2, 3, 21, 2)
    peaks = np.full((2, 3, 21), 0.1, np.float32)
    peaks[1, 0], peaks[0, 1] = 0.3, 0.2
    sure = views.sureness(peaks)
    assert np.array_equal(views.surest(points, sure), np.stack([points[1, 0], points[0, 1], points[0, 2]]))
    chances = np.zeros((2, 3, 2), np.float32)
    chances[0, :, 0] = chances[1, :, 1] = 1
    said = views.agreed(chances, sure)
    assert said.sum(axis=1) == pytest.approx(1)
    assert said[0, 1] > 0.99 > said[1, 0] > 0.9
    assert said[2] == pytest.approx(0.5)
    assert views.mean_chance(np.array([[0.9, 1.0], [0.1, 0.0]], np.float32)) == pytest.approx(0.5)


def test_with_all_views_a_mirrored_hand_is_the_mirrored_answer(archive: Path) -> None:
    finder, (picture, box) = HandFinder.load(views=8), hand_in(archive)
    width = picture.shape[1]
    other = Box(width - 1 - box.right, box.top, width - 1 - box.left, box.bottom)
    (one,), (two,) = finder.read(picture, [box]), finder.read(np.ascontiguousarray(picture[:, ::-1]), [other])
    np.testing.assert_allclose(two.keypoints_px, [width - 1, 0] + one.keypoints_px * [-1, 1], atol=0.02 * box.side)
    assert two.score == pytest.approx(one.score, abs=0.02)
    assert two.right == pytest.approx(1 - one.right, abs=0.05)
    assert one.chances is not None
    assert one.chances.shape == (len(NAMES),)
    assert one.gesture.confidence == one.chances.max()


def test_one_view_is_what_there_was_before_and_a_followed_hand_needs_no_other(archive: Path) -> None:
    picture, box = hand_in(archive)
    plain, all_ways = HandFinder.load(), HandFinder.load(views=8)
    (one,), (eight,) = plain.read(picture, [box]), all_ways.read(picture, [box])
    assert one.chances is None
    assert not np.array_equal(one.keypoint_confidence, eight.keypoint_confidence)
    (followed,), (as_well,) = (finder.read(picture, [box], [one]) for finder in (plain, all_ways))
    assert np.array_equal(followed.keypoints_px, as_well.keypoints_px)
    assert as_well.chances is None


def hand_in(archive: Path) -> tuple[images.Picture, Box]:
    """The picture of the hand that shows the most keypoints, and its crop."""
    with RhdArchive(archive) as raw:
        hands = [
            (visible.sum(), number, points)
            for number in raw.ids("training")
            for points, visible, _ in (raw.annotation("training", number).hand(side) for side in ("left", "right"))
        ]
        _, number, points = max(hands, key=lambda each: each[0])
        return raw.color("training", number), Box.around(points).square(1.5)
