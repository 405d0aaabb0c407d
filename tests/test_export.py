import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from handloom import export, onnx_net
from handloom.checkpoint import load_model
from handloom.errors import CheckpointError, ParamsError
from handloom.inference import HandFinder
from handloom.params import Params
from handloom.skeleton import NAMES
from handloom.tasks import POSE, TASKS, Task
from handloom.tiles import TiledFinder


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", TASKS)
def test_an_exported_net_says_what_torch_says(name: str, batch: int, models: Path, exported: Path) -> None:
    pictures = torch.rand(batch, 3, 128, 128) * 255
    with torch.inference_mode():
        true = load_model(models / f"{name}.safetensors", name).net(pictures)
        said = onnx_net.load_onnx(exported / f"{name}.onnx", name, threads=1).net(pictures)
    for one, other in zip(said, true, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("suffix", ["onnx", "int8.onnx"])
def test_an_exported_mask_net_takes_pictures_of_any_size(suffix: str, models: Path, exported: Path) -> None:
    net = onnx_net.load_onnx(exported / f"segment.{suffix}", "segment").net
    for size in (32, 64, 192):
        pictures = torch.randint(0, 256, (2, 3, size, size)).float()
        with torch.inference_mode():
            true, said = load_model(models / "segment.safetensors", "segment").net(pictures).maps, net(pictures).maps
        assert said.shape == true.shape
        assert (said - true).abs().mean() < (1e-4 if suffix == "onnx" else 0.2 * true.std())


def test_a_finder_shows_its_mask_net_pictures_of_a_size_that_is_asked_for(
    models: Path, exported: Path, tmp_path: Path
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    for folder in (models, exported):
        assert HandFinder.load(folder).size == 128
        finder = HandFinder.load(folder, size=192)
        assert finder.regions(picture).labels.shape == (192, 192)
        assert TiledFinder.of(finder, 2).size == 192
    with pytest.raises(ParamsError, match=r"^size: must divide by \d+ and be at most 1024, got '193'; take 192$"):
        HandFinder.load(exported, size=193)
    with pytest.raises(ParamsError, match=r"got '2048'; take 1024$"):
        HandFinder.load(exported, size=2048)
    fixed = onnx.load(exported / "segment.onnx")  # as exported before sizes were free
    for place in (2, 3):
        fixed.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 128
    onnx.save(fixed, tmp_path / "segment.onnx")
    (tmp_path / "pose.onnx").symlink_to(exported / "pose.onnx")
    assert HandFinder.load(tmp_path, size=128).size == 128
    with pytest.raises(ParamsError, match=r"^size: this mask net takes 128 alone, got '192'; run `dvc repro export`"):
        HandFinder.load(tmp_path, size=192)


def test_a_file_says_what_it_is_and_nothing_of_where_it_was_made(exported: Path) -> None:
    for path in exported.glob("pose*.onnx"):
        about = json.loads(onnx.load(path).metadata_props[0].value)
        assert (about["task"], about["keypoints"], about["facts"]["image_size"]) == ("pose", list(NAMES), 128)
        assert not re.search(rb"/\w+\.py", path.read_bytes())
        (pictures,) = onnx.load(path).graph.input
        assert [d.dim_param or d.dim_value for d in pictures.type.tensor_type.shape.dim] == ["batch", 3, 128, 128]


@pytest.mark.parametrize("name", TASKS)
def test_an_int8_net_reads_bytes_as_they_are(name: str, models: Path, exported: Path) -> None:
    graph = onnx.load(exported / f"{name}.int8.onnx").graph
    held = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    (quantize,) = (node for node in graph.node if onnx_net.INPUT in node.input)
    (values,) = (node for node in graph.node if quantize.output[0] in node.input)
    assert [held[each] for each in quantize.input[1:]] == [1, 0]
    assert [held[each] for each in values.input[1:]] == [1 / 64, 118]
    pictures = torch.randint(0, 256, (8, 3, 128, 128)).float()
    with torch.inference_mode():
        true = onnx_net.load_onnx(exported / f"{name}.onnx", name).net(pictures).maps
        said = onnx_net.load_onnx(exported / f"{name}.int8.onnx", name).net(pictures).maps
    assert (said - true).abs().mean() < 0.1 * true.std()


def test_the_same_net_gives_the_same_bytes(models: Path, exported: Path) -> None:
    model = load_model(models / "pose.safetensors", "pose")
    assert export.to_onnx(model, torch.rand(4, 3, 128, 128) * 255) == (exported / "pose.onnx").read_bytes()


def test_a_finder_of_exported_nets_finds_what_the_trained_ones_find(models: Path, exported: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    true = HandFinder.load(models)(picture, min_score=0)
    said = HandFinder.load(exported)(picture, min_score=0)
    assert true
    assert len(said) == len(true)
    for one, other in zip(said, true, strict=True):
        assert np.abs(one.keypoints_px - other.keypoints_px).max() < 0.5
        assert (one.mask != other.mask).mean() < 0.001
    assert HandFinder.load(exported, int8=True)(picture, min_score=0)


def test_an_int8_net_that_loses_too_much_fails(
    models: Path, prepared: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.8, 0.8, 0.78])
    monkeypatch.setattr(export, "_score", lambda *_: next(scores))
    model, validation = load_model(models / "pose.safetensors", "pose"), POSE.data.load(prepared / "pose", "val")
    with pytest.raises(CheckpointError, match=r"export pose: int8 loses pck_0.2 .*got '0.780' for 0.800; raise"):
        export.export(model, POSE, validation, params.export)


@pytest.mark.parametrize(
    ("content", "task", "said"),
    [
        (b"no net", POSE, "not an exported net"),
        (None, POSE, "expected pose format 4, got 'segment format 4'; export it again"),
        (onnx.ModelProto().SerializeToString(), POSE, "not an exported net"),
    ],
)
def test_what_is_no_exported_net_is_named(content: Any, task: Task, said: str, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes((exported / "segment.onnx").read_bytes() if content is None else content)
    with pytest.raises(CheckpointError, match=said):
        onnx_net.load_onnx(path, task.name)
    with pytest.raises(CheckpointError, match="not an exported net"):
        onnx_net.load_onnx(tmp_path / "none.onnx", task.name)


def test_weights_in_another_file_are_not_looked_for(exported: Path, tmp_path: Path) -> None:
    """A net that names a file of the machine as its weights is refused before anything is opened."""
    net = onnx.load(exported / "pose.onnx")
    weights = next(each for each in net.graph.initializer if each.raw_data)
    (tmp_path / "secret").write_bytes(weights.raw_data)
    for place in ("../secret", str(tmp_path / "secret"), "secret"):
        (tmp_path / "nets").mkdir(exist_ok=True)
        weights.ClearField("raw_data")
        del weights.external_data[:]
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=place)
        (tmp_path / "nets" / "pose.onnx").write_bytes(net.SerializeToString())
        with pytest.raises(CheckpointError, match=r"pose\.onnx: not an exported net, got 'weights in another file'"):
            onnx_net.load_onnx(tmp_path / "nets" / "pose.onnx", "pose")
