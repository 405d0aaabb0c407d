"""What moves a net's weights, by the name that `optimizer` gives."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from handloom.params import TrainParams


class KernelMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024) of convolutions: torch's own knows matrices only.

    Each kernel (out, in, h, w) is moved through a matrix (out, h w in) in the same memory, which needs channels_last.
    Muon makes the update's singular values equal, whatever the order of the columns.
    """

    def __init__(self, kernels: Sequence[Tensor], params: TrainParams) -> None:
        self._kernels = kernels
        matrices = [nn.Parameter(_matrix(kernel.data)) for kernel in kernels]
        # match_rms_adamw: updates of AdamW's size, so one learning rate and one weight decay serve both
        super().__init__(
            matrices, params.learning_rate, weight_decay=params.weight_decay, adjust_lr_fn="match_rms_adamw"
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all kernels by their gradients."""
        for matrix, kernel in zip(self.param_groups[0]["params"], self._kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)
        return super().step(closure)  # type: ignore[no-untyped-call] # torch lacks its types


def _matrix(kernel: Tensor) -> Tensor:
    return kernel.permute(0, 2, 3, 1).flatten(1)


def build(net: nn.Module, params: TrainParams, shares: int = 1) -> list[Optimizer]:
    """Give the optimizers that share a net's weights: AdamW for all, or for what Muon leaves.

    Muon takes the convolutions between the one that reads colours and the one that writes maps, in so many shares of
    like size: on two cores its step took an eighth of the time when one of them did it alone.
    """
    weights = list(net.parameters())
    if params.optimizer == "adamw":
        return [_adamw(weights, params)]
    inner = [w for w in weights if w.ndim == 4 and w.shape[1] > 3 and w.shape[2] > 1]
    taken = {id(w) for w in inner}
    inner.sort(key=Tensor.numel, reverse=True)
    muons: list[Optimizer] = [KernelMuon(own, params) for share in range(shares) if (own := inner[share::shares])]
    return [*muons, _adamw([w for w in weights if id(w) not in taken], params)]


def _adamw(weights: list[nn.Parameter], params: TrainParams) -> Optimizer:
    return AdamW(weights, params.learning_rate, weight_decay=params.weight_decay)
