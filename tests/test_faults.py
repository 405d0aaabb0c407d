"""What a user does wrong, done for real: one line with place, value and remedy, its exit code, nothing half-written."""

import io
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path.cwd()
PROGRESS = re.compile(r"(preprocess|rendering|train \w+): ")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with params.yaml and dvc.yaml, and no data."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "presets" / "default.yaml", tmp_path / "params.yaml")
    return tmp_path


def stage(folder: Path, *words: str) -> tuple[int, str]:
    """Run a stage in a folder; gives its exit code and what it wrote to stderr, progress lines left out."""
    code, said, _ = outcome(started(folder, *words))
    return code, said


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a stage in a folder."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.stage", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=env)


def outcome(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Give a stage's exit code, what it wrote to stderr without progress lines, and its output."""
    output, said = process.communicate()
    lines = [line for line in said.splitlines() if line and not PROGRESS.match(line)]
    return process.returncode, "\n".join(lines), output


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def rewritten(archive: Path, target: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Copy an archive with its members changed."""
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def corrupt_png(name: str, content: bytes) -> bytes:
    return content[: len(content) // 2] if name.endswith("evaluation/color/00003.png") else content


def mask_of_another_size(name: str, content: bytes) -> bytes:
    if not name.endswith("training/mask/00005.png"):
        return content
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((128, 128), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def annotation_of_another_shape(name: str, content: bytes) -> bytes:
    if not name.endswith("anno_training.pickle"):
        return content
    records = pickle.loads(content)
    records[7]["uv_vis"] = records[7]["uv_vis"][:21]
    return pickle.dumps(records, protocol=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (corrupt_png, ["evaluation/00003", "color"]),
        (mask_of_another_size, ["training/00005", "mask", "128"]),
        (annotation_of_another_shape, ["training/00007", "uv_vis", "21"]),
    ],
)
def test_a_bad_sample_stops_preprocess(
    workplace: Path, archive: Path, change: Callable[[str, bytes], bytes], words: list[str]
) -> None:
    rewritten(archive, workplace / "data" / "raw" / "synthetic.zip", change)
    code, said = stage(workplace, "preprocess")
    assert code == 3, said
    assert len(said.splitlines()) == 1, said
    assert said.startswith("error: data/raw/synthetic.zip: ")
    assert "1 of 32 samples of synthetic are unreadable" in said
    assert "preprocess.max_bad_fraction" in said
    assert [word for word in words if word not in said] == []
    assert not (workplace / "data" / "prepared").exists()
    assert not (workplace / "data" / ".prepared.part").exists()


def test_a_bad_sample_within_the_limit_is_left_out_and_named(workplace: Path, archive: Path) -> None:
    rewritten(archive, workplace / "data" / "raw" / "synthetic.zip", corrupt_png)
    edit(workplace, "max_bad_fraction: 0.001", "max_bad_fraction: 0.05")
    code, said = stage(workplace, "preprocess")
    assert code == 0, said
    index = (workplace / "data" / "prepared" / "index.csv").read_text()
    assert sum("unreadable: " in line and "evaluation/00003" in line for line in index.splitlines()) == 2
    ids = np.load(workplace / "data" / "prepared" / "segment" / "test_ids.npy")
    assert ids.tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_a_truncated_zip(workplace: Path, archive: Path) -> None:
    target = workplace / "data" / "raw" / "synthetic.zip"
    target.parent.mkdir(parents=True)
    target.write_bytes(archive.read_bytes()[:-5000])
    code, said = stage(workplace, "preprocess")
    assert code == 3, said
    assert said.startswith("error: data/raw/synthetic.zip: is not a whole zip file")
    assert len(said.splitlines()) == 1


def test_a_missing_archive(workplace: Path) -> None:
    code, said = stage(workplace, "preprocess")
    assert (code, said) == (
        3,
        "error: data/raw/synthetic.zip: no such archive, got 'nothing'; run `dvc repro download`",
    )


def test_a_zip_the_user_names_that_is_not_there(workplace: Path) -> None:
    edit(workplace, "synthetic: 1.0           #", "synthetic: null\n  rhd: 1.0 #")
    edit(workplace, "  rhd: null                #", "  #")
    edit(workplace, "zip: null", "zip: elsewhere/RHD_v1-1.zip")
    code, said = stage(workplace, "download")
    assert code == 3, said
    assert "elsewhere/RHD_v1-1.zip" in said
    assert len(said.splitlines()) == 1
    assert list((workplace / "data" / "raw").iterdir()) == []


@pytest.mark.parametrize("words", [["download"], ["preprocess"], ["train", "segment"], ["evaluate"]])
def test_a_typo_anywhere_stops_every_stage(workplace: Path, words: list[str]) -> None:
    edit(workplace, "sigma_px:", "sigma_pix:")
    code, said = stage(workplace, *words)
    assert (code, said) == (2, "error: params.yaml: pose.sigma_pix: unknown key; did you mean 'sigma_px'?")


def test_a_wrong_type(workplace: Path) -> None:
    edit(workplace, "learning_rate: 0.005", "learning_rate: fast")
    code, said = stage(workplace, "train", "segment")
    assert code == 2
    assert said.startswith("error: params.yaml: segment.learning_rate: should be a valid number, got 'fast'; ")


def test_a_split_without_hands(workplace: Path, archive: Path) -> None:
    target = workplace / "data" / "raw" / "synthetic.zip"
    target.parent.mkdir(parents=True)
    shutil.copy(archive, target)
    edit(workplace, "min_hand_pixels: 150", "min_hand_pixels: 99999")
    code, said = stage(workplace, "preprocess")
    assert code == 3, said
    assert said.startswith("error: synthetic: no hand for the train split, got '0'; take more samples")
    assert not (workplace / "data" / "prepared").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_stage_with_nothing_half_written(workplace: Path, number: signal.Signals, code: int) -> None:
    process = started(workplace, "download")
    while not (workplace / "data" / "raw" / "synthetic.zip.part").exists():
        time.sleep(0.05)
        assert process.poll() is None, outcome(process)
    process.send_signal(number)
    assert outcome(process)[0] == code
    assert list((workplace / "data" / "raw").iterdir()) == []


def test_a_killed_training_goes_on_and_other_params_start_anew(workplace: Path, prepared: Path) -> None:
    shutil.copytree(prepared, workplace / "data" / "prepared")
    shutil.copytree(ROOT / "src", workplace / "src", ignore=shutil.ignore_patterns("__pycache__"))
    edit(workplace, "checkpoint_every: 250", "checkpoint_every: 2")
    edit(workplace, "epochs: 17.0", "epochs: 12.0")
    edit(workplace, "gate_after: 1500", "gate_after: 0")
    process = started(workplace, "train", "segment")
    while not list((workplace / ".checkpoints").glob("train-segment-*/last.state")):
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    assert outcome(process)[0] == -signal.SIGKILL
    assert not (workplace / "models").exists()
    code, said, output = outcome(started(workplace, "train", "segment"))
    assert code == 0, said
    assert "train segment: goes on from step" in output
    assert "models/segment.safetensors: iou_mean" in output
    edit(workplace, "learning_rate: 0.005", "learning_rate: 0.002")
    process = started(workplace, "train", "segment")
    while len(list((workplace / ".checkpoints").glob("train-segment-*/last.state"))) < 2:
        time.sleep(0.05)
        assert process.poll() is None
    process.terminate()
    code, said, output = outcome(process)
    assert code == 143
    assert "goes on" not in output


def test_too_little_memory_is_one_line(workplace: Path, prepared: Path) -> None:
    (workplace / "data").mkdir()
    (workplace / "data" / "prepared").symlink_to(prepared)
    (workplace / "src").symlink_to(ROOT / "src")
    edit(workplace, "batch_size: 16", "batch_size: 1000000")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, limits[1]))
    try:
        process = started(workplace, "train", "segment")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    code, said, _ = outcome(process)
    assert code == 5, said
    assert re.search(r"^error: memory: not enough, got '.+'; lower batch_size, or end what else runs$", said, re.M), (
        said
    )
    assert not (workplace / "models").exists()


@pytest.mark.parametrize(
    ("demand", "code", "said"),
    [("cuda", 5, "no GPU that torch can use, got 'cuda'; unset it"), ("gpu", 2, "must be cpu or cuda, got 'gpu'")],
)
def test_a_gpu_that_is_demanded_and_not_there(
    demand: str, code: int, said: str, workplace: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "data").mkdir()
    (workplace / "data" / "prepared").symlink_to(prepared)
    (workplace / "src").symlink_to(ROOT / "src")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("HANDLOOM_DEVICE", demand)
    found, line = stage(workplace, "train", "segment")
    assert found == code, line
    assert f"error: HANDLOOM_DEVICE: {said}" in line
    assert not (workplace / "models").exists()


def test_training_without_data(workplace: Path) -> None:
    code, said = stage(workplace, "train", "pose")
    assert code == 3, said
    assert said.startswith("error: data/prepared/pose")
    assert said.endswith("run `python -m pipeline.stage preprocess`")


def test_evaluating_without_a_model(workplace: Path, prepared: Path) -> None:
    shutil.copytree(prepared, workplace / "data" / "prepared")
    code, said = stage(workplace, "evaluate")
    assert code == 4, said
    assert said.startswith("error: models/segment.safetensors: not a model")


@pytest.mark.parametrize("curve", [None, "", 'a\n"', "step,train_loss,val_loss\n1,2,3\n"])
def test_evaluating_without_a_curve(curve: str | None, workplace: Path, prepared: Path, models: Path) -> None:
    shutil.copytree(prepared, workplace / "data" / "prepared")
    shutil.copytree(models, workplace / "models")
    (workplace / "plots").mkdir(exist_ok=True)
    for net, text in (("segment", "step,train_loss,val_loss,val_iou_mean\n1,2,3,0\n"), ("pose", curve)):
        path = workplace / "plots" / f"train_{net}.csv"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
    code, said = stage(workplace, "evaluate")
    assert code == 3, said
    assert said.startswith("error: plots/train_pose.csv: not a training's curve")
    assert said.endswith("run `dvc repro train@pose`")
    assert "\n" not in said


def test_the_rhd_source_accepts_a_zip_that_is_there(workplace: Path, archive: Path) -> None:
    edit(workplace, "synthetic: 1.0           #", "synthetic: null\n  rhd: 1.0 #")
    edit(workplace, "  rhd: null                #", "  #")
    edit(workplace, "zip: null", f"zip: {archive}")
    code, said = stage(workplace, "download")
    assert code == 0, said
    assert (workplace / "data" / "raw" / "rhd.zip").read_bytes() == archive.read_bytes()
