import pytest
import torch
from torch import Tensor, nn

from handloom import heatmaps
from handloom.models.build import build
from handloom.models.unet import Output
from handloom.models.upright import Upright
from handloom.skeleton import MIDDLE_MCP, WRIST


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 3])
def test_maps_come_at_the_stems_resolution_and_numbers_without_one(stem: int, depth: int) -> None:
    net = build(21, 5, {"kind": "unet", "width": 4, "depth": depth, "stem": stem, "decoder": 0.5, "cap": 8})
    said = net(torch.zeros(2, 3, 64, 32))
    assert said.maps.shape == (2, 21, 64 // stem, 32 // stem)
    assert said.numbers.shape == (2, 5)


def test_the_first_approach_answers_in_coarse_maps() -> None:
    net = build(21, 5, {"kind": "mobilenet_fcn", "width": 4, "depth": 3, "stem": 2, "decoder": 0.5, "cap": 16})
    said = net(torch.zeros(2, 3, 64, 32))
    assert said.maps.shape == (2, 21, 4, 2)
    assert said.numbers.shape == (2, 5)
    depthwise = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 7
    assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)


def test_the_default_mask_net_is_small_and_the_reports_is_not() -> None:
    def millions(sizes: dict[str, float]) -> float:
        return sum(p.numel() for p in build(1, 0, sizes).parameters()) / 1e6

    assert millions({"kind": "unet", "width": 16, "depth": 4, "stem": 2, "decoder": 0.5, "cap": 128}) < 1
    assert 7 < millions({"kind": "unet", "width": 32, "depth": 4, "stem": 1, "decoder": 1.0, "cap": 512}) < 9


def test_normalisation_is_inside_and_is_no_weight() -> None:
    net = build(1, 0, {"kind": "unet", "width": 4, "depth": 1, "stem": 1, "decoder": 0.5, "cap": 8})
    assert net.state_dict()["mean"] == 118
    assert "mean" not in dict(net.named_parameters())


class Pointer(nn.Module):
    """Sees the wrist where red is brightest and the middle finger's base where green is; notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Output:
        self.shown.append(images)
        maps = images.new_zeros(len(images), 21, *images.shape[2:])
        maps[:, WRIST], maps[:, MIDDLE_MCP] = images[:, 0], images[:, 1]
        return Output(maps, images.mean(dim=(2, 3)))


def blobs(wrist: tuple[int, int], base: tuple[int, int]) -> Tensor:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    red, green = (30 * torch.exp(-((x - u) ** 2 + (y - v) ** 2) / 18) for u, v in (wrist, base))
    return torch.stack([red, green, torch.zeros(64, 64)])[None]


def test_upright_reads_a_crop_again_turned_and_answers_in_the_crops_own_frame() -> None:
    net = Upright(Pointer()).eval()
    said = net(blobs((20, 40), (44, 24)))
    turned = net.net.shown[1]
    places, _ = heatmaps.decode(heatmaps.softmax(turned), 4)
    wrist, base = places[0, 0], places[0, 1]
    assert abs(wrist[0] - base[0]) < 0.3
    assert base[1] < wrist[1] - 25
    found, _ = heatmaps.decode(heatmaps.softmax(said.maps), 4)
    assert (found[0, WRIST] - torch.tensor([20.0, 40.0])).norm() < 0.3
    assert (found[0, MIDDLE_MCP] - torch.tensor([44.0, 24.0])).norm() < 0.3
    assert torch.equal(said.numbers, turned.mean(dim=(2, 3)))


def test_what_stands_nearly_upright_is_read_once_and_others_beside_it_twice() -> None:
    net = Upright(Pointer()).eval()
    standing, lying = blobs((32, 48), (38, 20)), blobs((20, 40), (44, 36))
    alone = net(standing)
    assert len(net.net.shown) == 1
    both = net(torch.cat([standing, lying]))
    assert [len(shown) for shown in net.net.shown] == [1, 2, 1]
    assert torch.allclose(both.numbers[:1], alone.numbers)
    assert torch.allclose(both.maps[:1], alone.maps, atol=1e-4)
    assert torch.equal(both.numbers[1:], net(lying).numbers)


def test_in_training_upright_is_the_net_itself() -> None:
    net = Upright(Pointer()).train()
    net(blobs((20, 40), (44, 24)))
    assert len(net.net.shown) == 1
