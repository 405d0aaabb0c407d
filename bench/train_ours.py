"""Handloom's sides of the training test: `whole` steps, or of them the `input` or the `convolutions` alone."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from turns import answer

from handloom.distributed import Team
from handloom.params import Params
from handloom.prediction import predict
from handloom.tasks import TASKS
from handloom.training import Training

_, what, name, data = sys.argv
task = TASKS[name]
params = getattr(Params.load(Path("presets/default.yaml")), name)
params = params.model_copy(update={"final_learning_rate": 1.0, "warmup_fraction": 0.0})  # as long as it is let
samples, validation = (task.data.load(Path(data, name), split) for split in ("train", "val"))
training = Training.begin(task, params, torch.device("cpu"), Team())
parts = len(training.parts.nets)


def whole() -> int:
    """Make one step."""
    training.advance(task, samples, params, 1_000_000)
    return int(params.batch_size)


def inputs() -> int:
    """Read and augment one batch, on the cores that a step has."""
    training.step += 1
    rows = samples.mixture.batch(training.step, params.batch_size, params.seed).reshape(parts, -1)
    training.parts.each(lambda own: samples.augmented(own, params.augment, Generator().manual_seed(0)), list(rows))
    return int(params.batch_size)


def convolutions() -> Callable[[], int]:
    """Give what does the convolutions of one step, forward and backward, each on tensors of its own."""
    pictures, _ = samples.batch(samples.mixture.batch(0, params.batch_size, params.seed)[: params.batch_size // parts])
    layers: list[tuple[nn.Conv2d, Tensor]] = []
    kept: list[Any] = []
    for module in training.net.modules():
        if isinstance(module, nn.Conv2d):
            kept.append(
                module.register_forward_hook(lambda conv, given, made: layers.append((conv, given[0].detach())))
            )
    dtype = torch.bfloat16 if training.bfloat16 else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=training.bfloat16):
        training.net.train()(pictures)
    for hook in kept:
        hook.remove()
    stacks = [
        [(_copy(conv, dtype), given.to(dtype).clone().requires_grad_(given.shape[1] > 3)) for conv, given in layers]
        for _ in range(parts)
    ]
    ones = [torch.ones_like(conv(given)) for conv, given in stacks[0]]

    def one(stack: list[tuple[nn.Conv2d, Tensor]]) -> None:
        for (conv, given), way in zip(stack, ones, strict=True):
            conv(given).backward(way)

    def work() -> int:
        training.parts.each(one, stacks)
        return int(params.batch_size)

    return work


def _copy(conv: nn.Conv2d, dtype: torch.dtype) -> nn.Conv2d:
    other = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=False,  # type: ignore[arg-type]
    )
    return other.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def score() -> float:
    """Give the averaged net's headline figure on the validation split."""
    predictions, _ = predict(training.average, task, validation, params.batch_size, params)
    return float(task.score(predictions, validation)[task.headline])


if what == "whole":
    answer(whole, score)
else:
    from handloom.parallel import threads

    with threads(training.parts.threads):
        answer(inputs if what == "input" else convolutions())
