import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from handloom import images, inference
from handloom.checkpoint import load_model, save_model
from handloom.errors import DataError
from handloom.inference import BUNDLED, HandFinder
from pipeline.bundle import _begun, _hands_by_source, bundle

REPOSITORY = Path(__file__).parents[1]


def test_the_bundled_nets_are_replaced_by_one_command(
    exported: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, package = tmp_path / "clone", tmp_path / "package"
    clone.mkdir()
    package.mkdir()
    shutil.copytree(exported, clone / "onnx")
    (clone / "models").mkdir()
    for net in ("gestures", "lift"):
        shutil.copy(BUNDLED / f"{net}.safetensors", clone / "models")
    for net in ("segment", "pose"):
        shutil.copy(models / f"{net}.safetensors", clone / "models")
    shutil.copytree(REPOSITORY / "metrics", clone / "metrics")
    shutil.copy(REPOSITORY / "params.yaml", clone)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "rooms.zip", "w") as archive:
        for number in range(3):
            noise = rng.integers(0, 256, (40, 60, 3), np.uint8)
            archive.writestr(f"rooms/{number}.png", images.encode_png(noise))
        archive.writestr("rooms/README.txt", "no picture")
    monkeypatch.chdir(clone)
    for words in (["init", "-q"], ["add", "params.yaml"]):
        subprocess.run(["git", *words], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "-qm", "params"], check=True)
    monkeypatch.setattr(inference, "BUNDLED", package)
    done = CliRunner().invoke(
        bundle, ["--empty", str(tmp_path / "rooms.zip"), "--preset", "default", "--skin-count", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "hands seen in 3 pictures that have none" in done.output
    for net in ("segment", "pose"):
        assert (package / f"{net}.int8.onnx").read_bytes() == (exported / f"{net}.int8.onnx").read_bytes()
        assert (package / f"{net}.safetensors").read_bytes() == (models / f"{net}.safetensors").read_bytes()
    card = (package / "README.md").read_text()
    assert "$" not in card
    assert "3 photographs of rooms" in card
    assert "by source: synthetic 100%" in card
    assert "rendered faces " in card
    assert images.read(clone / "docs" / "figures" / "skin.jpg").shape[1] == 5 * 260 - 4
    assert "other grounds.\nPhotographs without a hand: none." in card
    assert HandFinder.load().size == 128


def test_the_card_says_what_the_nets_began_with() -> None:
    first, second = {"begin_from": "weights/full/segment.safetensors"}, {"begin_from": "weights/full/pose.safetensors"}
    assert _begun({}, {"begin_from": None}) == ""
    assert _begun({}, first) == "They began with weights/full/segment.safetensors.\n"
    assert (
        _begun(first, second) == "They began with weights/full/pose.safetensors and weights/full/segment.safetensors.\n"
    )
    assert _begun(first, first) == _begun({}, first)


def test_nets_that_were_exported_before_a_training_are_not_bundled_as_its_own(
    exported: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    shutil.copytree(models, tmp_path / "models")
    before = load_model(models / "pose.safetensors", "pose")
    save_model(tmp_path / "models" / "pose.safetensors", before.net, {**before.about, "key": "another"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rooms.zip").touch()
    done = CliRunner().invoke(bundle, ["--empty", "rooms.zip", "--preset", "default"])
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == ("onnx: must hold the nets of models, got another pose net; run `dvc repro export`")


def test_the_card_has_keypoints_by_source() -> None:
    crops = {crop: {"pck_0.2": share} for crop, share in (("true_crop", 0.91), ("predicted_crop", 0.8))}
    said = _hands_by_source({"by_source": {"synthetic": {"num_hands": 1200, **crops}}})
    assert said == "| PCK@0.2, synthetic, 1,200 hands | 0.910 / 0.800 |\n"
    assert not _hands_by_source({})
