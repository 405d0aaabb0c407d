"""Exported nets, run by ONNX Runtime: each takes the place of the torch net that it came from."""

import json
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handloom.checkpoint import FORMAT, Model, first_line
from handloom.errors import CheckpointError
from handloom.models.unet import Output
from handloom.models.upright import Upright

INPUT: Final = "images"
OUTPUTS: Final = ("maps", "numbers")
"""The second is missing where a net has none."""
ABOUT: Final = "handloom"
"""Where the description stands in the file's metadata."""


class OnnxNet(nn.Module):
    """(B, 3, S, S) values 0-255 -> Output, on the CPU."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        super().__init__()
        self.session = session

    @property
    def side(self) -> int | None:
        """The one S that it takes; None where it takes others too."""
        side = self.session.get_inputs()[0].shape[-1]
        return side if isinstance(side, int) else None

    def forward(self, images: Tensor) -> Output:
        """Give maps and numbers, float32."""
        maps, numbers = self.run(images.float().numpy(force=True))
        return Output(torch.from_numpy(maps), torch.from_numpy(numbers))

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the same of arrays, without torch in between."""
        maps, *numbers = self.session.run(None, {INPUT: images})
        return maps, numbers[0] if numbers else np.empty((len(images), 0), np.float32)


def load_onnx(path: Path, task: str, threads: int = 0) -> Model:
    """Give the net of an .onnx file; raises CheckpointError where it is no net of this task.

    `threads` per operation; 0 takes all cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    try:
        content = path.read_bytes()
        if _points_elsewhere(content):
            raise ValueError("weights in another file")
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map[ABOUT])
        found = f"{about['task']} format {about['format']}"
    except Exception as error:  # ONNX Runtime has a dozen kinds without a base of their own
        raise CheckpointError(
            f"{path}: not an exported net, got '{first_line(error)}'; run `dvc repro export` and name its folder"
        ) from None
    if found != f"{task} format {FORMAT}":
        raise CheckpointError(f"{path}: expected {task} format {FORMAT}, got '{found}'; export it again")
    net = OnnxNet(session)
    return Model((Upright(net) if about["params"]["model"].get("upright") else net).eval(), about)


def _points_elsewhere(content: bytes) -> bool:
    """Whether a net's weights lie in files that it names, which may be any of this machine; ours never do."""
    if b"location" not in content:  # the key of such a name: no need for the parser, a third of a second to import
        return False
    import onnx
    from onnx.external_data_helper import uses_external_data

    model = onnx.load_model_from_string(content)
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    inner = [attribute.t for attribute in attributes] + [each for attribute in attributes for each in attribute.tensors]
    return any(uses_external_data(each) for each in [*model.graph.initializer, *inner])
