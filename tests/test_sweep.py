import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from PIL import Image
from ruamel.yaml import YAML

from handloom.errors import ParamsError
from pipeline import layout
from pipeline.sweep import Interval, Search

ROOT = Path.cwd()
SEARCHES = sorted(path.parent.name for path in Path("experiments").glob("*/space.yaml"))
SPACE = Path("experiments/search-pose/space.yaml")
ENDED = Path("experiments/search-pose/table.md")


@pytest.fixture
def workplace(tmp_path: Path, prepared: Path) -> Path:
    """A folder with prepared data and a search whose trials take 18 steps."""
    for name in ("dvc.yaml", "params.yaml", "presets", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").symlink_to(prepared)
    (tmp_path / SPACE.parent).mkdir(parents=True)
    shutil.copy(SPACE, tmp_path / SPACE)
    changed(tmp_path, prune={"startup": 1, "after": 2}, trials=4)
    shared = {"epochs": 6.0, "batch_size": 8, "parts": 1, "validate_every": 2, "checkpoint_every": 2, "gate_after": 0}
    return changed(tmp_path, shared=shared | {"model": {"width": 8}})


def changed(folder: Path, **keys: Any) -> Path:
    yaml = YAML(typ="safe")
    said = yaml.load(folder / SPACE)
    yaml.dump(said | keys, folder / SPACE)
    return folder


def begun(folder: Path, *words: str) -> "subprocess.Popen[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
    command = [sys.executable, "-m", "pipeline.sweep", *words]
    return subprocess.Popen(
        command, cwd=folder, text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("name", SEARCHES)
def test_each_search_begins_with_what_is_there(name: str) -> None:
    search = Search.load(name)
    params = search.params(search.hand_tuned()).model_dump()
    assert params["learning_rate"] == search.base[search.space.net]["learning_rate"]
    low = search.params({"augment.scale": 0.25}).model_dump()
    assert low == {**params, "augment": {**params["augment"], "scale": 0.25}}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_depends_on_what_its_net_does(name: str) -> None:
    stage = YAML(typ="safe").load(Path("experiments", name, "dvc.yaml"))["stages"]["search"]
    of_the_training = layout.deps("train", Search.load(name).space.net)
    assert {Path(dep) for dep in stage["deps"]} == {Path("pipeline/sweep.py"), *of_the_training}


def test_a_wrong_space_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    with pytest.raises(ParamsError, match=r"got 'search-nose'; choose one of search-pose"):
        Search.load("search-nose")
    changed(workplace, space={"augment.rotation": {"low": 0, "high": 1}})
    with pytest.raises(ParamsError, match=r"space.augment.rotation: no such key in pose, got 'rotation'"):
        Search.load("search-pose")
    changed(workplace, space={"ema": {"low": "much", "high": 1}})
    with pytest.raises(ParamsError, match=r"space.ema.low: .*got 'much'"):
        Search.load("search-pose")
    changed(workplace, space={"ema": {"low": 0.9, "high": 0.5}})
    with pytest.raises(ParamsError, match=r"space.ema: .*low must lie below high"):
        Search.load("search-pose")


def test_whole_numbers_are_drawn_of_a_param_that_is_one() -> None:
    trial = optuna.create_study().ask()
    few = Interval(low=16, high=32, step=8)
    assert few.suggest(trial, "batch_size", 32) in (16, 24, 32)
    assert isinstance(trial.params["batch_size"], int)
    assert isinstance(Interval(low=0, high=60).suggest(trial, "rotation_deg", 30.0), float)


def test_a_search_that_is_stopped_or_killed_goes_on_in_the_middle_of_its_trial(workplace: Path) -> None:
    def saved() -> list[int]:
        return [path.stat().st_mtime_ns for path in (workplace / ".checkpoints").glob("search-pose-*/last.state")]

    for how, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        before = saved()
        stopped = begun(workplace, "search", "search-pose")
        until(lambda before=before: saved() != before)  # type: ignore[misc]
        os.killpg(stopped.pid, how)
        said, _ = stopped.communicate(timeout=30)
        assert stopped.returncode == code
        assert ("goes on from step" in said) == bool(before)
        assert not (workplace / ENDED).exists()
    time.sleep(31)  # until the killed one's heart has stopped for long enough
    whole = begun(workplace, "search", "search-pose")
    said, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    assert said.count("goes on from step") == 1

    rows = (workplace / ENDED).read_text().splitlines()[2:]
    assert len(rows) == 4
    assert sum("hand-tuned" in row for row in rows) == 1
    for name in ("parallel", "importance"):
        with Image.open(workplace / f"docs/figures/search-pose_{name}.png") as picture:
            assert picture.width > 300
    assert "\nnext: dvc exp run -S pose." in said
    assert " -S pose.learning_rate=" in said

    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "handloom")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["sweep"] for run in runs} == {"search-pose"}
    early = sum("at step" in row for row in rows)
    assert Counter(run.info.status for run in runs) == Counter(FINISHED=4 - early, KILLED=early)
    with sqlite3.connect(workplace / ".checkpoints/search-pose.db") as store:
        states = Counter(state for (state,) in store.execute("select state from trials"))
    assert states["COMPLETE"] + states["PRUNED"] == 4
    assert states["RUNNING"] == 0


def test_a_goal_that_no_validation_gives_is_named_at_the_first(workplace: Path) -> None:
    changed(workplace, goal="val_pkc")
    _, errors = (search := begun(workplace, "search", "search-pose")).communicate(timeout=120)
    assert search.returncode == 2
    assert "error: space.yaml: goal: no such figure, got 'val_pkc'; choose one of " in errors
    assert "val_pck_0.2" in errors.splitlines()[-1]


def test_two_processes_share_a_search(workplace: Path) -> None:
    changed(workplace, trials=3)
    both = [begun(workplace, "search", "search-pose"), begun(workplace, "search", "search-pose")]
    for each in both:
        _, errors = each.communicate(timeout=300)
        assert each.returncode == 0, errors
    assert len((workplace / ENDED).read_text().splitlines()) - 2 >= 3
