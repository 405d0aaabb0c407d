import math
from pathlib import Path

import pytest
import torch

from handloom.data.prepared import Keypoints
from handloom.models.unet import Output
from handloom.params import Params
from handloom.tasks import POSE, read_pose

SIZE = 32
CHOSEN = Params.load(Path("presets/default.yaml")).pose.model_copy(
    update={"visible_weight": 1.0, "side_weight": 10.0, "hand_weight": 100.0}
)


def said(visible: float, right: float, hand: float) -> torch.Tensor:
    """Logits of one crop."""
    return torch.tensor([[visible] * 21 + [right, hand]])


def wrong(logit: float, truth: float) -> float:
    """Binary cross-entropy."""
    return math.log1p(math.exp(logit if truth == 0 else -logit))


def loss(numbers: torch.Tensor, hand: torch.Tensor, visible: torch.Tensor, params: object) -> float:
    count = len(numbers)
    points, mask = torch.full((count, 21, 2), 15.5), torch.zeros(count, SIZE, SIZE)
    target = Keypoints(points, visible, hand.clone(), hand, hand, hand, mask)  # every hand is a right one
    maps = torch.zeros(count, 21, SIZE // 4, SIZE // 4)
    return float(POSE.loss(Output(maps, numbers), target, params, SIZE))


def test_a_crop_without_a_hand_teaches_that_there_is_none_and_nothing_else() -> None:
    numbers = torch.cat([said(2.0, -1.0, 3.0), said(5.0, 4.0, -0.5)])
    hand = torch.tensor([1.0, 0.0])
    visible = torch.cat([torch.ones(1, 21), torch.zeros(1, 21)]).bool()
    maps = math.log((SIZE / 4) ** 2)  # of a flat one against any target
    expected = maps + wrong(2, 1) + 10 * wrong(-1, 1) + 100 * (wrong(3, 1) + wrong(-0.5, 0)) / 2
    assert loss(numbers, hand, visible, CHOSEN) == pytest.approx(expected, rel=1e-5)


def test_the_numbers_are_read_where_they_were_taught() -> None:
    output = Output(torch.zeros(1, 21, 8, 8), said(-2.0, 0.0, 4.0))
    read = read_pose(*output, CHOSEN, SIZE)
    assert torch.allclose(read["visible"], torch.tensor(-2.0).sigmoid())
    assert read["right"].item() == 0.5
    assert read["hand"].item() == pytest.approx(1 / (1 + math.exp(-4)))
    untaught = read_pose(*output, CHOSEN.model_copy(update={"hand_weight": 0.0}), SIZE)
    assert untaught["hand"].item() == 1  # then the mask net alone decides
