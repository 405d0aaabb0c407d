import numpy as np
import pytest

from handloom.protocols import HAND3D, MMPOSE, palm_for_wrist
from handloom.skeleton import MIDDLE_MCP

ERRORS = np.array([[3.0, np.nan], [5.0, 29.0]])  # two hands, two keypoints, one of them never seen in the first
BOTH = np.array([0, 1])


def test_mmpose_by_hand() -> None:
    figures = MMPOSE.figures_of(ERRORS, np.array([25.0, 25.0]))(BOTH)
    # 0.2 x 25 = 5: an error of 5 is not below it
    assert figures["pck_0.2"] == 0.25
    assert figures["epe_mean_px"] == pytest.approx(37 / 3)
    assert figures["epe_median_px"] == 5.0
    # keypoint 0: 3 is below 4.5, 6, ... (17 of 20), 5 below 6, ... (16 of 20); keypoint 1: never below 28.5
    assert figures["auc_30px"] == pytest.approx((17 / 20 + 16 / 20) / 2 / 2)


def test_hand3d_by_hand() -> None:
    figures = HAND3D.figures_of(ERRORS, np.array([25.0, 25.0]))(BOTH)
    # per keypoint first: (3 + 5) / 2 and 29, then their mean
    assert figures["epe_mean_px"] == figures["epe_median_px"] == (4 + 29) / 2
    # steps of 30 / 19: 3 is reached from the 3rd on, 5 from the 5th, 29 at the 20th alone
    assert figures["auc_30px"] == pytest.approx(((17.5 / 19 + 15.5 / 19) / 2 + 0.5 / 19) / 2)


def test_the_same_errors_score_more_under_hand3ds_area() -> None:
    errors = np.random.default_rng(0).gamma(2, 3, (200, 21))
    box = np.full(200, 100.0)
    rows = np.arange(200)
    gap = HAND3D.figures_of(errors, box)(rows)["auc_30px"] - MMPOSE.figures_of(errors, box)(rows)["auc_30px"]
    assert 0.02 < gap < 0.03


def test_figures_of_some_rows_are_those_of_their_errors_alone() -> None:
    some = np.array([1])
    assert MMPOSE.figures_of(ERRORS, np.array([25.0, 150.0]))(some)["pck_0.2"] == 1.0


def test_the_palm_is_between_wrist_and_middle_mcp_and_seen_with_either() -> None:
    points, visible = np.zeros((2, 21, 2)), np.zeros((2, 21), bool)
    points[0, MIDDLE_MCP], visible[0, MIDDLE_MCP] = (4.0, 8.0), True
    palm, seen = palm_for_wrist(points, visible)
    assert palm[0, 0].tolist() == [2.0, 4.0]
    assert seen[:, 0].tolist() == [True, False]
    assert points[0, 0].tolist() == [0, 0]
    assert not visible[:, 0].any()


def test_hand3d_measures_the_palm_and_mmpose_the_wrist() -> None:
    true, said, visible = np.zeros((1, 21, 2)), np.zeros((1, 21, 2)), np.zeros((1, 21), bool)
    said[0, 0], visible[0, 0] = (6.0, 8.0), True
    assert MMPOSE.errors_px(said, true, visible)[0, 0] == 10
    assert HAND3D.errors_px(said, true, visible)[0, 0] == 5
    assert np.isnan(MMPOSE.errors_px(said, true, visible)[0, 1:]).all()
