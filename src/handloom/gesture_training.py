"""Teaches the gesture net on drawn hands, and scores it on hands of a rendered archive."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from handloom import processes
from handloom.data.prepared import PoseSet
from handloom.data.rhd import RhdSource
from handloom.data.signs import Signs, draw_signs, labels_in
from handloom.gestures import INPUTS, NAMES, features, probabilities
from handloom.params import GesturesParams
from handloom.perceptron import Perceptron
from handloom.perceptron_training import fit

SHARD: Final = 500
"""Hands that a worker draws at once, from a seed of their own."""
HELD_OUT: Final = 10
"""One shard of so many is not trained on."""


def train(params: GesturesParams, workers: int | None = None) -> tuple[Perceptron, float]:
    """Draw hands and teach a net their gestures; gives it and its accuracy on drawn hands that it has not seen."""
    numbers = range(-(-params.num_hands // SHARD))
    with processes.pool(workers) as pool, tqdm(total=len(numbers) * SHARD, desc="drawing", unit="hand") as bar:
        shards = []
        for shard in pool.in_order(_Draw(params.seed), numbers):
            shards.append(shard)
            bar.update(SHARD)
    held_out = [shard for number, shard in enumerate(shards) if number % HELD_OUT == HELD_OUT - 1] or shards[-1:]
    known = [shard for number, shard in enumerate(shards) if number % HELD_OUT != HELD_OUT - 1]
    net = _taught(_joined(known), params)
    test = _joined(held_out)
    said = probabilities(test.keypoints, net).argmax(axis=1)
    return net, float((said == test.labels).mean())


class _Draw:
    """Draws a shard by its number; pickles, as a closure does not."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, number: int) -> Signs:
        return draw_signs([self.seed, number], SHARD)


def _joined(shards: list[Signs]) -> Signs:
    return Signs(*(np.concatenate(column) for column in zip(*shards, strict=True)))


def _taught(hands: Signs, params: GesturesParams) -> Perceptron:
    """Give a net of two hidden layers."""
    values, labels = torch.from_numpy(features(hands.keypoints)), torch.from_numpy(hands.labels)
    order = torch.Generator().manual_seed(params.seed)

    def loss(net: nn.Module, _: int) -> Tensor:
        rows = torch.randint(len(labels), (params.batch_size,), generator=order)
        return functional.cross_entropy(net(values[rows]), labels[rows], label_smoothing=params.label_smoothing)

    sizes, steps = (INPUTS, params.width, params.width, len(NAMES)), params.epochs * len(labels) / params.batch_size
    return fit(sizes, loss, round(steps), learning_rate=params.learning_rate, seed=params.seed, name="gestures")


def labels_of(hands: PoseSet, archive: RhdSource, seed: int) -> NDArray[np.int64]:
    """Give what each hand of a test split says, -1 where that is not known: a source not rendered by this code."""
    labels = np.full(len(hands), -1)
    for row in tqdm(range(len(hands)), desc="naming", unit="hand", leave=False):
        if hands.names[hands.sources[row]] == archive.name:
            number = int(hands.ids[row])
            both = np.repeat(hands.keypoints[None, row], 2, axis=0)
            if said := labels_in(seed, "evaluation", number, archive.joints("evaluation", number), both):
                labels[row] = said[int(hands.sides[row]) - 1]
    return labels


def scores(
    net: Perceptron, hands: PoseSet, said: Mapping[str, NDArray[Any]], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """Give the accuracy from true keypoints and from those that the pose net said, and both tables of confusion."""
    known = labels >= 0
    answers = {
        "true": probabilities(hands.keypoints[known], net),
        "predicted": probabilities(said["keypoints"][known], net),
    }
    found: dict[str, Any] = {"num_hands": int(known.sum())}
    for name, chances in answers.items():
        best = chances.argmax(axis=1)
        found[f"accuracy_{name}_keypoints"] = float((best == labels[known]).mean())
        table = np.zeros((len(NAMES), len(NAMES)), int)
        np.add.at(table, (labels[known], best), 1)
        found[f"recall_{name}_keypoints"] = {
            each: float(table[row, row] / table[row].sum()) for row, each in enumerate(NAMES) if table[row].any()
        }
        found[f"confusion_{name}_keypoints"] = table
    return found
