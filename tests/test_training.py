import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handloom.checkpoint import Resume, save_model
from handloom.data.mixture import Mixture
from handloom.errors import CheckpointError, EnvironmentFault, TrainingFailed
from handloom.models.build import build
from handloom.models.wider import begin_with
from handloom.params import Params, TrainParams
from handloom.tasks import POSE, SEGMENT, Task
from handloom.tracking import Nobody
from handloom.training import bfloat16, input_size, learning_rate, train

QUICK = {"epochs": 2.0, "batch_size": 8, "validate_every": 3, "checkpoint_every": 2, "gate_after": 0, "clip_norm": 1.0}
TINY = {"kind": "unet", "width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 8}


def quick(params: TrainParams, **changes: Any) -> TrainParams:
    model = params.model.model_copy(update=TINY)
    return params.model_copy(update={**QUICK, "model": model, **changes})


def run(task: Task, params: TrainParams, prepared: Path, resume: Resume) -> dict[str, torch.Tensor]:
    data = tuple(task.data.load(prepared / task.name, split) for split in ("train", "val"))
    return train(task, data, params, resume, Nobody()).average.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_rate_rises_then_falls_to_its_share(params: Params) -> None:
    hot = params.segment.model_copy(update={"learning_rate": 1.0, "warmup_fraction": 0.1, "final_learning_rate": 0.25})
    rates = [learning_rate(hot, step, 100) for step in range(100)]
    assert max(rates) == rates[10] == 1.0
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[55] == pytest.approx(0.625)
    assert rates[-1] == pytest.approx(0.25, abs=1e-3)
    constant = hot.model_copy(update={"warmup_fraction": 0.0, "final_learning_rate": 1.0})
    assert {learning_rate(constant, step, 100) for step in range(100)} == {1.0}


def test_the_first_steps_see_small_samples(params: Params) -> None:
    asked = params.pose.model_copy(update={"early_fraction": 0.6, "early_size": 96})
    assert [input_size(asked, step, 10, 128) for step in (0, 5, 6, 9)] == [96, 96, 128, 128]
    assert input_size(params.pose, 0, 10, 128) == 128


def test_products_are_bfloat16_only_where_that_is_asked_for_and_in_hardware(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, auto = torch.device("cpu"), params.segment.model_copy(update={"precision": "auto"})
    intel = {"avx512_bf16": True, "cpu_name": "Intel Xeon"}
    for has, said in (
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": True}, True),
        (intel, False),
        (intel | {"amx_bf16": True}, True),
        ({"avx512_f": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert bfloat16(auto, cpu) is said
        assert not bfloat16(auto.model_copy(update={"precision": "float32"}), cpu)


def test_every_epoch_sees_every_row_once() -> None:
    rows = np.concatenate([Mixture.of_all(10).batch(step, 4, seed=1) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()


@pytest.mark.parametrize("task", [SEGMENT, POSE])
def test_it_overfits_eight_samples(task: Task, prepared: Path, params: Params, tmp_path: Path) -> None:
    section = getattr(params, task.name)
    still = section.augment.model_copy(update=dict.fromkeys(type(section.augment).model_fields, 0.0))
    once = section.model.model_copy(
        update={name: False for name in type(section.model).model_fields if name == "upright"}
    )
    steady = section.model_copy(
        update={
            "augment": still,
            "model": once,
            "epochs": 400.0,
            "batch_size": 8,
            "validate_every": 400,
            "checkpoint_every": 1000,
            "ema": 0.0,
            "weight_decay": 0.0,
            "final_learning_rate": 0.1,
        }
    )
    whole = task.data.load(prepared / task.name, "train")
    arrays = {name: value[:8] for name, value in vars(whole).items() if isinstance(value, np.ndarray)}
    eight = replace(whole, **arrays, mixture=Mixture.of_all(8))
    result = train(task, (eight, eight), steady, Resume(tmp_path, task.name, "k"), Nobody())
    assert result.validations[-1][f"val_{task.headline}"] > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    prepared: Path, params: Params, tmp_path: Path
) -> None:
    first, second, other = (
        run(SEGMENT, quick(params.segment, seed=seed), prepared, Resume(tmp_path / name, "segment", "k"))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert same(first, second)
    assert not same(first, other)


DIE = """
import os, signal, sys, torch
sys.path[:0] = ["tests", "src"]
from pathlib import Path
from handloom.checkpoint import Resume
from handloom.params import Params
from handloom.tasks import TASKS
from handloom.training import Training
from test_training import quick, run

name, parts, step, prepared, folder = sys.argv[1:]
torch.set_num_threads(int(parts))
advance = Training.advance
def advance_and_die(self, *rest):
    if self.step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)
    advance(self, *rest)
Training.advance = advance_and_die
params = quick(getattr(Params.load(Path("presets/default.yaml")), name), parts=int(parts))
run(TASKS[name], params, Path(prepared), Resume(Path(folder), name, "k"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("task", [SEGMENT, POSE])
def test_a_training_killed_thrice_has_the_same_weights(
    task: Task, parts: int, prepared: Path, params: Params, tmp_path: Path
) -> None:
    """Killed in an epoch's middle, on one thread and on two; a checkpoint is two steps old at most."""
    chosen = quick(getattr(params, task.name), parts=parts)
    torch.set_num_threads(parts)
    try:
        whole = run(task, chosen, prepared, Resume(tmp_path / "whole", task.name, "k"))
        for step in sorted(random.Random(task.name + str(parts)).sample(range(1, 4 if task is SEGMENT else 8), 3)):
            words = [sys.executable, "-c", DIE, task.name, str(parts), str(step), str(prepared), str(tmp_path / "cut")]
            dead = subprocess.run(words, capture_output=True, text=True)
            assert dead.returncode == -signal.SIGKILL, dead.stderr
        resume = Resume(tmp_path / "cut", task.name, "k")
        state = resume.load()
        assert state is None or 0 <= step - state["step"] <= 2
        assert same(run(task, chosen, prepared, resume), whole)
    finally:
        torch.set_num_threads(1)


def test_sigterm_saves_the_state_and_ends_with_143(
    prepared: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = Resume(tmp_path, "segment", "k")
    from handloom.training import Training

    advance = Training.advance

    def advance_and_stop(self: Training, *rest: Any) -> None:
        advance(self, *rest)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", advance_and_stop)
    with pytest.raises(SystemExit) as stopped:
        run(SEGMENT, quick(params.segment), prepared, resume)
    assert stopped.value.code == 143
    state = resume.load()
    assert state is not None
    assert state["step"] == 3


@pytest.mark.parametrize(
    ("task", "changes", "seen"),
    [
        (
            POSE,
            {"gate_after": 2, "loss": "l1", "target_peak": "density"},
            "pose: step 3: the heatmaps say nothing: .* got 'skill",
        ),
        (SEGMENT, {"gate_after": 2, "learning_rate": 1e-12}, "segment: step 3: the masks say nothing, got 'pooled IoU"),
        # too short to reach the gate: it stands at the end
        (SEGMENT, {"gate_after": 500, "learning_rate": 1e-12}, "segment: step 4: the masks say nothing"),
    ],
)
def test_the_gate_stops_a_training_that_says_nothing(
    task: Task, changes: dict[str, Any], seen: str, prepared: Path, params: Params, tmp_path: Path
) -> None:
    silent = quick(getattr(params, task.name), **changes)
    with pytest.raises(TrainingFailed, match=seen) as stopped:
        run(task, silent, prepared, Resume(tmp_path, task.name, "k"))
    assert stopped.value.exit_code == 6
    assert "\n" not in str(stopped.value)
    unguarded = silent.model_copy(update={"gate_after": 0, "clip_norm": 1.0})
    assert run(task, unguarded, prepared, Resume(tmp_path / "other", task.name, "k"))


def test_it_begins_with_a_trained_net(prepared: Path, params: Params, tmp_path: Path) -> None:
    first = quick(params.segment, epochs=1.0)
    weights = run(SEGMENT, first, prepared, Resume(tmp_path, "segment", "1"))
    net = build(*SEGMENT.outputs(first), first.model.model_dump())
    net.load_state_dict(weights)
    path, about = tmp_path / "own.safetensors", {"task": "segment", "outputs": SEGMENT.outputs(first)}
    save_model(path, net, {**about, "params": first.model_dump()})
    still = {"begin_from": str(path), "learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 0.1}
    on = run(SEGMENT, quick(params.segment, **still), prepared, Resume(tmp_path, "segment", "2"))
    of_net = [name for name in weights if name.endswith("weight")]
    assert all(torch.allclose(on[name], weights[name], atol=1e-6) for name in of_net)
    anew = run(
        SEGMENT, quick(params.segment, **still | {"begin_from": None}), prepared, Resume(tmp_path, "segment", "3")
    )
    assert not all(torch.allclose(anew[name], weights[name], atol=1e-3) for name in of_net)
    for change in ({"width": first.model.width - 2}, {"depth": first.model.depth - 1}, {"stem": 1}):
        other = quick(params.segment, begin_from=str(path), model=first.model.model_copy(update=change))
        with pytest.raises(CheckpointError, match=r"segment.begin_from: must be .+ nowhere wider, got '.+own"):
            run(SEGMENT, other, prepared, Resume(tmp_path, "segment", "4"))
    alone = quick(params.segment, begin_from=str(path), side_weight=0.0)
    with pytest.raises(CheckpointError, match=r"levels and outputs"):
        run(SEGMENT, alone, prepared, Resume(tmp_path, "segment", "5"))


WIDER: list[dict[str, Any]] = [{}, {"width": 7}, {"cap": 24}, {"decoder": 0.9}, {"width": 6, "decoder": 1.0}]


@pytest.mark.parametrize(
    ("kind", "wider"), [*product(["unet", "mobilenet_fcn"], WIDER), ("unet", {"decoder": [1.0, 0.5]})]
)
def test_a_wider_net_begins_with_what_the_narrow_one_says_and_learns_more(kind: str, wider: dict[str, Any]) -> None:
    narrow_sizes = {"kind": kind, "width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 12}
    torch.manual_seed(0)
    narrow, wide = build(3, 2, narrow_sizes), build(3, 2, narrow_sizes | wider)
    images = torch.rand(4, 3, 32, 32) * 255
    for _ in range(3):
        narrow.train()(images)  # batch norm's own numbers too
    begin_with(wide, narrow)
    for known, begun in zip(narrow.eval()(images), wide.eval()(images), strict=True):
        assert torch.allclose(known, begun, atol=1e-5)
    step = torch.optim.SGD(wide.parameters(), lr=0.1)
    for _ in range(2):  # the first opens the way to the new channels
        step.zero_grad()
        sum(said.square().mean() for said in wide.train()(images)).backward()
        step.step()
    shapes = dict(narrow.named_parameters())
    for name, weight in wide.named_parameters():
        assert weight.grad is not None
        if weight.dim() > 1 and weight.shape != shapes[name].shape:
            more = weight.grad.clone()
            more[: len(shapes[name]), : shapes[name].shape[1]] = 0
            assert more.abs().sum() > 0, name


def test_state_of_other_params_is_refused(tmp_path: Path) -> None:
    Resume(tmp_path, "segment", "a" * 64).save({"step": 1})
    other = Resume(tmp_path, "segment", "a" * 16 + "b" * 48)  # the folder's name alone would not tell them apart
    with pytest.raises(CheckpointError, match="of other params"):
        other.load()


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_state_is_named_and_the_one_before_goes_on(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resume = Resume(tmp_path, "segment", "a" * 64)
    for step in (1, 2, 3):
        resume.save({"step": step, "weights": torch.ones(1000)})
    last, previous = resume.folder / "last.state", resume.folder / "previous.state"
    flip(last, place)
    state = resume.load()
    assert state is not None
    assert state["step"] == 2
    assert "last.state: damaged, got 'another sha256 than its own'" in caplog.text
    assert "going on from the one before, step 2" in caplog.text
    flip(previous, 100)
    with pytest.raises(CheckpointError, match=r"last\.state: damaged, .*; delete it to start anew$"):
        resume.load()


def test_a_hundred_kills_while_saving_tear_nothing(tmp_path: Path) -> None:
    """The child saves 1, 2, 3 ... as fast as it can; whatever moment the kill meets, a whole state is left."""
    weights = torch.ones(300_000)
    draw = random.Random(4)
    step = 0
    for kills in range(2000):
        if kills >= 100 and step > 100:  # a busy machine saves less often between kills
            break
        resume = Resume(tmp_path, "segment", "a" * 64)
        resume.folder.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if not child:
            while True:
                step += 1
                resume.save({"step": step, "weights": weights * step})
        time.sleep(draw.uniform(0.005, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        state = resume.load()
        if state is None:
            assert step == 0  # not one was finished
            continue
        assert state["step"] >= step
        step = state["step"]
        assert torch.equal(state["weights"], weights * step)
    assert step > 100
    with resume.locked():
        left = {path.name for path in resume.folder.iterdir()}
    assert left <= {"last.state", "previous.state", "lock"}


def test_state_that_would_run_something_runs_nothing(tmp_path: Path) -> None:
    """Even with a sha256 that fits: whoever can write the file can write that too."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    resume = Resume(tmp_path, "segment", "a" * 64)
    resume.folder.mkdir()
    buffer = io.BytesIO()
    torch.save({"step": 1, "key": resume.key, "net": Evil()}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).digest()
    (resume.folder / "last.state").write_bytes(digest + buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"last\.state: damaged, got 'Weights only load failed"):
        resume.load()
    assert not (tmp_path / "ran").exists()


def test_one_training_at_a_time(tmp_path: Path) -> None:
    resume = Resume(tmp_path, "segment", "a" * 64)
    with (
        resume.locked(),
        pytest.raises(EnvironmentFault, match="another process trains segment"),
        resume.locked(),
    ):
        pass


def test_a_loss_that_is_no_number_stops_the_training(prepared: Path, params: Params, tmp_path: Path) -> None:
    hot = quick(params.segment, learning_rate=1e30, clip_norm=0.0, epochs=20.0)
    with pytest.raises(TrainingFailed, match=r"the loss is no number at step \d+, got '(nan|inf)'; lower segment"):
        run(SEGMENT, hot, prepared, Resume(tmp_path, "segment", "k"))
