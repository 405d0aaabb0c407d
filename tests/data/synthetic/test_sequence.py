import numpy as np

from handloom.data.synthetic.sequence import frames
from handloom.metrics import distances


def test_hands_move_and_nothing_else_does() -> None:
    made = list(frames(5, 1, ("open", "fist"), rate=5.0, seconds=2.0))
    assert len(made) == 10
    uv = np.stack([each.uv_vis[:, :2] for each in made])
    moved = np.linalg.norm(np.diff(uv, axis=0), axis=-1)
    assert moved.max() > 3
    # 5 frames a second of hands at arm's length
    assert np.median(moved) < 25
    first, last = made[0], made[-1]
    still = (first.mask <= 1) & (last.mask <= 1) & (first.rules == last.rules) & (first.rules < 0)
    assert still.mean() > 0.2
    assert np.abs(first.color.astype(int) - last.color)[still].mean() < 8
    # and the camera's grain is new in each frame
    assert (first.color[still] != last.color[still]).mean() > 0.5


def test_the_same_numbers_give_the_same_frames() -> None:
    one, other = (list(frames(5, 2, ("open", "point"), rate=4.0, seconds=0.5)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.color, b.color)
        np.testing.assert_array_equal(a.uv_vis, b.uv_vis)
    assert distances(one[0].uv_vis[None, :, :2], one[1].uv_vis[None, :, :2], np.ones((1, 42), bool)).max() > 0
