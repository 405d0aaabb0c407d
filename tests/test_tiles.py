from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from handloom.data.rhd import RhdArchive
from handloom.geometry import Box
from handloom.inference import HandFinder
from handloom.tiles import OVERLAP, TiledFinder, TileRegions, _shared, tiles_of


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (500, 500), (100, 901), (7, 3)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_tiles_cover_the_picture_and_share_a_fifth_with_their_neighbours(height: int, width: int, count: int) -> None:
    tiles = list(tiles_of(height, width, count))
    seen = np.zeros((height, width), int)
    for tile in tiles:
        seen[int(tile.top) : int(tile.bottom), int(tile.left) : int(tile.right)] += 1
    assert seen.min() >= 1
    assert len({(tile.left, tile.right) for tile in tiles}) <= count
    lefts = sorted({tile.left for tile in tiles})
    side = max(tile.side for tile in tiles)
    assert all(one + side - other >= side * OVERLAP - 1 for one, other in pairwise(lefts))


def test_one_tile_is_none() -> None:
    assert not list(tiles_of(480, 640, 1))


def regions(tile: Box) -> TileRegions:
    """A hand in rows 1 and 2, columns 1 and 2 of four, of a part of a picture of 100 x 200 px."""
    labels = np.zeros((4, 4), np.uint8)
    labels[1:3, 1:3] = 1
    logits = np.where(labels, 4.0, -4.0).astype(np.float32)
    return TileRegions(logits, labels, int(tile.height), int(tile.width), tile, (100, 200))


def test_boxes_and_masks_of_a_part_are_the_pictures() -> None:
    said = regions(Box(120, 20, 200, 100))
    assert said.boxes() == [Box(140, 40, 180, 80)]
    mask = said.mask(1)
    assert mask.shape == (100, 200)
    assert mask[60, 160]
    assert not mask[:, :135].any()


def test_what_goes_on_beyond_a_part_is_cut_and_what_ends_with_the_picture_is_not() -> None:
    said = regions(Box(120, 20, 200, 100))
    assert not said.cut(Box(165, 65, 200, 100))
    assert said.cut(Box(121, 65, 150, 90))
    assert said.cut(Box(165, 21, 180, 90))
    left = regions(Box(0, 0, 80, 80))
    assert not left.cut(Box(0, 0, 30, 30))
    assert left.cut(Box(0, 0, 79, 30))
    assert left.cut(Box(0, 0, 30, 79))


def test_a_finger_s_box_is_shared_with_its_hand_s() -> None:
    assert _shared(Box(0, 0, 10, 10), Box(2, 2, 6, 4)) == 1
    assert _shared(Box(0, 0, 10, 10), Box(8, 0, 12, 10)) == 0.5
    assert _shared(Box(0, 0, 10, 10), Box(20, 0, 30, 10)) == 0


def test_tiles_take_nothing_from_what_the_whole_picture_shows(archive: Path) -> None:
    finder = HandFinder.load()
    tiled = TiledFinder.of(finder, 2)
    count = 0
    with RhdArchive(archive) as raw:
        for number in raw.ids("training"):
            picture = raw.color("training", number)
            plain, more = finder(picture, 0.5), tiled(picture, 0.5)
            assert [hand.box for hand in more[: len(plain)]] == [hand.box for hand in plain]
            count += len(plain)
    assert count > 20


def test_tiles_find_hands_that_the_whole_picture_is_too_small_for(archive: Path) -> None:
    finder = HandFinder.load()
    tiled = TiledFinder.of(finder, 3)
    far, near = 0, 0
    with RhdArchive(archive) as raw:
        for number in raw.ids("training"):
            picture = raw.color("training", number)
            canvas = np.full(
                (960, 960, 3), 120, np.uint8
            )  # a plain wall; the hands in its upper left are a third as large
            canvas[:320, :320] = picture
            far += len(finder(canvas))
            hands = tiled(canvas)
            near += len(hands)
            assert all(hand.box.right <= 384 and hand.box.bottom <= 384 for hand in hands)
            assert all(hand.mask.shape == (960, 960) and hand.mask.any() for hand in hands)
    assert near > 2 * far + 3
