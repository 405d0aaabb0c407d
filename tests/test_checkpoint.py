from pathlib import Path

import pytest
import torch

from handloom.checkpoint import FORMAT, key_of, load_model, save_model
from handloom.errors import CheckpointError
from handloom.models.build import build

SIZES = {"kind": "unet", "width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 8}
ABOUT = {"task": "segment", "outputs": [2, 1], "params": {"model": SIZES}, "facts": {"image_size": 32}, "key": "k"}


def test_a_model_file_describes_itself_and_computes_the_same(tmp_path: Path) -> None:
    net = build(2, 1, SIZES)
    net(torch.rand(2, 3, 32, 32) * 255)  # moves the batch norm's statistics
    net.eval()
    path = tmp_path / "segment.safetensors"
    save_model(path, net, ABOUT)
    model = load_model(path, "segment")
    assert {name: model.about[name] for name in ABOUT} == ABOUT
    images = torch.rand(1, 3, 32, 32) * 255
    assert all(torch.equal(a, b) for a, b in zip(model.net(images), net(images), strict=True))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    net = build(2, 1, SIZES)
    for name in ("a", "b"):
        save_model(tmp_path / name, net, ABOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_of_the_other_task_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "m", build(2, 1, SIZES), ABOUT)
    with pytest.raises(CheckpointError, match=f"expected pose format {FORMAT}, got 'segment format {FORMAT}'"):
        load_model(tmp_path / "m", "pose")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m: not a model, got '.*'; run `dvc repro train`"):
        load_model(tmp_path / "m", "segment")


def test_weights_that_do_not_fit_their_description_are_refused(tmp_path: Path) -> None:
    wider = {**ABOUT, "params": {"model": {**SIZES, "width": 8}}}
    save_model(tmp_path / "m", build(2, 1, SIZES), wider)
    with pytest.raises(CheckpointError, match="weights and description do not fit"):
        load_model(tmp_path / "m", "segment")


def test_a_key_changes_with_all_that_matters() -> None:
    base = key_of("train@pose", {"seed": 1}, {"data": "a"})
    others = [
        key_of("train@segment", {"seed": 1}, {"data": "a"}),
        key_of("train@pose", {"seed": 2}, {"data": "a"}),
        key_of("train@pose", {"seed": 1}, {"data": "b"}),
    ]
    assert base == key_of("train@pose", {"seed": 1}, {"data": "a"})
    assert len({base, *others}) == 4
