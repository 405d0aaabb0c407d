import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from handloom.errors import ParamsError
from pipeline import layout
from pipeline.experiment import Experiment

ROOT = Path.cwd()
SETS = sorted(path.parent.name for path in Path("experiments").glob("*/params.yaml"))


@pytest.fixture
def workplace(tmp_path: Path, prepared: Path) -> Path:
    """A folder with prepared data and a set of two recipes that train for a few steps."""
    for name in ("dvc.yaml", "params.yaml", "presets", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").symlink_to(prepared)
    folder = tmp_path / "experiments" / "posenet"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "posenet" / "params.yaml", folder)
    params = YAML(typ="safe").load(folder / "params.yaml")
    params["recipes"] = {name: params["recipes"][name] for name in ("report-l2", "cross-entropy")}
    params["shared"] |= {"epochs": 1.0, "batch_size": 8, "parts": 1, "validate_every": 2}
    YAML().dump(params, folder / "params.yaml")
    return tmp_path


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.experiment", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_whole_and_changes_what_it_says(name: str) -> None:
    experiment = Experiment.load(name)
    assert len(experiment.recipes) == len({str(params) for params in experiment.recipes.values()})
    for recipe, changes in experiment.changes.items():
        whole = experiment.recipes[recipe].model_dump()
        for key, value in changes.items():
            assert whole[key] == (whole[key] | value if isinstance(value, dict) else value)


@pytest.mark.parametrize("name", SETS)
def test_a_set_depends_on_what_its_net_does(name: str) -> None:
    stages = YAML(typ="safe").load(Path("experiments", name, "dvc.yaml"))["stages"]
    own = [Path(dep) for dep in stages["train"]["do"]["deps"]]
    assert set(own) == set(layout.deps("train", Experiment.load(name).net))


def test_an_unknown_set_or_recipe_is_named(workplace: Path) -> None:
    with pytest.raises(ParamsError, match=r"got 'posnet'; choose one of .*posenet"):
        Experiment.load("posnet")
    result = run(workplace, "train", "posenet", "l3")
    assert result.returncode == 2
    assert result.stderr == "error: posenet: no such recipe, got 'l3'; choose one of report-l2, cross-entropy\n"


def test_recipes_train_and_are_compared(workplace: Path) -> None:
    for recipe in ("report-l2", "cross-entropy"):
        result = run(workplace, "train", "posenet", recipe)
        assert result.returncode == 0, result.stderr
    result = run(workplace, "compare", "posenet")
    assert result.returncode == 0, result.stderr
    rows = (workplace / "experiments/posenet/table.md").read_text().splitlines()[2:]
    assert rows[0].startswith("| recipe | changes | steps | EPE, px of 320 | PCK@0.2 |")
    assert [row.split(" | ")[:2] for row in rows[2:]] == [
        ["| report-l2", "loss l2, target_peak density"],
        ["| cross-entropy", "loss cross_entropy"],
    ]
    for name in ("posenet", "posenet_heatmaps"):
        with Image.open(workplace / "docs/figures" / f"{name}.png") as picture:
            assert picture.width > 300
