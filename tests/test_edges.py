"""Logits that change where the picture does."""

import numpy as np

from handloom import images
from handloom.edges import EPSILON, RADIUS, follow_edges

SIZE = 32


def disk(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def test_a_mask_follows_an_edge_that_the_logits_are_a_pixel_beside() -> None:
    true = disk(240, 320, 130, 100, 60)
    picture = np.where(true[..., None], [200, 150, 120], [60, 80, 140]).astype(np.uint8)
    beside = disk(SIZE, SIZE, 14, 10, 6)  # the disk is at 13, 10 in these pixels, each of which covers 10
    logits = np.where(beside, 5, -5).astype(np.float32)
    followed = follow_edges(logits, picture)
    assert followed.shape == (240, 320)
    assert followed.dtype == np.float32
    before, after = (((said > 0) != true).sum() for said in (images.enlarge(logits, 320)[:240], followed))
    assert before > 1000
    assert after < before / 5


def test_where_a_picture_is_plain_logits_are_smoothed() -> None:
    logits = np.zeros((SIZE, SIZE), np.float32)
    logits[16, 16] = 5.0**4  # of two means over 5 x 5
    followed = follow_edges(logits, np.full((SIZE, SIZE, 3), 90, np.uint8))
    weights = np.convolve(np.ones(5), np.ones(5))
    np.testing.assert_allclose(followed[12:21, 12:21], np.outer(weights, weights), rtol=1e-3)
    assert np.abs(followed[:, : 16 - 2 * RADIUS]).max() < 1e-3


def test_logits_that_are_a_line_of_colors_stay() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    line = (picture / 255 @ [3.0, -2.0, 1.0] - 0.5).astype(np.float32)
    spread = (picture / 255).var()
    assert np.abs(follow_edges(line, picture) - line).max() < 10 * EPSILON / spread * np.abs(line).max()
