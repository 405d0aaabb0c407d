"""From a trained net to an ONNX file that needs nothing else: normalisation inside, any batch, its own description."""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from handloom.checkpoint import FORMAT, Model
from handloom.errors import CheckpointError
from handloom.inference import MAX_SIZE, HandFinder
from handloom.models.upright import single
from handloom.onnx_net import ABOUT, INPUT, OUTPUTS, load_onnx
from handloom.params import ExportParams
from handloom.prediction import predict
from handloom.skeleton import BONES, NAMES
from handloom.tasks import SEGMENT, TASKS, Task, params_of
from handloom.whole import Hands, Whole

MAX_DIFFERENCE: Final = 1e-3
"""Of logits between torch and ONNX Runtime, which add up in another order; 2e-5 is usual."""
MIN_AGREEMENT: Final = 0.95
"""Share of keypoints that the one file must give within 0.5 px: a heatmap of two peaks may be read either way."""


COMPARED_SCORE: Final = 0.3
"""Least score of the hands on which the one file and the finder are compared: below what is reported, more to see."""


class _Filled(torch.nn.Module):
    """A net without the outputs that hold nothing: the mask net has no numbers."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(said for said in self.net(images) if said.shape[1])


def to_onnx(model: Model, pictures: torch.Tensor) -> bytes:
    """Give a net as an ONNX file for pictures like these, (B, 3, S, S) RGB 0-255; the same net gives the same bytes.

    The mask net takes pictures of other sizes too. Raises CheckpointError where ONNX Runtime does not say what torch
    says of them.
    """
    net = single(model.net.cpu().eval())
    names = [name for name, width in zip(OUTPUTS, model.about["outputs"], strict=True) if width]
    shapes = ({0: torch.export.Dim("batch")} | _any_size(model),)
    content = _exported(_Filled(net), (pictures[:2].contiguous(),), shapes, ([INPUT], names), model.about)
    _check(content, net, pictures, TASKS[model.about["task"]])
    return content


def _any_size(model: Model) -> dict[int, Any]:
    """Give the mask net's height and width as one side that its stride divides; nothing of a net of crops."""
    if model.about["task"] != SEGMENT.name:
        return {}
    stride = params_of(SEGMENT, model.about).model.stride
    if model.about["facts"]["image_size"] < 2 * stride:  # a dimension of 1 is a constant to torch.export
        return {}
    side = stride * torch.export.Dim("strides", min=2, max=MAX_SIZE // stride)
    return {2: side, 3: side}


def _exported(
    net: torch.nn.Module,
    example: tuple[Any, ...],
    shapes: Any,
    names: tuple[list[str], list[str]],
    about: Mapping[str, Any],
) -> bytes:
    """Give a module as a file; `names` of inputs and of outputs."""
    with warnings.catch_warnings(), _quiet("torch.onnx"), _quiet("onnxscript"), _quiet("onnx_ir"):
        warnings.simplefilter("ignore")  # of torch's exporter, about itself
        program = torch.onnx.export(
            net, example, dynamo=True, dynamic_shapes=shapes, input_names=names[0], output_names=names[1], verbose=False
        )
    assert program is not None
    described = {**about, "format": FORMAT, "version": version("handloom")}
    described |= {"keypoints": list(NAMES), "bones": [list(bone) for bone in BONES]}
    graph = program.model_proto
    _plain(graph, {ABOUT: json.dumps(described, sort_keys=True)})
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def whole(finder: HandFinder, pictures: NDArray[np.uint8]) -> tuple[bytes, float]:
    """Give one ONNX file for all of it: `picture` (H, W, 3) uint8 and `min_score` () -> the fields of `whole.Hands`.

    Also the share of keypoints in (N, H, W, 3) pictures that it gives within 0.5 px of the finder's own: a heatmap of
    two peaks of one height may be read either way. Raises CheckpointError where that is under MIN_AGREEMENT.
    """
    example = torch.zeros(300, 400, 3, dtype=torch.uint8), torch.tensor(0.5)
    height, width = (torch.export.Dim(name, min=8, max=16_384) for name in ("height", "width"))
    names = ["picture", "min_score"], list(Hands._fields)
    about = {"task": "hands", "segment": finder.segment.about, "pose": finder.pose.about}
    content = _exported(Whole(finder).eval(), example, ({0: height, 1: width}, None), names, about)
    alike = _alike(content, finder, pictures)
    if alike < MIN_AGREEMENT:
        raise CheckpointError(f"export hands: the one file and HandFinder differ, got '{alike:.1%}' alike; report it")
    return content, alike


def _alike(content: bytes, finder: HandFinder, pictures: NDArray[np.uint8]) -> float:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    apart = [np.zeros(0)]
    height = pictures.shape[1]
    for number, square in enumerate(pictures):
        picture = square[: (height, 3 * height // 4, height // 4)[number % 3]]  # square, a screen's, a panorama's
        said = Hands(*session.run(None, {"picture": picture, "min_score": np.array(COMPARED_SCORE, np.float32)}))
        found = finder(picture, COMPARED_SCORE)
        apart += [
            np.linalg.norm(h.keypoints_px - k[:, :2], axis=1) for h, k in zip(found, said.keypoints, strict=False)
        ]
        apart.append(np.full(len(NAMES) * abs(len(found) - len(said.keypoints)), np.inf))  # hands of one alone
    return float((np.concatenate([np.zeros(1), *apart]) < 0.5).mean())


def _plain(graph: onnx.ModelProto, about: Mapping[str, str]) -> None:
    """Set a file's metadata, and drop the exporter's notes: they hold paths and line numbers."""
    graph.producer_name, graph.doc_string = "handloom", ""
    del graph.metadata_props[:]
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for name, text in about.items():
        graph.metadata_props.add(key=name, value=text)


def _check(content: bytes, net: torch.nn.Module, pictures: torch.Tensor, task: Task) -> None:
    with torch.inference_mode():
        said, true = single(_loaded(content, task).net)(pictures), net(pictures)
    pairs = [(one.flatten(1), other.flatten(1)) for one, other in zip(said, true, strict=True) if one.numel()]
    apart = max(float((one - other).abs().max()) for one, other in pairs)
    if apart > MAX_DIFFERENCE:
        raise CheckpointError(f"export {task.name}: ONNX and torch differ, got '{apart:.2g}'; report it")


class _Pictures(CalibrationDataReader):  # type: ignore[misc] # comes without types
    """Pictures from which ONNX Runtime learns the range of every layer."""

    def __init__(self, pictures: torch.Tensor) -> None:
        self._next = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        picture = next(self._next, None)
        return None if picture is None else {INPUT: picture[None].numpy()}


def quantized(content: bytes, pictures: torch.Tensor) -> bytes:
    """Give an ONNX file with weights and layers in int8, their ranges learnt from (N, 3, S, S) pictures, 0-255."""
    with tempfile.TemporaryDirectory() as folder, _quiet("root"):
        source, prepared, target = (Path(folder, name) for name in ("a.onnx", "b.onnx", "c.onnx"))
        source.write_bytes(content)
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        graph = onnx.load(target)
    _take_bytes(graph.graph)
    _plain(graph, {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props})
    result: bytes = graph.SerializeToString(deterministic=True)
    return result


def _take_bytes(graph: onnx.GraphProto) -> None:
    """Let the first layer of an int8 net read a picture's bytes as they are.

    (byte - mean) * scale is what an int8 tensor stands for, mean its zero point: nothing is computed where two
    layers were, 40 us of a reading's 1,000, and no byte is rounded.
    """
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}

    def value(name: str) -> NDArray[np.floating]:
        if name in constants:
            return np.asarray(constants[name], np.float64)
        held, scale, zero = map(value, made[name].input)
        return np.asarray((held - zero) * scale)

    chain = [made[next(node.input[0] for node in graph.node if node.op_type == "Conv")]]
    while chain[-1].input[0] != INPUT:
        chain.append(made[chain[-1].input[0]])
    first, *normalising = chain
    mean, scale = (value(node.input[1]) for kind in ("Sub", "Mul") for node in normalising if node.op_type == kind)
    for name, held in {
        "byte_scale": np.float32(1), "byte_zero": np.uint8(0),
        "value_scale": np.float32(scale), "value_zero": np.uint8(round(float(mean))),
    }.items():  # fmt: skip
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(held), name))
    first.input[:] = ["bytes", "value_scale", "value_zero"]
    for node in normalising:
        graph.node.remove(node)
    graph.node.insert(0, onnx.helper.make_node("QuantizeLinear", [INPUT, "byte_scale", "byte_zero"], ["bytes"]))
    used = {name for node in graph.node for name in node.input}
    for held in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(held)


