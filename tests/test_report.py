import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from handloom import images
from handloom.data.prepared import PoseSet, SegmentSet
from pipeline import recipes, report

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


def test_only_keypoints_under_the_mask_are_counted(prepared: Path) -> None:
    segment_set = SegmentSet.load(prepared / "segment", "train")
    pose_set = PoseSet.load(prepared / "pose", "train")
    hands = pose_set.sides[:] > 0
    columns = ("images", "keypoints", "visible", "boxes", "sides", "ids", "sources", "picture_px")
    pose_set = replace(pose_set, **{name: getattr(pose_set, name)[hands] for name in columns})
    everywhere = np.ones((len(segment_set), segment_set.size, segment_set.size), bool)
    assert report._in_mask(everywhere, segment_set, pose_set) == {"palm_in_mask": 1.0, "tips_in_mask": 1.0}
    true = report._in_mask(segment_set.hands(), segment_set, pose_set)
    assert min(true.values()) > 0.7  # a rounded place may lie beside a thin finger
    lost = pose_set.keypoints.copy()
    lost[:, 4::4] = -1e4
    away = report._in_mask(segment_set.hands(), segment_set, replace(pose_set, keypoints=lost))
    assert away["palm_in_mask"] == true["palm_in_mask"]
    assert away["tips_in_mask"] < true["tips_in_mask"] - 0.5
