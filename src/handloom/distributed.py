"""One process or many: those of one training that `torchrun` started, on one machine or several, or the only one.

    torchrun --nproc-per-node 2 -m pipeline.stage train segment

Each computes its share of every batch; all hold the same weights. The first alone validates, tracks and writes.
"""

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as torch_distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from handloom.errors import EnvironmentFault


@dataclass
class Team:
    """The processes of one training, as one of them sees them."""

    rank: int = 0
    size: int = 1
    warned: bool = False
    """Whether any of them was told to stop, as far as the last `average` knows."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that validates, tracks and writes."""
        return self.rank == 0

    def parts(self, parts: int) -> range:
        """Give which parts of a batch are this process's; `parts` of them divide by the number of processes."""
        own = parts // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def average(self, net: nn.Module, loss: Tensor, *, stop: bool) -> Tensor:
        """Leave the mean of all processes' gradients in the net and give the mean of their losses.

        One message for all: a net's gradients are 4 MB. Raises EnvironmentFault where a process is gone.
        """
        if self.size == 1:
            self.warned = stop
            return loss
        gradients = [weights.grad for weights in net.parameters() if weights.grad is not None]
        figures = torch.stack([loss, loss.new_tensor(float(stop))])
        message = torch.cat([*(gradient.flatten() for gradient in gradients), figures])
        with _lost():
            torch_distributed.all_reduce(message)
        message /= self.size
        *shares, figures = message.split([*(gradient.numel() for gradient in gradients), 2])
        for gradient, share in zip(gradients, shares, strict=True):
            gradient.copy_(share.view_as(gradient))
        self.warned = bool(figures[1] > 0)
        mean: Tensor = figures[0]
        return mean

    def agree(self, what: str, number: int, where: torch.device) -> None:
        """Raise EnvironmentFault where not all processes bring the same number."""
        if self.size == 1:
            return
        with _lost():
            said = [torch.zeros(1, dtype=torch.int64, device=where) for _ in range(self.size)]
            torch_distributed.all_gather(said, torch.tensor([number], device=where))
        if any(int(each) != number for each in said):
            numbers = ", ".join(str(int(each)) for each in said)
            raise EnvironmentFault(
                f"train: its processes begin with different {what}, got '{numbers}'; let them share the working folder"
            )


def parts_of(parts: int, team: Team, batch_size: int) -> int:
    """Give in how many parts a batch falls: at least one per process. Batch norm sees one, so their number matters.

    Raises EnvironmentFault where a batch does not fall into so many.
    """
    total = math.lcm(parts, team.size)
    if batch_size % total:
        raise EnvironmentFault(
            f"train: a batch must fall into one part per process, got '{batch_size} pictures in {total} parts'; "
            "start fewer processes or change batch_size"
        )
    return total


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did; raises EnvironmentFault where they do not meet."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    with _lost():
        store, rank, size = next(rendezvous("env://"))
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
            # on one machine torch 2.13 restarts with the store of the dead: their addresses would be called again
            store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch_distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Team(rank, size)
    finally:
        torch_distributed.destroy_process_group()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        what = str(error).splitlines()[0]
        # the launcher ends this process too, within a tenth of a second, and it could not say why any more
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise EnvironmentFault(
            f"train: another process of this training is gone, got '{what}'; "
            "start it again, or let `torchrun --max-restarts 3` do so: it goes on from its checkpoint"
        ) from None
