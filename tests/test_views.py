from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from handloom import images, views
from handloom.checkpoint import Model
from handloom.data.rhd import RhdArchive
from handloom.errors import ParamsError
from handloom.geometry import Box
from handloom.gesture_training import in_views
from handloom.gestures import NAMES
from handloom.inference import HandFinder
from handloom.models.unet import Output
from handloom.params import Params
from handloom.tasks import POSE
from handloom.tiles import TiledFinder
from handloom.views import VIEWS, View


def test_no_two_are_alike_and_the_first_is_the_picture_itself() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    shown = [(view.side, view.show(picture).tobytes()) for view in VIEWS]
    assert len(set(shown)) == len(VIEWS) == 32
    assert shown[0] == (1, picture.tobytes())
    assert shown[1] == (1, picture[:, ::-1].tobytes())
    assert shown[8] == (1, picture[::-1, ::-1].tobytes())


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_view_shows_is_found_where_it_is(view: View) -> None:
    rows, columns = np.mgrid[:60, :60]
    spot = 255 * np.exp(((columns - 39) ** 2 + (rows - 20) ** 2) / -18)
    picture, given = np.dstack([spot] * 3).astype(np.uint8), Box(10, 10, 50, 50)
    cut = images.crop(picture, given.square(view.side), 40)
    shown = view.show(np.stack([cut, cut]))
    assert shown.shape == (2, 40, 40, 3)
    rows, columns = np.mgrid[:40, :40]
    bright = shown[1, ..., 0].astype(np.float32)
    middle = np.array([[(columns * bright).sum(), (rows * bright).sum()]], np.float32) / bright.sum()
    np.testing.assert_allclose(view.back(middle, 40), [[29, 10]], atol=1e-4 if view.side == 1 else 0.05)


def test_sure_views_count_more() -> None:
    peaks = np.full((2, 3, 21), 0.1, np.float32)
    peaks[1, 0], peaks[0, 1] = 0.3, 0.2
    sure = views.sureness(peaks)
    chances = np.zeros((2, 3, 2), np.float32)
    chances[0, :, 0] = chances[1, :, 1] = 1
    said = views.agreed(chances, sure)
    assert said.sum(axis=1) == pytest.approx(1)
    assert said[0, 1] > 0.99 > said[1, 0] > 0.9
    assert said[2] == pytest.approx(0.5)


def test_views_together_are_the_mean_of_what_they_say_of_the_picture_itself() -> None:
    """Two crops in two views: what is said stands view by view, the second view is the mirror image."""
    points = np.zeros((4, 21, 2), np.float32)
    points[..., 0] = np.array([10, 20, 89, 79])[:, None]  # x, of a crop of 100 px: 99 - 10, 99 - 20
    peaks = np.array([0.2, 0.1, 0.1, 0.2], np.float32)[:, None].repeat(21, axis=1)
    said = {"keypoints": points, "peaks": peaks, "visible": peaks}
    said |= {"right": np.array([0.9, 0.2, 0.3, 0.6], np.float32), "hand": np.array([1, 0.9, 1, 0.1], np.float32)}
    one = views.together(said, VIEWS[:2], 100, lambda keypoints: keypoints[:, 0])
    assert one["keypoints"][:, 0].tolist() == [[10, 0], [20, 0]]
    assert one["right"] == pytest.approx([0.8, 0.3])
    assert one["visible"] == pytest.approx(0.15)
    assert one["hand"][0] == 1
    assert one["hand"][1] == pytest.approx(0.5)
    assert one["chances"][:, 0] == pytest.approx([10, 20])


