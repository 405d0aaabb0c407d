import numpy as np
import pytest

from handloom.data.synthetic.hand import LIMITS, Shape, draw_shape, pose
from handloom.data.synthetic.poses import NAMED, draw_angles, draw_name

PLAIN = Shape(scale=1.0, bones=np.ones((5, 3)), flesh=1.0, width=1.0)
STRAIGHT = np.zeros((5, 4))


def test_bone_lengths_are_those_of_the_genuine_records() -> None:
    joints = pose(PLAIN, STRAIGHT, left=False).joints
    middle = np.linalg.norm(np.diff(joints[[0, 9, 10, 11, 12]], axis=0), axis=1)
    assert middle == pytest.approx([0.0951, 0.0369, 0.0294, 0.0295], abs=2e-4)
    assert np.linalg.norm(joints[5] - joints[17]) == pytest.approx(0.0617, abs=2e-4)


def test_bending_moves_a_finger_to_the_palm() -> None:
    bent = STRAIGHT.copy()
    bent[2, 0] = np.pi / 2
    joints = pose(PLAIN, bent, left=False).joints
    reach = joints[12] - joints[9]
    assert reach == pytest.approx([0.0, 0.0, 0.0958], abs=1e-3)


def test_a_left_hand_is_the_mirror_of_a_right_one() -> None:
    right, left = (pose(PLAIN, NAMED["point"], left=side).joints for side in (False, True))
    assert left == pytest.approx(right * [-1, 1, 1])


@pytest.mark.parametrize(("name", "finger"), [("pinch", 8), ("ring", 8), ("pinch_middle", 12)])
def test_a_pinch_closes(name: str, finger: int) -> None:
    joints = pose(PLAIN, NAMED[name], left=False).joints
    assert np.linalg.norm(joints[4] - joints[finger]) < 0.022


def test_named_poses_keep_the_joint_limits() -> None:
    for name, angles in NAMED.items():
        assert (angles >= LIMITS[..., 0] - 1e-9).all(), name
        assert (angles <= LIMITS[..., 1] + 1e-9).all(), name


def test_drawn_poses_keep_the_joint_limits_and_differ() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_angles(rng, draw_shape(rng), draw_name(rng)) for _ in range(60)]
    for angles in drawn:
        assert (angles >= LIMITS[..., 0] - 1e-9).all()
        assert (angles <= LIMITS[..., 1] + 1e-9).all()
    bend = np.array([angles[1:, 2].mean() for angles in drawn])
    assert np.degrees(bend.min()) < 12
    assert np.degrees(bend.max()) > 80
