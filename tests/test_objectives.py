import math
from typing import Any

import pytest
import torch

from handloom import heatmaps, objectives
from handloom.data.prepared import Keypoints
from handloom.params import Params, PoseParams

SIZE = 32


def target(x: float, y: float) -> Keypoints:
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 8:24, 8:24] = 1
    one = torch.ones(1)
    return Keypoints(torch.tensor([[[x, y]]]), torch.ones(1, 1, dtype=torch.bool), one, one, one, one, mask)


def pose(params: Params, **changes: Any) -> PoseParams:
    return params.pose.model_copy(update=changes)


@pytest.mark.parametrize("loss", objectives.OBJECTIVES)
def test_each_objective_leads_a_map_to_its_keypoint(params: Params, loss: str) -> None:
    chosen, maps = pose(params, loss=loss), torch.full((1, 1, 16, 16), 0.01, requires_grad=True)
    optimizer = torch.optim.Adam([maps], 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        objectives.map_loss(maps, target(20.5, 9.5), chosen, SIZE).backward()
        optimizer.step()
    points, _ = heatmaps.decode(objectives.read(maps.detach(), chosen), 4)
    assert (heatmaps.from_map(points, 2) - torch.tensor([20.5, 9.5])).abs().max() < 1.5


@pytest.mark.parametrize("stride", [1, 2])
def test_a_density_target_has_the_peak_of_the_blurred_point_at_every_resolution(params: Params, stride: int) -> None:
    chosen = pose(params, loss="l2", target_peak="density", sigma_px=3.0)
    side = SIZE // stride
    nothing = torch.zeros(1, 1, side, side)
    middle = heatmaps.from_map(torch.tensor(side // 2 * 1.0), stride).item()
    # what squared error all zeros cost: the sum of a squared Gaussian is 1 / (4 pi sigma^2) over the pixels' number
    cost = objectives.map_loss(nothing, target(middle, middle), chosen, SIZE).item()
    assert cost == pytest.approx(1 / (4 * math.pi * 9) / SIZE**2, rel=0.02)


def test_a_peak_of_one_and_the_mask_at_its_opacity(params: Params) -> None:
    chosen = pose(params, loss="l1", target_peak="one", mask_opacity=0.25)
    nothing = torch.zeros(1, 1, SIZE, SIZE)
    # far from the mask's middle: a Gaussian's sum is 2 pi sigma^2, the mask's 256 pixels
    expected = (0.75 * 2 * math.pi * 9 + 0.25 * 256) / SIZE**2
    assert objectives.map_loss(nothing, target(16.0, 16.0), chosen, SIZE).item() == pytest.approx(expected, rel=0.01)


def test_the_coordinate_term_is_in_units_of_sigma(params: Params) -> None:
    maps = torch.zeros(1, 1, 16, 16)  # the softmax's mean is the middle: 15.5 of the input
    without = objectives.map_loss(maps, target(15.5, 21.5), pose(params), SIZE)
    with_it = objectives.map_loss(maps, target(15.5, 21.5), pose(params, coordinate_weight=0.5), SIZE)
    assert (with_it - without).item() == pytest.approx(0.5 * 6 / 3, rel=1e-4)
