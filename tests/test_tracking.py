"""Against a real MLflow store: a sqlite file in a folder of the test's own."""

import logging
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from handloom import tracking


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


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_does_not_answer_stops_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nothing listens
    with caplog.at_level(logging.WARNING), tracking.run("train@pose", "k", {}, {}) as run:
        run.metrics({"loss": 1.0}, 1)
        run.flush()
    assert isinstance(run, tracking.Nobody)
    assert "MLflow: no answer" in caplog.text


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
