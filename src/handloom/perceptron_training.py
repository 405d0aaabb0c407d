"""Teaches a perceptron, on one thread: more cost so small a net more than they bring."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from tqdm import tqdm

from handloom.errors import TrainingFailed
from handloom.perceptron import Perceptron


def fit(
    sizes: Sequence[int],
    loss: Callable[[nn.Module, int], Tensor],
    steps: int,
    *,
    learning_rate: float,
    seed: int,
    name: str,
) -> Perceptron:
    """Give a net of these widths, inputs first, that so many steps brought to a low loss(net, step).

    Raises TrainingFailed where its weights are no numbers any more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
    net = nn.Sequential(*(each for layer in layers for each in (layer, nn.ReLU())))[:-1]
    steps = max(1, steps)
    optimizer = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    # DVC's output is no terminal at times: then a line every 20 s will do
    interval = 0.5 if os.isatty(2) else 20
    for step in tqdm(range(steps), desc=f"train {name}", unit="step", mininterval=interval):
        optimizer.zero_grad()
        loss(net, step).backward()
        optimizer.step()
        schedule.step()
    torch.set_num_threads(threads)
    if not all(each.isfinite().all() for each in net.parameters()):
        raise TrainingFailed(f"{name}: diverged, got weights that are no numbers; lower {name}.learning_rate")
    return Perceptron(tuple((each.weight.detach().numpy(), each.bias.detach().numpy()) for each in layers))
