import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from handloom import images
from handloom.data.rhd import RhdSource
from handloom.skeleton import NAMES
from pipeline import layout, recipes, report

ROOT = Path.cwd()


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with recipes of a few small pictures and steps."""
    for name in ("dvc.yaml", "params.yaml", "presets", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    (tmp_path / report.FOLDER).mkdir(parents=True)
    yaml = YAML()
    asked = yaml.load(ROOT / report.FOLDER / "recipes.yaml")
    asked["shared"]["download"]["synthetic"] |= {"num_training": 30, "num_evaluation": 8}
    asked["shared"]["preprocess"] = {"image_size": 64, "crop_size": 64, "val_fraction": 0.1}
    asked["shared"]["evaluate"]["resamples"] = 100
    for net in ("segment", "pose"):
        asked["shared"][net] |= {"epochs": 1.0, "batch_size": 4, "parts": 1, "gate_after": 0}
    asked["recipes"] = {name: asked["recipes"][name] for name in ("u-net", "mobilenet-fcn")}
    asked["recipes"]["mobilenet-fcn"]["preprocess"] = {"image_size": 96}
    yaml.dump(asked, tmp_path / report.FOLDER / "recipes.yaml")
    return tmp_path


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"{folder}/mlruns"}
    command = [sys.executable, "-m", "pipeline.report", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, check=False)


def test_a_net_to_begin_from_that_is_not_there_and_a_folder_without_recipes_are_named(workplace: Path) -> None:
    path, yaml = workplace / report.FOLDER / "recipes.yaml", YAML()
    asked = yaml.load(path)
    asked["shared"]["segment"]["begin_from"] = "before/segment.safetensors"
    yaml.dump(asked, path)
    done = run(workplace, "measure", "u-net")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: segment.begin_from: no such file, got 'before/segment.safetensors'; "
        "name a trained net outside of models/"
    )
    path.unlink()
    done = run(workplace, "measure", "u-net")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {report.FOLDER / 'recipes.yaml'}: no such file, got none in '")


def test_recipes_are_trained_evaluated_and_compared(workplace: Path) -> None:
    for recipe in ("u-net", "mobilenet-fcn"):
        done = run(workplace, "measure", recipe)
        assert done.returncode == 0, done.stderr
    assert list((workplace / "data").iterdir()) == []
    nets = {name: json.loads((workplace / report.FOLDER / "scores" / f"{name}.json").read_text())["weights"]
            for name in ("u-net", "mobilenet-fcn")}  # fmt: skip
    assert nets["mobilenet-fcn"] < nets["u-net"]
    done = run(workplace, "compare")
    assert done.returncode == 0, done.stderr
    rows = (workplace / report.FOLDER / "table.md").read_text().splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == ["| u-net", "| mobilenet-fcn"]
    assert rows[0].endswith("| 1.00 |")
    assert images.read(workplace / report.FIGURE).shape[2] == 3


def test_an_unknown_recipe_is_named(workplace: Path) -> None:
    done = run(workplace, "measure", "palms")
    assert done.returncode == 2
    assert done.stderr.startswith("error: report: no such recipe, got 'palms'; choose one of u-net, mobilenet-fcn")


def test_recipes_differ_in_what_they_are_named_after() -> None:
    known = recipes.load(report.FOLDER / "recipes.yaml")
    base = known["u-net"]
    assert known["320-px"] == base.model_copy(
        update={"preprocess": base.preprocess.model_copy(update={"image_size": 320})}
    )
    longer = {net: getattr(base, net).model_copy(update={"epochs": 50.0}) for net in report.NETS}
    assert known["50-epochs"] == base.model_copy(update=longer)
    first = known["mobilenet-fcn"]
    assert (first.segment.model.kind, first.pose.model.kind) == ("mobilenet_fcn", "mobilenet_fcn")
    assert (first.segment.epochs, first.download) == (base.segment.epochs, base.download)


@dataclass
class Rows:
    """What `report` asks of a set."""

    sources: np.ndarray
    ids: np.ndarray
    size: int = 4


@dataclass
class Hands(Rows):
    keypoints: np.ndarray = field(default_factory=lambda: np.zeros((2, 21, 2), np.float32))
    visible: np.ndarray = field(default_factory=lambda: np.ones((2, 21), bool))
    boxes: np.ndarray = field(default_factory=lambda: np.array([[0, 0, 8, 8], [4, 0, 8, 4]], np.float32))
    picture_px: np.ndarray = field(default_factory=lambda: np.array([8, 8]))


def test_keypoints_are_looked_up_under_their_own_picture_s_mask() -> None:
    # of sample 5 the mask is the pixel (x 6, y 1), of sample 7 the pixel (x 2, y 5), of 8 x 8 each
    said = np.zeros((2, 8, 8), bool)
    said[0, 1, 6] = said[1, 5, 2] = True
    masks = Rows(np.zeros(2, np.uint8), np.array([5, 7]))
    hands = Hands(np.zeros(2, np.uint8), np.array([7, 5]))
    # sample 7 in a crop of the whole picture, 4 px of 8: (2, 5) is at (0.75, 2.25); sample 5 in its upper right
    # quarter, 4 px of 4: (6, 1) is at (2, 1)
    hands.keypoints[0], hands.keypoints[1] = (0.75, 2.25), (2, 1)
    assert report._in_mask(said, masks, hands) == {"palm_in_mask": 1, "tips_in_mask": 1}  # type: ignore[arg-type]
    hands.keypoints[1, NAMES.index("ring_tip")] = (3, 1)  # one pixel beside it
    hands.keypoints[0, NAMES.index("wrist")] = (0.75, 1.75)
    assert report._in_mask(said, masks, hands) == {"palm_in_mask": 0.9, "tips_in_mask": 0.9}  # type: ignore[arg-type]
    hands.visible[1, NAMES.index("ring_tip")] = False
    assert report._in_mask(said, masks, hands) == {"palm_in_mask": 0.9, "tips_in_mask": 1}  # type: ignore[arg-type]


def test_masks_of_any_size_are_held_to_the_source_s_pixels(archive: Path) -> None:
    source = RhdSource("synthetic", archive)
    ids = source.ids("evaluation")[:3]
    masks = Rows(np.zeros(3, np.uint8), np.array(ids))
    true = np.stack([source.sample("evaluation", each).mask > 0 for each in ids])
    exact = np.where(true, 5.0, -5.0).astype(np.float16)
    said, is_hand = report._full_masks(exact, masks, [source])  # type: ignore[arg-type]
    assert (said == true).all()
    assert (is_hand == true).all()
    halves = exact.reshape(3, 160, 2, 160, 2).astype(np.float32).mean(axis=(2, 4)).astype(np.float16)
    coarse, _ = report._full_masks(halves, masks, [source])  # type: ignore[arg-type]
    assert report._ious(coarse, is_hand, 100)["iou_mean"] > 0.9
    assert report._ious(said, is_hand, 100) == {"iou_mean": 1, "iou_mean.low": 1, "iou_mean.high": 1}


def test_all_code_that_trains_and_evaluates_is_a_dependency() -> None:
    measure = YAML(typ="safe").load(report.FOLDER / "dvc.yaml")["stages"]["measure"]["do"]
    deps = [Path(each) for each in measure["deps"]]
    needed = [path for stage in ("train", "evaluate") for path in layout.deps(stage) if path.parts[0] == "src"]
    assert [path for path in needed if not any(dep == path or dep in path.parents for dep in deps)] == []
