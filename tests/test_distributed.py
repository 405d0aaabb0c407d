import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handloom.checkpoint import Resume
from handloom.distributed import Team, parts_of
from handloom.errors import EnvironmentFault
from handloom.params import Params
from handloom.tasks import POSE, SEGMENT, Task
from handloom.tracking import Nobody
from handloom.training import train
from tests.test_training import quick

RATE = 5e-4
"""A tenth of the default: Muon makes directions whose gradient is rounding alone as long as all others, so what
differs after a few steps is the rate times chance, and hides at the default's what the bounds should tell."""
ONE_PROCESS = """
import os, signal, sys, time
sys.path[:0] = ["tests", "src"]
from pathlib import Path
import torch
torch.set_num_threads(1)
from handloom import distributed, training
from handloom.checkpoint import Resume
from handloom.params import Params
from handloom.tasks import TASKS
from handloom.tracking import Nobody
from test_training import quick
name, prepared, root, parts, rate, ends = sys.argv[1:]
task, root = TASKS[name], Path(root)
changes = {"parts": int(parts), "precision": "float32", "learning_rate": float(rate)}
params = quick(getattr(Params.load(Path("presets/default.yaml")), name), **changes)
data = [task.data.load(Path(prepared) / name, split) for split in ("train", "val")]
if ends:
    what, rank, step = ends.split()
    advance = training.Training.advance
    def advance_and_end(self, *rest):
        advance(self, *rest)
        if self.step == int(step) and self.team.rank == int(rank) and not (root / "ended").exists():
            (root / "ended").touch()
            os.kill(os.getpid() if what == "KILL" else os.getppid(), getattr(signal, "SIG" + what))
    training.Training.advance = advance_and_end
    destroy = torch.distributed.destroy_process_group
    def destroy_slowly():  # on a busy machine the launcher's SIGTERM came before the reason was told
        time.sleep(1)
        destroy()
    torch.distributed.destroy_process_group = destroy_slowly
with distributed.team() as team:
    result = training.train(task, data, params, Resume(root, name, "k"), Nobody(), team)
torch.save({"losses": result.losses, "net": result.net.state_dict()}, root / f"{team.rank}.pt")
"""


def many(
    processes: int, task: Task, prepared: Path, root: Path, *, parts: int = 4, ends: str = "", restarts: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Train in so many processes; `ends`: a signal, the process that gets it, and after which step."""
    root.mkdir(exist_ok=True)
    (root / "one.py").write_text(ONE_PROCESS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [root / "one.py", task.name, prepared, root, str(parts), str(RATE), ends]
    return subprocess.run(
        [*launch, "--max-restarts", str(restarts), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
    )


def alone(task: Task, prepared: Path, params: Params, root: Path, parts: int = 4) -> Any:
    data = tuple(task.data.load(prepared / task.name, split) for split in ("train", "val"))
    chosen = quick(getattr(params, task.name), parts=parts, precision="float32", learning_rate=RATE)
    return train(task, data, chosen, Resume(root, task.name, "k"), Nobody())


@pytest.mark.slow
@pytest.mark.parametrize(("task", "processes"), [(SEGMENT, 2), (SEGMENT, 4), (POSE, 2)])
def test_many_processes_learn_what_one_does(
    task: Task, processes: int, prepared: Path, params: Params, tmp_path: Path
) -> None:
    true = alone(task, prepared, params, tmp_path / "alone")
    done = many(processes, task, prepared, tmp_path / "many")
    assert done.returncode == 0, done.stderr
    for rank in range(processes):
        said = torch.load(tmp_path / "many" / f"{rank}.pt", weights_only=True)
        np.testing.assert_allclose(said["losses"], true.losses, atol=1e-5)
        for name, weights in true.net.named_parameters():
            assert torch.allclose(said["net"][name], weights, atol=1e-4), name
    assert [path.name for path in (tmp_path / "many").glob("*/last.state")] == ["last.state"]


@pytest.mark.slow
def test_a_lost_process_ends_all_and_a_restart_learns_the_same(prepared: Path, params: Params, tmp_path: Path) -> None:
    true = alone(SEGMENT, prepared, params, tmp_path / "alone", parts=2)
    alive = many(2, SEGMENT, prepared, tmp_path / "ended", parts=2, ends="KILL 1 3")
    assert alive.returncode != 0
    assert "another process of this training is gone" in alive.stderr, alive.stderr
    state = Resume(tmp_path / "ended", "segment", "k").load()
    assert state is not None
    assert state["step"] == 2
    done = many(2, SEGMENT, prepared, tmp_path / "again", parts=2, ends="KILL 1 3", restarts=1)
    assert done.returncode == 0, done.stderr
    assert "goes on from step 2" in done.stdout, done.stdout + done.stderr
    said = torch.load(tmp_path / "again" / "0.pt", weights_only=True)
    np.testing.assert_allclose(said["losses"], true.losses, atol=1e-5)


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_once_and_ends_all_at_one_step(prepared: Path, tmp_path: Path) -> None:
    done = many(2, SEGMENT, prepared, tmp_path, parts=2, ends="TERM 1 1")
    assert done.returncode != 0
    state = Resume(tmp_path, "segment", "k").load()
    assert state is not None
    assert 1 <= state["step"] <= 4
    assert len(state["losses"]) == state["step"]


def test_a_batch_falls_into_a_part_per_process_or_more() -> None:
    assert [parts_of(2, Team(0, size), 16) for size in (1, 2, 4)] == [2, 2, 4]
    assert [list(Team(rank, 2).parts(4)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(EnvironmentFault, match="got '16 pictures in 6 parts'; start fewer processes"):
        parts_of(2, Team(0, 3), 16)


def test_alone_nothing_is_averaged_and_a_stop_is_heard() -> None:
    net, team = torch.nn.Linear(2, 1), Team()
    net(torch.ones(1, 2)).sum().backward()
    before = net.weight.grad.clone()
    loss = torch.tensor(3.0)
    assert team.average(net, loss, stop=True) is loss
    assert torch.equal(net.weight.grad, before)
    assert team.warned
