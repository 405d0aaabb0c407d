"""How much of a core's float32 peak ONNX Runtime reaches on an exported net, one thread, batch 1.

python bench/peak.py onnx/segment.onnx models/segment.safetensors
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from handloom.checkpoint import load_model
from handloom.models.upright import single
from handloom.onnx_net import INPUT


def fastest(call: Callable[[], Any], seconds: float = 3.0) -> float:
    """Give the shortest time of a call, s, over this long."""
    times = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@click.command()
@click.argument("exported", type=click.Path(exists=True, path_type=Path))
@click.argument("trained", type=click.Path(exists=True, path_type=Path))
def peak(exported: Path, trained: Path) -> None:
    """Compare the multiplications of a net (EXPORTED, whose trained form counts them) with a matrix product's."""
    import onnxruntime  # after handloom, which has it send nothing

    torch.set_num_threads(1)
    model = load_model(trained, trained.stem)
    size = int(model.about["facts"]["image_size"])
    picture = torch.rand(1, 3, size, size) * 255
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        single(model.net)(picture)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    matrix, net = 1e9, 1e9
    for _ in range(5):  # in turns: the machine's speed drifts
        matrix = min(matrix, fastest(lambda: a @ b, 1.0))
        net = min(net, fastest(lambda: session.run(None, {INPUT: picture.numpy()}), 1.0))
    highest, reached = 2 * 1024**3 / matrix, counter.get_total_flops() / net
    click.echo(
        f"{exported}: {1000 * net:.2f} ms, {reached / 1e9:.0f} of {highest / 1e9:.0f} GFLOP/s, {reached / highest:.0%}"
    )


if __name__ == "__main__":
    peak()
