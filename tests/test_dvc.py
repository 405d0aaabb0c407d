"""DVC itself, killed and run twice: nothing it started runs on, and nothing runs beside it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path.cwd()
REPRO = ["repro", "--single-item", "train@segment"]


@pytest.fixture
def workplace(tmp_path: Path, prepared: Path) -> Path:
    """A DVC repository whose mask net trains for minutes in steps of milliseconds."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    shutil.copytree(prepared, tmp_path / "data" / "prepared")
    params = YAML(typ="safe").load(ROOT / "presets" / "default.yaml")
    small = {"kind": "unet", "width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 8}
    params["segment"] |= {"model": small, "epochs": 5000.0, "batch_size": 4, "parts": 1, "checkpoint_every": 5}
    params["segment"] |= {"gate_after": 0, "validate_every": 100_000}
    YAML().dump(params, tmp_path / "params.yaml")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def dvc(folder: Path) -> "subprocess.Popen[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": path}
    command, pipe = [sys.executable, "-m", "dvc", *REPRO], subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def saved(folder: Path) -> bool:
    return bool(list((folder / ".checkpoints").glob("train-segment-*/last.state")))


def stages(folder: Path) -> list[int]:
    """The processes that run a stage in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"pipeline.stage" in words and (process / "cwd").resolve() == folder:
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
    return condition()


def test_a_killed_repro_leaves_no_training_behind_and_goes_on(workplace: Path) -> None:
    first = dvc(workplace)
    assert wait(lambda: saved(workplace), 120), first.communicate()
    first.kill()
    first.communicate()
    assert wait(lambda: not stages(workplace), 10)
    second = dvc(workplace)
    assert second.stdout is not None
    said = next((line for line in second.stdout if "goes on from step" in line), "")
    os.killpg(second.pid, signal.SIGTERM)
    last = second.communicate()
    assert said.startswith("train segment: goes on from step"), last
    assert wait(lambda: not stages(workplace), 10)


def test_a_second_repro_beside_a_running_one_is_refused(workplace: Path) -> None:
    first = dvc(workplace)
    assert wait(lambda: saved(workplace), 120), first.communicate()
    running = stages(workplace)
    second = dvc(workplace)
    _, said = second.communicate(timeout=60)
    assert second.returncode != 0
    assert "is busy, it is being blocked by" in said or "another process trains" in said
    assert stages(workplace) == running
    os.killpg(first.pid, signal.SIGTERM)
    first.communicate()
    assert wait(lambda: not stages(workplace), 10)
