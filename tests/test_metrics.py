import numpy as np
import pytest

from handloom import metrics

TRUE = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], bool)
PREDICTED = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], bool)


def test_iou_by_hand() -> None:
    # 1 pixel of 3; nothing against nothing agrees; all of 4
    assert metrics.iou(*metrics.overlap(PREDICTED, TRUE)).tolist() == [1 / 3, 1.0, 1.0]
    scores = metrics.mask_scores(PREDICTED, TRUE)
    assert scores == {"iou_mean": pytest.approx(7 / 9), "iou_median": 1.0, "iou_pooled": pytest.approx(5 / 7)}


ERRORS = np.array([[3.0, np.nan], [5.0, 29.0]])  # two hands, two keypoints, one of them never seen in the first


def test_distances_ignore_what_is_not_visible() -> None:
    predicted = np.array([[[3.0, 4.0], [9.0, 9.0]]])
    result = metrics.distances(predicted, np.zeros((1, 2, 2)), np.array([[True, False]]))
    assert result[0, 0] == 5.0
    assert np.isnan(result[0, 1])


def test_box_iou_by_hand() -> None:
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])
    assert metrics.box_iou(boxes, boxes[0]).tolist() == [1.0, 1 / 7, 0.0]


def test_the_two_areas_under_the_curve_and_their_ceilings() -> None:
    none, far, little = (np.array([[error]]) for error in (0.0, 99.0, 1e-9))
    # mmpose: strict < loses the threshold 0, 19 of 20
    assert metrics.auc_mmpose(none).item() == pytest.approx(0.95)
    # hand3d: the first of 19 trapezoids is half lost as soon as an error is above 0
    assert metrics.auc_hand3d(little).item() == pytest.approx(1 - 0.5 / 19)
    assert metrics.auc_hand3d(none).item() == pytest.approx(1)
    assert metrics.auc_mmpose(far).item() == metrics.auc_hand3d(far).item() == 0
    # 15 px: below 16.5, ... 28.5: 9 of 20; reached from 15.79 on: 9 trapezoids and a half of 19
    middle = np.array([[15.0]])
    assert metrics.auc_mmpose(middle).item() == pytest.approx(9 / 20)
    assert metrics.auc_hand3d(middle).item() == pytest.approx(9.5 / 19)


def test_what_is_not_visible_counts_in_no_area() -> None:
    assert np.isnan(metrics.auc_mmpose(ERRORS)).tolist() == np.isnan(ERRORS).tolist()
    assert np.isnan(metrics.auc_hand3d(ERRORS)).tolist() == np.isnan(ERRORS).tolist()


def test_medians_skip_what_is_not_visible() -> None:
    values = np.array([[1.0, np.nan, 7.0, np.nan], [3.0, 4.0, np.nan, np.nan], [9.0, 2.0, np.nan, np.nan]])
    medians = metrics.median_per_keypoint(values)
    assert medians[:3].tolist() == [3.0, 3.0, 7.0]
    assert np.isnan(medians[3])


def test_signs_of_collapse() -> None:
    true = np.array([[[20.0, 20.0]], [[40.0, 60.0]]])
    seen = np.ones((2, 1), bool)
    exact = metrics.collapse_signs(true, true, seen, 64)
    assert exact == {"skill": 1.0, "corner_rate": 0.0}
    always_the_mean = metrics.collapse_signs(np.full_like(true, [30.0, 40.0]), true, seen, 64)
    assert always_the_mean["skill"] == 0
    corners = metrics.collapse_signs(np.array([[[0.0, 0.0]], [[63.0, 1.0]]]), true, seen, 64)
    assert corners["skill"] < 0
    assert corners["corner_rate"] == 1
    # an edge is no corner; what is not visible does not count
    edge = metrics.collapse_signs(np.array([[[0.0, 30.0]], [[40.0, 60.0]]]), true, np.array([[False], [True]]), 64)
    assert edge["corner_rate"] == 0


def test_calibration_by_hand() -> None:
    said, was = np.array([0.05, 0.15, 0.15, 0.95, 1.0]), np.array([False, True, False, True, True])
    table = metrics.calibration_table(said, was)
    assert table[:, 2].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert table[1, :2].tolist() == [pytest.approx(0.15), 0.5]
    # 0.05 off once, 0.35 off twice, 0.025 off twice
    assert metrics.calibration_error(table) == pytest.approx((0.05 + 0.7 + 0.05) / 5)


def test_the_bootstrap_draws_whole_groups_and_the_same_every_time() -> None:
    values = np.arange(40.0)
    pairs = [np.array([2 * i, 2 * i + 1]) for i in range(20)]

    def figures(rows: np.ndarray) -> dict[str, float]:
        assert len(rows) == 40
        assert (rows[::2] + 1 == rows[1::2]).all()
        return {"mean": float(values[rows].mean())}

    low, high = metrics.bootstrap(figures, pairs, 400)["mean"]
    assert metrics.bootstrap(figures, pairs, 400)["mean"] == (low, high)
    # the mean of 20 pairs scatters by 11.5 / sqrt(20) = 2.6; 1.96 times that on both sides of 19.5
    assert 19.5 - low == pytest.approx(5.1, abs=0.8)
    assert high - 19.5 == pytest.approx(5.1, abs=0.8)


def test_a_keypoint_never_seen_has_no_mean() -> None:
    means = metrics.mean_per_keypoint(np.array([[1.0, np.nan], [3.0, np.nan]]))
    assert means[0] == 2.0
    assert np.isnan(means[1])
