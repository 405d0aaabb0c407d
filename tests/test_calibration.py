import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from handloom import calibration


def test_platt_finds_the_gain_and_offset_that_were_lost() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, 20_000)
    truth = draw.random(20_000) < expit(0.5 * logits - 1)
    gain, offset = calibration.platt(expit(logits), truth)
    assert gain == pytest.approx(0.5, abs=0.03)
    assert offset == pytest.approx(-1, abs=0.05)


def test_outcomes_that_are_all_alike_change_nothing() -> None:
    assert calibration.platt(np.array([0.2, 0.9]), np.array([True, True])) == (1.0, 0.0)


def test_a_rescaled_layer_says_the_changed_logits_of_its_chosen_outputs() -> None:
    torch.manual_seed(0)
    layer, features = nn.Linear(3, 4), torch.rand(5, 3)
    before = layer(features)
    calibration.rescale(layer, slice(1, 3), 2.0, 0.5)
    after = layer(features)
    assert torch.allclose(after[:, 1:3], before[:, 1:3] * 2 + 0.5, atol=1e-6)
    assert torch.equal(after[:, [0, 3]], before[:, [0, 3]])
