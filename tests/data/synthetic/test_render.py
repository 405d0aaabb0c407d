from typing import get_args

import numpy as np
from numpy.typing import NDArray

from handloom.data.synthetic.labels import visible
from handloom.data.synthetic.render import render
from handloom.data.synthetic.solids import CLOTH, FACE, FINGER, NAILED, PALM, PLAIN, SKIN
from handloom.params import Lever
from tests.data.synthetic.conftest import Sample

# RHD: wrist, then per finger tip to base; the base of the index is 8, of the little finger 20.
INDEX_BASE, LITTLE_BASE = 8, 20


def hand(sample: Sample, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    points = slice(21 * side, 21 * side + 21)
    return sample.annotation["uv_vis"][points], sample.annotation["xyz"][points]


def rounded(point: NDArray[np.float32]) -> tuple[int, int]:
    x, y = np.rint(point[:2]).astype(int)
    return int(x), int(y)


def test_every_id_occurs(samples: list[Sample]) -> None:
    found = {int(i) for sample in samples for i in np.unique(sample.mask)}
    assert found == set(range(34))


def test_points_project_to_their_pixels(samples: list[Sample]) -> None:
    for sample in samples:
        K, uv_vis, xyz = (sample.annotation[name].astype(np.float64) for name in ("K", "uv_vis", "xyz"))
        assert K[0, 0] == K[1, 1]
        assert K[:2, 2].tolist() == [160.0, 160.0]
        assert (xyz[:, 2] > 0).all()
        projected = xyz @ K.T
        assert np.abs(projected[:, :2] / projected[:, 2:] - uv_vis[:, :2]).max() < 0.1
        assert set(np.unique(uv_vis[:, 2])) <= {0.0, 1.0}


def test_nothing_outside_the_frame_is_visible(samples: list[Sample]) -> None:
    for sample in samples:
        uv_vis = sample.annotation["uv_vis"]
        outside = (uv_vis[:, :2] < -0.5).any(1) | (uv_vis[:, :2] > 319.5).any(1)
        assert not uv_vis[outside, 2].any()


def test_visible_points_lie_on_their_finger(samples: list[Sample]) -> None:
    """Ids around a visible joint that is not behind something are its finger's, or the palm's at its base."""
    right, total = 0, 0
    for sample in samples:
        for side in (0, 1):
            uv_vis, xyz = hand(sample, side)
            first = 2 + 16 * side
            for point in np.flatnonzero(uv_vis[:, 2]):
                x, y = rounded(uv_vis[point])
                if abs(sample.depth[y, x] - xyz[point, 2]) > 0.02:
                    continue
                around = sample.mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
                finger, from_tip = divmod(int(point) - 1, 4)
                wanted = [] if point == 0 else [first + 3 * finger + bone for bone in range(3)]
                if point == 0 or from_tip == 3:
                    wanted.append(first + 15)
                right += bool(np.isin(around, wanted).any())
                total += 1
    assert total > 300
    assert right / total > 0.995


def test_depth_agrees_with_the_joints(samples: list[Sample]) -> None:
    """The surface lies before a visible joint, by at most a hand's thickness, in most cases."""
    gaps = []
    for sample in samples:
        for side in (0, 1):
            uv_vis, xyz = hand(sample, side)
            for point in np.flatnonzero(uv_vis[:, 2]):
                x, y = rounded(uv_vis[point])
                if 2 + 16 * side <= sample.mask[y, x] <= 17 + 16 * side:
                    gaps.append(xyz[point, 2] - sample.depth[y, x])
    assert np.quantile(gaps, 0.02) > -0.004
    assert 0.004 < np.median(gaps) < 0.02


def test_background_is_far(samples: list[Sample]) -> None:
    assert max(float(sample.depth.max()) for sample in samples) == 5.0
    for sample in samples:
        assert (sample.depth[sample.mask > 0] < 4.0).all()


def test_left_is_left(samples: list[Sample]) -> None:
    """Seen from index to little finger, a right hand closes to one side of its palm and a left hand to the other."""
    for sample in samples:
        for side, sign in ((0, -1.0), (1, 1.0)):
            _, xyz = hand(sample, side)
            normal = np.cross(xyz[INDEX_BASE] - xyz[0], xyz[LITTLE_BASE] - xyz[0])
            normal /= np.linalg.norm(normal)
            tips, bases = xyz[[5, 9, 13, 17]], xyz[[8, 12, 16, 20]]
            closing = (tips - bases) @ normal * sign
            thumb_base = (xyz[4] - xyz[0]) @ normal * sign
            # Open hands close by nothing, bent-back ones by a little less; the thumb's base lies on the palm's side.
            assert closing.mean() > -0.03
            assert thumb_base > 0


def test_sizes_are_anatomical(samples: list[Sample]) -> None:
    for sample in samples:
        for side in (0, 1):
            _, xyz = hand(sample, side)
            assert 0.075 < np.linalg.norm(xyz[12] - xyz[0]) < 0.115
            for finger in range(5):
                chain = xyz[[4 + 4 * finger, 3 + 4 * finger, 2 + 4 * finger, 1 + 4 * finger]]
                bones = np.linalg.norm(np.diff(chain, axis=0), axis=1)
                assert (bones > 0.012).all()
                assert (bones < 0.056).all()


def test_one_or_two_hands(samples: list[Sample]) -> None:
    shown = [sum(int(hand(sample, side)[0][:, 2].sum() > 5) for side in (0, 1)) for sample in samples]
    assert min(shown) >= 1
    assert 0.25 < np.mean(np.array(shown) == 2) < 0.75


def test_the_same_numbers_give_the_same_picture() -> None:
    one, two = render(5, "training", 3), render(5, "training", 3)
    assert np.array_equal(one.color, two.color)
    assert np.array_equal(one.xyz, two.xyz)


def test_seed_split_and_index_all_matter() -> None:
    first = render(5, "training", 0)
    for other in (render(6, "training", 0), render(5, "evaluation", 0), render(5, "training", 1)):
        assert not np.array_equal(first.color, other.color)
        assert not np.array_equal(first.xyz, other.xyz)


def test_paint_tells_hands_faces_and_arms_apart() -> None:
    for index in range(4):
        sample = render(1, "training", index, without=("gloves", "rings"))
        hands = np.isin(sample.rules, (FINGER, NAILED, PALM))
        assert np.array_equal(hands, sample.mask > 1)
        # a face belongs to the person, skin to a person or to a thing of its colour, and planes have no rule
        assert set(np.unique(sample.mask[sample.rules == FACE])) <= {1}
        assert set(np.unique(sample.mask[sample.rules == SKIN])) <= {0, 1}
        assert not sample.mask[sample.rules == -1].any()


def test_visibility_rule() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[4:7, 4:7] = 17
    mask[12, 12] = 33
    uv = np.full((42, 2), -50.0, np.float32)
    uv[0] = (5, 5)
    uv[1] = (7, 7)  # 4 of its 25 neighbours are the hand's: one too few
    uv[2] = (6.6, 5.4)  # rounds to (7, 5): 6 are
    uv[21] = (5, 5)  # the other hand's pixels do not count
    uv[22] = (12, 12)
    assert np.flatnonzero(visible(uv, mask)).tolist() == [0, 2]


def test_a_portrait_shows_a_person_and_no_hand() -> None:
    faces = 0
    for index in range(12):
        sample = render(1, "training", index, portraits=1.0)
        assert not (sample.mask > 1).any()
        assert not sample.uv_vis[:, 2].any()
        assert (sample.mask == 1).mean() > 0.01
        faces += bool((sample.rules == FACE).mean() > 0.02)
    assert faces >= 4


def test_portraits_leave_the_other_pictures_what_they_were() -> None:
    pairs = [(render(1, "training", index), render(1, "training", index, portraits=0.5)) for index in range(6)]
    same = [np.array_equal(one.color, two.color) for one, two in pairs]
    shown = [bool((two.mask > 1).any()) for _, two in pairs]
    assert same == shown
    assert 0 < sum(shown) < 6


def test_what_is_left_out_changes_nothing_else() -> None:
    """The scene stays: no joint moves, and away from what is left out the mask does not change."""
    changed: dict[Lever, int] = dict.fromkeys(get_args(Lever), 0)
    whole = [render(1, "training", index) for index in range(17)]
    for lever in changed:
        for index, sample in enumerate(whole):
            bare = render(1, "training", index, without=(lever,))
            assert np.array_equal(bare.xyz, sample.xyz)
            if lever in ("nails", "veins", "skin", "shadows", "blur", "camera"):
                assert np.array_equal(bare.mask, sample.mask)
            changed[lever] += not np.array_equal(bare.color, sample.color)
    assert min(changed.values()) >= 1, changed
    assert changed["scenery"] == 17
    assert changed["skin"] > 12  # all but those in gloves


def test_gloves_and_rings_are_parts_of_the_hand() -> None:
    gloved = ringed = 0
    for index in range(40):
        sample = render(1, "training", index)
        hands = sample.rules[sample.mask > 1]
        gloved += bool(np.isin(hands, (PLAIN, CLOTH)).mean() > 0.9)
        ringed += bool(0 < (hands == PLAIN).mean() < 0.1)
    assert gloved
    assert ringed
