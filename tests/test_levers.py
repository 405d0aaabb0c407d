import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from ruamel.yaml import YAML

from handloom import images
from handloom.params import Lever
from pipeline import levers

ROOT = Path.cwd()


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with one picture of somebody's own, without a hand, and recipes that train for two steps."""
    for name in ("dvc.yaml", "presets", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("images", "masks"):
        (tmp_path / "data" / "own" / "desk" / name).mkdir(parents=True)
        (tmp_path / "data" / "own" / "desk" / name / "1.png").write_bytes(
            images.encode_png(np.zeros((90, 120, 3) if name == "images" else (90, 120), np.uint8))
        )
    (tmp_path / "data" / "own" / "desk" / "evaluation.txt").write_text("*\n")
    (tmp_path / "experiments" / "renderer").mkdir(parents=True)
    recipes = YAML(typ="safe").load(ROOT / levers.FOLDER / "recipes.yaml")
    recipes["steps"] = 2
    recipes["shared"]["download"]["synthetic"] |= {"num_training": 30, "num_evaluation": 3}
    recipes["shared"]["segment"] |= {"batch_size": 4, "parts": 1}
    recipes["recipes"] = {name: recipes["recipes"][name] for name in (*levers.SEEDS, "without-faces")}
    YAML().dump(recipes, tmp_path / "experiments" / "renderer" / "recipes.yaml")
    return tmp_path


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.levers", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, check=False)


def test_every_lever_is_measured_by_itself() -> None:
    known, _ = levers.read()
    without = [params.download.synthetic.without for params in known.values()]
    assert all([lever] in without for lever in get_args(Lever))
    assert len(known) == len({str(params) for params in known.values()})


def test_recipes_are_measured_and_compared(workplace: Path) -> None:
    for recipe in (*levers.SEEDS, "without-faces"):
        done = run(workplace, "measure", recipe)
        assert done.returncode == 0, done.stderr
        assert "desk, called a hand" in done.stdout
    assert [path.name for path in (workplace / "data").iterdir()] == ["own"]
    done = run(workplace, "compare")
    assert done.returncode == 0, done.stderr
    table = (workplace / levers.FOLDER / "table.md").read_text()
    assert "| recipe | synthetic | desk, called a hand |" in table
    assert "| without-faces |" in table
    assert images.read(workplace / levers.FIGURE).shape[2] == 3


def test_an_unknown_recipe_is_named(workplace: Path) -> None:
    done = run(workplace, "measure", "without-hands")
    assert done.returncode == 2
    assert done.stderr.startswith("error: levers: no such recipe, got 'without-hands'; choose one of rendered,")
