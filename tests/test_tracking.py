"""Against a real MLflow store: a sqlite file in a folder of the test's own."""

import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from handloom import tracking
from handloom.errors import DataError, EnvironmentFault


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def runs(store: Path) -> list[tuple[str, dict[str, float], dict[str, str], dict[str, str]]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return [(r.info.status, r.data.metrics, r.data.params, r.data.tags) for r in found]


@pytest.mark.filterwarnings("ignore")  # MLflow's own dependencies warn
def test_a_killed_run_goes_on_and_a_finished_one_stays(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    with (
        suppress(SystemExit),
        tracking.run("train@pose", "k1", {"pose": {"seed": 4}}, {"dvc.dep.x": "md5"}) as run,
    ):
        for step in range(1, 1502):
            run.metrics({"loss": 1 / step}, step)
        raise SystemExit(143)
    assert [status for status, *_ in runs(store)] == ["KILLED"]
    with tracking.run("train@pose", "k1", {"pose": {"seed": 4}}, {}) as run:
        run.metrics({"loss": 0.25, "val_pck_0.2": 0.5}, 1502)
        run.file(file)
        run.picture(b"\x89PNG", "validation.png")
        run.tag("dvc.out.models/pose", "md5")
    with tracking.run("train@pose", "k1", {"pose": {"seed": 4}}, {}):
        pass
    (second, *_), (first, metrics, params, tags) = runs(store)
    assert (first, second) == ("FINISHED", "FINISHED")
    assert metrics == {"loss": 0.25, "val_pck_0.2": 0.5}
    assert params == {"pose.seed": "4"}
    assert tags["pipeline.key"] == "k1"
    assert tags["dvc.dep.x"] == "md5"
    assert tags["dvc.out.models/pose"] == "md5"
    assert sorted(p.name for p in (store / "mlartifacts").rglob("*.*")) == ["a.csv", "validation.png"]


@contextmanager
def nobody_there(store: Path) -> Iterator[str]:
    yield "http://127.0.0.1:9"  # the discard port: nothing listens


@contextmanager
def hanging(store: Path) -> Iterator[str]:
    """A server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def locked(store: Path) -> Iterator[str]:
    """A database that another process writes to without an end."""
    with tracking.run("earlier", "k0", {}, {}):
        pass
    with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield f"sqlite:///{store}/mlflow.db"


@contextmanager
def no_store(store: Path) -> Iterator[str]:
    (store / "file").touch()
    yield f"sqlite:///{store}/file/mlflow.db"


@contextmanager
def wrong_scheme(store: Path) -> Iterator[str]:
    yield "gopher://127.0.0.1"


def a_run_of_three(key: str) -> None:
    with tracking.run("train@pose", key, {"pose": {"seed": 4}}, {"dvc.dep.x": "md5"}) as run:
        for step in (1, 2, 3):
            run.metrics({"loss": 1 / step}, step)
        run.flush()
        run.file(Path("presets/default.yaml"))
        run.picture(b"\x89PNG", "validation.png")
        run.tag("dvc.out.models/pose", "md5")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fault", [nobody_there, hanging, locked, no_store, wrong_scheme], ids=lambda each: each.__name__
)
def test_a_store_that_does_not_answer_stops_nothing_and_gets_all_later(
    fault: Callable[[Path], AbstractContextManager[str]],
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with fault(store) as address, monkeypatch.context() as patch:
        patch.setattr(tracking, "WAIT_S", 4.0)
        patch.setenv("MLFLOW_TRACKING_URI", address)
        begun = time.monotonic()
        a_run_of_three("k")
        assert time.monotonic() - begun < tracking.WAIT_S + 2  # one wait for all; no measure of speed
        with pytest.raises(EnvironmentFault, match=r"no answer, got '.+'; .*\.jsonl is kept, try again later$"):
            list(tracking.send())
    assert caplog.text.count("MLflow: no answer, got") == 1
    assert "`python -m pipeline.track` sends them later" in caplog.text
    assert list(tracking.send()) == ["train@pose-k"]
    assert list(tracking.send()) == []
    found = {each[3]["dvc.stage"]: each for each in runs(store)}
    assert len(found) == len(runs(store))  # one alone of each: none that hung began another
    status, metrics, params, tags = found["train@pose"]
    assert (status, metrics, params) == ("FINISHED", {"loss": 1 / 3}, {"pose.seed": "4"})
    assert tags["dvc.out.models/pose"] == tags["dvc.dep.x"] == "md5"


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_is_freed_while_a_run_begins_has_it_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is given up on after it saw that there is no such run, and before it creates one."""
    import mlflow

    with tracking.run("earlier", "k0", {}, {}):
        pass
    free, create = threading.Event(), mlflow.MlflowClient.create_run

    def slow(*args: object, **more: object) -> object:
        free.wait(20)
        return create(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", slow)
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "WAIT_S", 1.0)
        a_run_of_three("k")
    free.set()
    assert list(tracking.send()) == ["train@pose-k"]
    said = {each[3]["dvc.stage"]: each[:3] for each in runs(store)}
    assert len(said) == len(runs(store)) == 2
    assert said["train@pose"] == ("FINISHED", {"loss": 1 / 3}, {"pose.seed": "4"})


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_dies_meanwhile_gets_the_rest_later(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tracking.run("train@pose", "k", {}, {}) as run:
        run.metrics({"loss": 1.0}, 1)
        run.flush()
        (store / "mlflow.db").rename(store / "away.db")
        run.metrics({"loss": 0.5}, 2)
        run.flush()
        run.metrics({"loss": 0.25}, 3)
    (store / "mlflow.db").unlink(missing_ok=True)
    (store / "away.db").rename(store / "mlflow.db")
    assert list(tracking.send()) == ["train@pose-k"]
    ((status, metrics, _, _),) = runs(store)
    assert (status, metrics) == ("FINISHED", {"loss": 0.25})


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"stage": "a"}\n'])
def test_what_is_not_kept_by_us_is_named(text: str, store: Path) -> None:
    (store / ".unsent").mkdir()
    (store / ".unsent" / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"a\.jsonl: not what is kept of a run, got '.+'; remove it"):
        list(tracking.send())


@pytest.mark.filterwarnings("ignore")
def test_runs_are_tied_to_their_revision(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *who, *words], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.chdir(store)
    git("init")
    for name in ("code.py", "dvc.lock"):
        Path(name).write_text("one")
    git("add", ".")
    git("commit", "-m", "first")
    for key, change in (("clean", "dvc.lock"), ("dirty", "code.py")):
        Path(change).write_text(key)
        with tracking.run("train@pose", key, {}, {}):
            pass
    (*_, dirty), (*_, clean) = runs(store)
    assert (clean["git.dirty"], dirty["git.dirty"]) == ("false", "true")
    assert clean["git.sha"] == git("rev-parse", "HEAD")


def test_params_become_one_level_of_dotted_names() -> None:
    nested = {"pose": {"seed": 4, "model": {"width": 16}}, "rows": 3}
    assert tracking.flatten(nested) == {"pose.seed": 4, "pose.model.width": 16, "rows": 3}