def test_with_all_views_a_mirrored_hand_is_the_mirrored_answer(archive: Path) -> None:
    finder, (picture, box, side) = HandFinder.load(views=32), hand_in(archive)
    width = picture.shape[1]
    other = Box(width - 1 - box.right, box.top, width - 1 - box.left, box.bottom)
    (one,), (two,) = finder.read(picture, [box]), finder.read(np.ascontiguousarray(picture[:, ::-1]), [other])
    np.testing.assert_allclose(two.keypoints_px, [width - 1, 0] + one.keypoints_px * [-1, 1], atol=0.02 * box.side)
    assert two.score == pytest.approx(one.score, abs=0.02)
    assert two.right == pytest.approx(1 - one.right, abs=0.05)
    assert one.handedness == side
    assert abs(one.right - 0.5) > 0.2
    assert one.chances is not None
    assert one.chances.shape == (len(NAMES),)
    assert one.gesture.confidence == one.chances.max()


def test_hands_read_at_once_are_those_read_one_by_one_and_a_followed_one_needs_no_other_view(archive: Path) -> None:
    picture, box, _ = hand_in(archive)
    crops = [box, box.square(1.2), Box(0, 0, 90, 90)]
    plain, all_ways = HandFinder.load(), HandFinder.load(views=32)
    for reading, crop in zip(all_ways.read(picture, crops), crops, strict=True):
        (alone,) = all_ways.read(picture, [crop])
        np.testing.assert_allclose(reading.keypoints_px, alone.keypoints_px, atol=0.01 * crop.side)
        assert reading.right == pytest.approx(alone.right, abs=0.01)
    (before,) = plain.read(picture, [box])
    (followed,), (as_well,) = (finder.read(picture, [box], [before]) for finder in (plain, all_ways))
    assert np.array_equal(followed.keypoints_px, as_well.keypoints_px)
    assert as_well.chances is None
    assert before.chances is None
    assert TiledFinder.of(all_ways, 2).views == VIEWS


@pytest.mark.parametrize("views", [0, -1, 33])
def test_views_that_there_are_not_are_refused(views: int) -> None:
    with pytest.raises(ParamsError, match=f"views: must be 1 to 32, got '{views}'"):
        HandFinder.load(views=views)


class Spot(nn.Module):
    """A pose net that finds the one bright pixel in every map."""

    def forward(self, images: Tensor) -> Output:
        maps = torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4).expand(-1, 21, -1, -1)
        return Output(maps * 10, torch.zeros(len(images), 23))


def test_all_views_of_a_split_find_the_same_place(prepared: Path, params: Params) -> None:
    hands = POSE.data.load(prepared / "pose", "test")
    pictures, margin = np.zeros_like(hands.images[:]), (hands.images.shape[1] - hands.size) // 2
    places = 24 + 4 * (np.arange(len(hands)) % 16)
    for picture, place in zip(pictures, places, strict=True):
        picture[margin + place : margin + place + 4, margin + 24 : margin + 28] = 255
    about = {"params": params.pose.model_dump() | {"decode_radius": 0}}
    spots = hands.moved(pictures, hands.boxes, hands.keypoints)
    said, sure = in_views(Model(Spot(), about), spots, 4, len(VIEWS))
    assert said.shape == (len(VIEWS), len(hands), 21, 2)
    for view, points, own in zip(VIEWS, said, sure, strict=True):
        near = 1e-3 if view.side == 1 else 2.5  # the spot is a pixel of its map, which are 4 apart
        np.testing.assert_allclose(points[..., 0], 25.5, atol=near)
        np.testing.assert_allclose(points[..., 1], (places + 1.5)[:, None].repeat(21, 1), atol=near)
        assert view.side != 1 or (own == sure[0, 0]).all()


def hand_in(archive: Path) -> tuple[images.Picture, Box, str]:
    """The picture of the hand that shows the most keypoints, its crop and its side."""
    with RhdArchive(archive) as raw:
        hands = [
            (visible.sum(), number, points, side)
            for number in raw.ids("training")
            for side in ("left", "right")
            for points, visible, _ in [raw.annotation("training", number).hand(side)]
        ]
        _, number, points, side = max(hands, key=lambda each: each[0])
        return raw.color("training", number), Box.around(points).square(1.5), side