@dataclass(frozen=True)
class Exported:
    """One net as files."""

    onnx: bytes
    int8: bytes
    figures: dict[str, float]
    """The net's headline figure on the validation split as each, without flip test; sizes in bytes."""


def export(model: Model, task: Task, validation: Any, params: ExportParams) -> Exported:
    """Give a net as ONNX, in float32 and in int8; raises CheckpointError where either falls behind torch."""
    rows = np.linspace(0, len(validation) - 1, min(params.calibration_pictures, len(validation))).round().astype(int)
    pictures, _ = validation.batch(rows)
    content = to_onnx(model, pictures)
    small = quantized(content, pictures)
    forms = {"torch": model, "onnx": _loaded(content, task), "int8": _loaded(small, task)}
    scores = {form: _score(net, task, validation, params.batch_size) for form, net in forms.items()}
    for form in ("onnx", "int8"):
        if scores["torch"] - scores[form] > params.max_drop:
            raise CheckpointError(
                f"export {task.name}: {form} loses {task.headline} on the validation split, got '{scores[form]:.3f}' "
                f"for {scores['torch']:.3f}; raise export.calibration_pictures or export.max_drop"
            )
    sizes = {"onnx_bytes": float(len(content)), "int8_bytes": float(len(small))}
    return Exported(content, small, {f"{form}_{task.headline}": score for form, score in scores.items()} | sizes)


def _loaded(content: bytes, task: Task) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        path.write_bytes(content)
        return load_onnx(path, task.name)


def _score(model: Model, task: Task, samples: Any, batch_size: int) -> float:
    params = params_of(task, model.about)
    return task.score(predict(model.net, task, samples, batch_size, params)[0], samples)[task.headline]


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Let others' notes about themselves not stand between our lines."""
    chosen = logging.getLogger(logger)
    level = chosen.level
    chosen.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chosen.setLevel(level)
