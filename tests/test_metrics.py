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


def test_pck_is_relative_to_the_box_and_strict() -> None:
    # 0.2 x 25 = 5: an error of 5 is not below it; 0.2 x 150 = 30 holds 29
    assert metrics.pck(ERRORS, np.array([25.0, 25.0])).tolist() == [0.5, 0.0]
    assert metrics.pck(ERRORS, np.array([150.0, 150.0])).tolist() == [1.0, 1.0]


def test_auc_of_perfect_keypoints_is_its_ceiling() -> None:
    # strict `<` loses the threshold 0: 19 of 20
    assert metrics.auc(np.zeros((4, 21))) == pytest.approx(0.95)
    assert metrics.auc(np.full((4, 21), 99.0)) == 0.0


def test_keypoint_scores_by_hand() -> None:
    scores = metrics.keypoint_scores(ERRORS, np.array([25.0, 25.0]))
    assert scores["pck_0.2"] == 0.25
    assert scores["epe_mean_px"] == pytest.approx(37 / 3)
    assert scores["epe_median_px"] == 5.0
    # keypoint 0: 3 is below 4.5, 6, ... (17 of 20), 5 below 6, ... (16 of 20); keypoint 1: never below 28.5
    assert scores["auc_30px"] == pytest.approx((17 / 20 + 16 / 20) / 2 / 2)


def test_a_keypoint_never_seen_has_no_mean() -> None:
    means = metrics.mean_per_keypoint(np.array([[1.0, np.nan], [3.0, np.nan]]))
    assert means[0] == 2.0
    assert np.isnan(means[1])
