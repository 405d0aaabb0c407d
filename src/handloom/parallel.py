"""Gradients of a batch in equal parts, each on cores of its own.

Threads that meet once a step are faster than one net whose threads meet at every layer. Two cores, batch 16: 119
against 94 pictures a second with a mask net of width 24; with one of width 16 beside something that takes a fifth of a
core, 153 against 133.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

_Work = TypeVar("_Work")
_Done = TypeVar("_Done")

_CHOSEN_AT_FIRST_CALL: Final = (torch.cos, torch.exp, torch.log, torch.sin, torch.sqrt)
"""What this project asks of MKL's vector functions, which choose their code for this processor when first called."""


@cache
def settle() -> None:
    """Have MKL choose its code before threads compute.

    Where two of them make the first call, one may get code off by 2e-4 instead of 1e-7 (MKL 2024.2, in torch 2.13;
    pytorch issue 188792): of 8,475 threads that began with a cosine 37 were told another one.
    """
    for function in _CHOSEN_AT_FIRST_CALL:
        function(torch.ones(1))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have this Python thread compute on so many cores. A wider team would spin while the parts work.

    175 pictures a second instead of 199 (width 16, batch 32, two cores).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _twin(net: nn.Module) -> nn.Module:
    """Give a net with the same weights in the same memory, but gradients and batch statistics of its own."""
    twin = deepcopy(net)
    for own, shared in zip(twin.parameters(), net.parameters(), strict=True):
        own.data = shared.data
    return twin


class Parts:
    """A net and its twins, one per part of a batch. Batch norm sees one part; the net keeps the first one's averages.

    Results depend on the number of parts and on the threads of each, not on which ends first.
    """

    def __init__(self, net: nn.Module, parts: int) -> None:
        settle()
        self.nets = [net, *(_twin(net) for _ in range(parts - 1))]
        self.threads = max(1, torch.get_num_threads() // parts)
        self._workers = ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(self.threads,))

    def each(self, do: Callable[[_Work], _Done], works: Sequence[_Work]) -> list[_Done]:
        """Do independent pieces of work at once, each on the cores of a part."""
        return list(self._workers.map(do, works)) if len(self.nets) > 1 else [do(work) for work in works]

    def backward(self, loss: Callable[[nn.Module, int], Tensor]) -> Tensor:
        """Leave the mean of all parts' gradients in the net and give the mean of their losses, `loss(net, part)`."""

        def one(part: int) -> Tensor:
            self.nets[part].zero_grad(set_to_none=True)
            value = loss(self.nets[part], part)
            value.backward()
            return value.detach()

        values = self.each(one, range(len(self.nets)))
        for shared in zip(*(net.parameters() for net in self.nets), strict=True):
            gradients = [parameter.grad for parameter in shared if parameter.grad is not None]
            if gradients:  # an output that no loss looks at has none
                shared[0].grad = _mean(gradients)
        return _mean(values)


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Give the mean of halves' means: to the bit what two processes with half of the parts each come to."""
    half = len(values) // 2
    if not half:
        return values[0]
    share = half / len(values)
    return share * _mean(values[:half]) + (1 - share) * _mean(values[half:])
