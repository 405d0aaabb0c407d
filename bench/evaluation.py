"""The evaluation beside the nets' own forward passes over the same pictures: what scoring costs.

dvc repro train && python bench/evaluation.py
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from report import report

from handloom import checkpoint, evaluation
from handloom.params import Params
from handloom.prediction import device
from handloom.protocols import PROTOCOLS
from handloom.tasks import POSE, SEGMENT
from pipeline import layout
from pipeline.sources import opened


def forwards(model: Any, samples: Any, batch_size: int, sizes: list[int]) -> Callable[[], None]:
    """Give what runs a net over a split, once for each of `sizes`, px, and does nothing with what it says."""
    net = model.net.to(device()).eval()

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, len(samples), batch_size):
            pictures, _ = samples.batch(np.arange(start, min(start + batch_size, len(samples))))
            for size in sizes:
                net(torch.nn.functional.interpolate(pictures.to(device()), (size, size)))

    return run


@click.command()
@click.option("--times", default=3, show_default=True, type=click.IntRange(1))
def evaluate(times: int) -> None:
    """Time both halves of the stage, in turns with the nets alone."""
    whole = Params.load(layout.PARAMS)
    params = whole.evaluate
    masks, hands = (task.data.load(layout.prepared(task.name), "test") for task in (SEGMENT, POSE))
    segment, pose = (checkpoint.load_model(layout.model(task.name), task.name) for task in (SEGMENT, POSE))
    sources = opened(whole)

    def score_masks() -> evaluation.Report:
        return evaluation.evaluate_segment(segment, masks, params)

    found = evaluation.find_hands(score_masks().predictions, masks, hands)
    mask_sizes = [round(scale * masks.size) for scale in params.mask_scales for _ in range(1 + params.flip_test)]
    # both crops under both protocols, a picture and where a protocol asks for it its mirror image, each read twice
    readings = 2 * sum(1 + protocol.flip_test for protocol in PROTOCOLS)
    sides: dict[str, tuple[int, Callable[[], Any]]] = {
        "masks, scored": (len(masks), score_masks),
        "masks, the net alone": (len(masks), forwards(segment, masks, params.batch_size, mask_sizes)),
        "hands, scored": (
            len(hands),
            lambda: evaluation.evaluate_pose(pose, hands, found, sources, params.batch_size, params.resamples),
        ),
        "hands, the net alone": (len(hands), forwards(pose, hands, params.batch_size, [hands.size] * readings)),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(times):
        for name, (_, work) in sides.items():
            begun = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begun)
    rows = []
    for name, (count, _) in sides.items():
        alone = f"{name.split(',')[0]}, the net alone"
        seconds = median(taken[name])
        rows.append({"what": name, "per second": count / seconds, "over the net": seconds / median(taken[alone])})
    report("evaluation", rows, f"test split, medians of {times}; the net alone: the same forward passes")


if __name__ == "__main__":
    evaluate()
