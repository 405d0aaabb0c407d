import pytest
import torch

from handloom.models.build import build


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 3])
def test_maps_come_at_the_stems_resolution_and_numbers_without_one(stem: int, depth: int) -> None:
    net = build(21, 5, {"width": 4, "depth": depth, "stem": stem, "decoder": 0.5, "cap": 8})
    said = net(torch.zeros(2, 3, 64, 32))
    assert said.maps.shape == (2, 21, 64 // stem, 32 // stem)
    assert said.numbers.shape == (2, 5)


def test_the_default_mask_net_is_small_and_the_reports_is_not() -> None:
    def millions(sizes: dict[str, float]) -> float:
        return sum(p.numel() for p in build(1, 0, sizes).parameters()) / 1e6

    assert millions({"width": 16, "depth": 4, "stem": 2, "decoder": 0.5, "cap": 128}) < 1
    assert 7 < millions({"width": 32, "depth": 4, "stem": 1, "decoder": 1.0, "cap": 512}) < 9


def test_normalisation_is_inside_and_is_no_weight() -> None:
    net = build(1, 0, {"width": 4, "depth": 1, "stem": 1, "decoder": 0.5, "cap": 8})
    assert net.state_dict()["mean"] == 118
    assert "mean" not in dict(net.named_parameters())
