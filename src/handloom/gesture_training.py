"""Teaches the gesture net on drawn hands, and scores it on hands of a rendered archive."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from handloom import processes, views, warp
from handloom.checkpoint import Model
from handloom.data.prepared import PoseSet
from handloom.data.rhd import RhdSource
from handloom.data.signs import Signs, draw_signs, labels_in
from handloom.data.source import LEFT, RIGHT
from handloom.gestures import INPUTS, NAMES, features, probabilities
from handloom.params import GesturesParams, SyntheticParams
from handloom.perceptron import Floats, Perceptron
from handloom.perceptron_training import fit
from handloom.prediction import predictions_of
from handloom.tasks import POSE

SHARD: Final = 500
"""Hands that a worker draws at once, from a seed of their own."""
HELD_OUT: Final = 10
"""One shard of so many is not trained on, if there are two at all."""


def train(params: GesturesParams, seen: Signs | None = None, workers: int | None = None) -> tuple[Perceptron, float]:
    """Draw hands and teach a net their gestures; gives it and its accuracy on drawn hands that it has not seen.

    `seen`: hands of an archive as a pose net reads them, which then make up half of each batch.
    """
    numbers = range(-(-params.num_hands // SHARD))
    with processes.pool(workers) as pool, tqdm(total=len(numbers) * SHARD, desc="drawing", unit="hand") as bar:
        shards = []
        for shard in pool.in_order(_Draw(params.seed), numbers):
            shards.append(shard)
            bar.update(SHARD)
    last = min(HELD_OUT, len(shards)) - 1
    held_out = shards[last::HELD_OUT]
    known = [shard for number, shard in enumerate(shards) if number % HELD_OUT != last] or held_out
    net = _taught([_joined(known), *([seen] if seen is not None and len(seen.labels) else [])], params)
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


def _taught(groups: list[Signs], params: GesturesParams) -> Perceptron:
    """Give a net of two hidden layers; every group has the same share of each batch."""
    known = [(torch.from_numpy(features(each.keypoints)), torch.from_numpy(each.labels)) for each in groups]
    order = torch.Generator().manual_seed(params.seed)

    def drawn(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(labels), (max(1, params.batch_size // len(known)),), generator=order)
        return values[rows], labels[rows]

    def loss(net: nn.Module, _: int) -> Tensor:
        values, labels = map(torch.cat, zip(*(drawn(*each) for each in known), strict=True))
        values = values + params.noise * torch.randn(values.shape, generator=order)
        return functional.cross_entropy(net(values), labels, label_smoothing=params.label_smoothing)

    sizes = (INPUTS, params.width, params.width, len(NAMES))
    steps = params.epochs * len(groups[0].labels) * len(groups) / params.batch_size
    return fit(sizes, loss, round(steps), learning_rate=params.learning_rate, seed=params.seed, name="gestures")


def labels_of(
    hands: PoseSet, archive: RhdSource, split: str, rendered: SyntheticParams, workers: int | None = None
) -> NDArray[np.int64]:
    """Give what each row of a split says, -1 where that is not known: no hand, or not rendered by this code."""
    labels = np.full(len(hands), -1)
    own = hands.sources[:] == hands.names.index(archive.name)
    rows = np.flatnonzero(own & ((hands.sides[:] == LEFT) | (hands.sides[:] == RIGHT)))
    name = _Name(rendered, split)
    asked = [(int(hands.ids[i]), archive.joints(split, int(hands.ids[i])), hands.keypoints[i]) for i in rows]
    with processes.pool(workers) as pool, tqdm(total=len(rows), desc="naming", unit="hand", leave=False) as bar:
        for row, said in zip(rows, pool.in_order(name, asked), strict=True):
            labels[row] = said[int(hands.sides[row]) - LEFT] if said else -1
            bar.update()
    return labels


class _Name:
    """Names what the hands of a sample say, of (id, joints, keypoints of one hand); pickles, as a closure does not."""

    def __init__(self, rendered: SyntheticParams, split: str) -> None:
        self.rendered, self.split = rendered, split

    def __call__(self, asked: tuple[int, NDArray[np.float32], NDArray[np.float32]]) -> list[int]:
        number, joints, keypoints = asked
        return labels_in(self.rendered, self.split, number, joints, np.stack([keypoints, keypoints]))


def in_views(pose: Model, hands: PoseSet, batch_size: int, count: int) -> tuple[Floats, Floats]:
    """Give what a pose net says of a split's hands in the first so many of `views.VIEWS`, and how surely.

    Keypoints (V, N, 21, 2), pixels of the net's input, and (V, N).
    """

    def reading(view: views.View) -> tuple[Floats, Floats]:
        pictures = hands.images[:]
        if view.side != 1:
            squares = torch.eye(2, 3).mul(view.side).expand(len(pictures), 2, 3)
            pictures = warp.warp_pictures(pictures, squares, pictures.shape[1])
        shown = hands.moved(view.show(pictures), hands.boxes, hands.keypoints)
        said = predictions_of(pose, POSE, shown, batch_size)
        return view.back(said["keypoints"], hands.size), views.sureness(said["peaks"])

    points, sure = zip(*map(reading, views.VIEWS[:count]), strict=True)
    return np.stack(points), np.stack(sure)


def seen_by(said: NDArray[np.float32], hands: PoseSet, labels: NDArray[np.int64]) -> Signs:
    """Give hands whose labels are known twice: by the keypoints that a pose net said, and by the true ones."""
    known = labels >= 0
    return Signs(np.concatenate([said[known], hands.keypoints[known]]), np.tile(labels[known], 2))


def scores(net: Perceptron, hands: PoseSet, said: tuple[Floats, Floats], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Give the accuracy from true keypoints and from those that the pose net said, and both tables of confusion.

    `said` is in V views keypoints (V, N, 21, 2), and how surely (V, N). Where nobody knows what hands say, there is no
    accuracy, and the tables are empty.
    """
    known = labels >= 0
    answers = {
        "true": probabilities(hands.keypoints[known], net),
        "predicted": views.agreed(
            np.stack([probabilities(points[known], net) for points in said[0]]), said[1][:, known]
        ),
    }
    found: dict[str, Any] = {"num_hands": int(known.sum())}
    for name, chances in answers.items():
        best = chances.argmax(axis=1)
        if known.any():
            found[f"accuracy_{name}_keypoints"] = float((best == labels[known]).mean())
        table = confusion(labels[known], best)
        found[f"recall_{name}_keypoints"] = {
            each: float(table[row, row] / table[row].sum()) for row, each in enumerate(NAMES) if table[row].any()
        }
        found[f"confusion_{name}_keypoints"] = table
    return found


def confusion(labels: NDArray[np.integer], said: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count, (len(NAMES), len(NAMES)), how often hands of each gesture (row) are called each (column)."""
    table = np.zeros((len(NAMES), len(NAMES)), np.int64)
    np.add.at(table, (labels, said), 1)
    return table
