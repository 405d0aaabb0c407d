"""A net over a whole split, batch by batch."""

from typing import Any

import numpy as np
import torch
from torch import nn

from handloom.tasks import Predictions, Task


def device() -> torch.device:
    """Give the device to compute on: the first GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def predict(net: nn.Module, task: Task, samples: Any, batch_size: int, params: Any = None) -> tuple[Predictions, float]:
    """Run a net over a whole split; gives predictions in order of rows and, with `params`, the mean loss, else NaN."""
    where = next(net.parameters()).device
    net.eval()
    parts: list[Predictions] = []
    losses: list[float] = []
    for start in range(0, len(samples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(samples)))
        inputs, target = samples.batch(rows)
        logits = net(inputs.to(where))
        parts.append(task.predict(logits, samples.size))
        if params is not None:
            losses.append(float(task.loss(logits, to_device(target, where), params, samples.size)) * len(rows))
    loss = sum(losses) / len(samples) if losses else float("nan")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, loss


def to_device(target: Any, where: torch.device) -> Any:
    """Move a target, a tensor or a named tuple of tensors, to a device."""
    return target.to(where) if isinstance(target, torch.Tensor) else type(target)(*(t.to(where) for t in target))
