import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handloom import processes
from handloom.data.prepare import prepare
from handloom.data.rhd import RhdSource
from handloom.data.synthetic.archive import write_archive
from handloom.errors import EnvironmentFault
from handloom.params import Params


def square(number: int) -> int:
    return number * number


def folder_of(number: int) -> str:
    return str(Path.cwd())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Dask scheduler with two workers, each a process that begins in a folder of its own."""
    folder = tmp_path_factory.mktemp("dask")
    env = os.environ | {"PYTHONPATH": f"{Path.cwd()}/src:{Path.cwd()}", "OMP_NUM_THREADS": "1"}
    env |= {"DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "false"}
    address = folder / "scheduler.json"
    begin = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    launched = [subprocess.Popen([*begin, "--dashboard-address", "127.0.0.1:0", "--scheduler-file", address], env=env)]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", address, "--nthreads", "1"]
    quiet = ["--dashboard-address", "127.0.0.1:0", "--local-directory", folder]
    launched += [subprocess.Popen([*work, *quiet], env=env, cwd=folder) for _ in range(2)]
    from distributed import Client

    try:
        while not address.exists():
            assert launched[0].poll() is None
        with Client(scheduler_file=str(address)) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address
    finally:
        for process in reversed(launched):
            process.terminate()
            process.wait()


def test_a_pool_gives_results_in_order_and_keeps_few_waiting() -> None:
    with processes.pool(2) as pool:
        assert list(pool.in_order(square, range(100))) == [n * n for n in range(100)]
        assert list(pool.in_order(square, [])) == []


INTERRUPTED = """
import signal
from concurrent.futures.process import _ExecutorManagerThread
from handloom import processes

start = _ExecutorManagerThread.start

def interrupted(thread):
    signal.raise_signal(signal.SIGINT)
    start(thread)

if __name__ == "__main__":
    _ExecutorManagerThread.start = interrupted
    processes.exit_on_signals()
    with processes.pool(2) as pool:
        list(pool.in_order(abs, range(3)))
"""


def test_a_signal_while_a_pool_begins_waits_until_it_has_begun(tmp_path: Path) -> None:
    (tmp_path / "begin.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, tmp_path / "begin.py"], capture_output=True, text=True, timeout=60, check=False
    )
    # without waiting: RuntimeError, cannot join thread before it is started, and 1
    assert (done.returncode, done.stderr) == (130, "")


def test_signals_wait_and_other_threads_are_let_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, _: order.append("signal"))
    order: list[str] = []
    try:
        with processes.held():
            signal.raise_signal(signal.SIGTERM)
            order.append("work")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert order == ["work", "signal"]
    with ThreadPoolExecutor(1) as threads, processes.held():
        threads.submit(lambda: order.append(str(processes.held().__enter__()))).result()
    assert order[2:] == ["None"]


def last(number: int) -> int:
    os._exit(9)


def test_a_worker_that_dies_is_one_line() -> None:
    with (
        pytest.raises(EnvironmentFault, match=r"workers: all must live, got '.*'; free some memory"),
        processes.pool(1) as pool,
    ):
        list(pool.in_order(last, range(3)))


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(
    cluster: str, tmp_path: Path, archive: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "local.zip", seed=3, num_training=40, num_evaluation=3, workers=2)
    prepare([RhdSource("synthetic", archive)], tmp_path / "local", params.preprocess, workers=2)
    monkeypatch.setenv(processes.SCHEDULER, cluster)
    monkeypatch.chdir(tmp_path)
    with processes.pool() as pool:
        assert pool.workers == 2
        assert set(pool.in_order(folder_of, range(50))) == {str(tmp_path)}
    write_archive(Path("far.zip"), seed=3, num_training=40, num_evaluation=3)
    prepare([RhdSource("synthetic", archive)], Path("far"), params.preprocess)
    assert (tmp_path / "far.zip").read_bytes() == (tmp_path / "local.zip").read_bytes()
    names = sorted(path.relative_to("local") for path in Path("local").rglob("*.*"))
    assert len(names) > 20
    for name in names:
        assert (Path("far") / name).read_bytes() == (Path("local") / name).read_bytes(), name


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_S", 0.5)
    monkeypatch.setenv(processes.SCHEDULER, "tcp://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match=r"HANDLOOM_SCHEDULER: no scheduler at tcp://127.0.0.1:9, got"):
        processes.pool().__enter__()


def test_a_signal_is_noted_and_a_handler_set_meanwhile_stays() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with processes.noted(signal.SIGUSR1) as came:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert came == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before
    with processes.noted(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    signal.signal(signal.SIGUSR1, before)
