import numpy as np

from handloom.geometry import Box
from handloom.masks import boxes, part, regions, tight_box


def art(*rows: str) -> np.ndarray:
    return np.array([list(row) for row in rows]) == "#"


MASK = art(
    "##....",
    "##...#",
    "....##",
    "#...##",
)


def votes(mask: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Give (2, H, W) votes: column by column, x and y in sides of the picture."""
    return np.broadcast_to(centres.T[:, None], (2, *mask.shape))


def test_two_hands_give_two_boxes_largest_first() -> None:
    assert boxes(regions(MASK)) == [Box(4, 1, 6, 4), Box(0, 0, 2, 2), Box(0, 3, 1, 4)]


def test_stray_pixels_are_no_hand() -> None:
    mask = np.zeros((128, 128), bool)
    mask[3:8, 3:8] = True
    mask[50, 50:73] = True
    assert boxes(regions(mask)) == [Box(3, 3, 8, 8)]


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    assert boxes(regions(art("#.", ".#"))) == [Box(0, 0, 2, 2)]


def test_no_hand_gives_no_box() -> None:
    nothing = np.zeros((64, 64), bool)
    assert boxes(regions(nothing)) == []
    assert boxes(part(nothing, np.zeros((2, 64, 64)))) == []


def test_hands_that_touch_are_parted_by_their_centres() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:50] = True
    columns = np.arange(64)
    centres = np.stack([np.where(columns < 34, 0.34, 0.66), np.full(64, 0.47)], axis=1)
    noise = np.random.default_rng(0).normal(0, 0.02, (2, 64, 64))
    assert boxes(part(mask, votes(mask, centres) + noise)) == [Box(10, 20, 34, 40), Box(34, 20, 50, 40)]


def test_a_hand_in_two_pieces_is_one() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:20] = mask[20:40, 26:40] = True
    same = np.full((64, 2), 0.4)
    assert len(boxes(regions(mask))) == 2
    assert boxes(part(mask, votes(mask, same))) == [Box(10, 20, 40, 40)]


def test_a_small_fragment_is_no_part_of_the_hand_that_it_votes_for() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    mask[2:8, 2:8] = True
    labels = part(mask, votes(mask, np.full((64, 2), 0.47)))
    assert boxes(labels) == [Box(20, 20, 40, 40)]
    assert not labels[2:8, 2:8].any()


def test_a_hand_in_many_small_pieces_is_all_of_them() -> None:
    mask = np.zeros((64, 64), bool)
    mask[2:62:5, 2:62:5] = True
    assert (part(mask, votes(mask, np.full((64, 2), 0.5))) > 0).sum() == mask.sum()


def test_hands_of_two_sides_part_though_their_centres_are_near() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:50] = True
    columns = np.arange(64)
    centres = votes(mask, np.stack([np.where(columns < 30, 0.45, 0.53), np.full(64, 0.47)], axis=1))
    right = np.where(columns < 30, -4.0, 4.0) * np.ones((64, 64))
    assert boxes(part(mask, centres)) == [Box(10, 20, 50, 40)]
    assert boxes(part(mask, centres, right)) == [Box(10, 20, 30, 40), Box(30, 20, 50, 40)]


def test_a_hand_of_which_some_pixels_take_the_wrong_side_is_one() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    right = np.where(np.arange(64) < 27, -4.0, 4.0) * np.ones((64, 64))
    assert boxes(part(mask, votes(mask, np.full((64, 2), 0.47)), right)) == [Box(20, 20, 40, 40)]


def test_tight_box_holds_every_pixel() -> None:
    assert tight_box(MASK) == Box(0, 0, 6, 4)


def test_touching_parts_of_one_side_are_one_hand() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:50] = True
    columns = np.arange(64)
    centres = votes(mask, np.stack([np.where(columns < 34, 0.3, 0.7), np.full(64, 0.47)], axis=1))
    for right, expected in (
        (np.full((64, 64), 2.0), [Box(10, 20, 50, 40)]),
        (np.broadcast_to(np.where(columns < 34, -2.0, 2.0), (64, 64)), [Box(10, 20, 34, 40), Box(34, 20, 50, 40)]),
    ):
        assert boxes(part(mask, centres, right)) == expected
    mask[:, 30:34] = False  # apart, the same side may be two persons'
    assert len(boxes(part(mask, centres, np.full((64, 64), 2.0)))) == 2


def test_labels_of_a_finer_mask_reach_its_border() -> None:
    mask, fine = np.zeros((32, 32), bool), np.zeros((64, 64), bool)
    mask[10:20, 5:20] = True
    fine[19:41, 9:40] = True
    fine[50:52, 50:52] = True  # no coarse pixel near
    same = np.full((32, 2), 0.4)
    assert boxes(part(mask, votes(mask, same), fine=fine)) == [Box(9, 19, 40, 41)]
    assert boxes(regions(mask, fine)) == [Box(9, 19, 40, 41)]
