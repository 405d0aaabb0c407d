from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from handloom import optimizers
from handloom.models.build import build
from handloom.params import Params

MODEL = {"kind": "unet", "width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 8}


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return build(2, 3, MODEL).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def kernels(net: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach().clone() for name, w in net.named_parameters() if w.ndim == 4}


def moved(net: nn.Module, params: Params, **changes: object) -> dict[str, Tensor]:
    """Give what one step at rate 1 without decay adds to each kernel."""
    still = params.segment.model_copy(update={"learning_rate": 1.0, "weight_decay": 0.0, **changes})
    before = kernels(net)
    for w in net.parameters():
        w.grad = torch.randn_like(w)
    for optimizer in optimizers.build(net, still):
        optimizer.step()
    return {name: w - before[name] for name, w in kernels(net).items()}


def spread_of_singular_values(update: Tensor) -> float:
    values = torch.linalg.svdvals(update.flatten(1))
    return float(values.max() / values.min())


def test_muon_makes_the_singular_values_of_inner_kernels_alike(net: nn.Module, params: Params) -> None:
    updates = moved(net, params, optimizer="muon")
    inner = [name for name in updates if name.startswith(("down", "up"))]
    assert len(inner) == 8
    # Muon's own iteration leaves them between about 0.7 and 1.2; those of the gradients' signs spread further
    assert max(spread_of_singular_values(updates[name]) for name in inner) < 2
    for name in inner:
        out, columns = updates[name].flatten(1).shape
        assert updates[name].square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3), (name, out, columns)


def test_what_reads_colours_and_writes_maps_is_left_to_adamw(net: nn.Module, params: Params) -> None:
    updates = moved(net, params, optimizer="muon")
    for name in ("stem.0.weight", "head.weight"):
        assert torch.allclose(updates[name].abs(), torch.ones_like(updates[name]), atol=1e-3)


def test_adamw_moves_every_kernel_by_its_sign(net: nn.Module, params: Params) -> None:
    for update in moved(net, params, optimizer="adamw").values():
        assert torch.allclose(update.abs(), torch.ones_like(update), atol=1e-3)


def test_every_weight_has_one_optimizer(net: nn.Module, params: Params) -> None:
    both = optimizers.build(net, params.segment)
    sizes: Sequence[int] = [w.numel() for each in both for group in each.param_groups for w in group["params"]]
    assert sum(sizes) == sum(w.numel() for w in net.parameters())
