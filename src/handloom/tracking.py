"""MLflow, or nobody: with `pyfunc` all that knows of it. Tracking never stops a training.

Store: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the repository's root (`DVC_ROOT` names it when DVC runs a stage
somewhere else). Step metrics are buffered and sent in batches: one at a time
costs 11 ms each, 1,000 together 0.2 ms each.
"""

import fcntl
import logging
import os
import re
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from handloom.errors import CheckpointError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "handloom"
RUNS_PAGE = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
"""Where `mlflow ui` shows the runs of a local store; its front page opens on traces, which are empty here."""
MODEL = "handloom"
"""Name of the registered model, both nets in one."""
ALIAS = "current"
"""Of its newest version; MLflow keeps the word `latest` for itself."""
PYFUNC = Path(__file__).parent / "pyfunc.py"
"""The code of the model; imported by MLflow alone, where it loads one."""
SCHEMES = ("models:/", "runs:/")
"""How the address of a model in a store begins."""
BATCH = 1000
"""Metrics in one request, MLflow's own limit."""

log = logging.getLogger(__name__)


class Run(Protocol):
    """Where figures go while a stage runs."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note values of a step; sent with the next `flush`."""

    def flush(self) -> None:
        """Send what was noted."""

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file with the run."""

    def picture(self, png: bytes, name: str) -> None:
        """Keep a PNG with the run, in place of an earlier one of that name."""

    def tag(self, name: str, value: str) -> None:
        """Say something of the run."""

    def model(self, files: Mapping[str, Path], asked: Any, params: Mapping[str, Any], said: Any) -> None:
        """Register what `pyfunc` makes of these files: asked this with these params, it says that."""


class Nobody:
    """The run that keeps nothing, where MLflow is not installed or does not answer."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def file(self, path: Path, folder: str = "") -> None:
        """Do nothing."""

    def picture(self, png: bytes, name: str) -> None:
        """Do nothing."""

    def tag(self, name: str, value: str) -> None:
        """Do nothing."""

    def model(self, files: Mapping[str, Path], asked: Any, params: Mapping[str, Any], said: Any) -> None:
        """Do nothing."""


@dataclass
class MlflowRun:
    """A run in an MLflow store. A store that stops answering is said once and then left alone."""

    client: "MlflowClient"
    run_id: str
    alive: bool = True
    _noted: list[Any] = field(default_factory=list)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.alive = False
            log.warning("MLflow: no answer, got '%s'; this run is tracked no further", str(error).split("\n")[0])

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note values of a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._noted += [Metric(name, value, now, step) for name, value in values.items()]
        if len(self._noted) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was noted."""
        while self._noted and self.alive:
            with self._forgiving():
                self.client.log_batch(self.run_id, metrics=self._noted[:BATCH])
            del self._noted[:BATCH]

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file with the run."""
        if self.alive:
            with self._forgiving():
                self.client.log_artifact(self.run_id, str(path), folder or None)

    def picture(self, png: bytes, name: str) -> None:
        """Keep a PNG with the run."""
        if self.alive:
            import tempfile

            with self._forgiving(), tempfile.TemporaryDirectory() as folder:
                path = Path(folder, Path(name).name)
                path.write_bytes(png)
                self.file(path, Path(name).parent.as_posix().removeprefix("."))

    def tag(self, name: str, value: str) -> None:
        """Say something of the run."""
        if self.alive:
            with self._forgiving():
                self.client.set_tag(self.run_id, name, value)

    def model(self, files: Mapping[str, Path], asked: Any, params: Mapping[str, Any], said: Any) -> None:
        """Log a pyfunc from code, nothing of it pickled, as a new version of the registered model, the current one."""
        if self.alive:
            with self._forgiving(), _calm():
                import mlflow

                mlflow.set_tracking_uri(self.client.tracking_uri)
                with mlflow.start_run(self.run_id):
                    logged = mlflow.pyfunc.log_model(
                        name=MODEL,
                        python_model=str(PYFUNC),
                        artifacts={name: str(path) for name, path in files.items()},
                        signature=mlflow.models.infer_signature(asked, said, dict(params)),
                        input_example=(asked, dict(params)),
                        code_paths=[str(Path(__file__).parent)],
                        pip_requirements=_requirements(),
                        registered_model_name=MODEL,
                    )
                if "DVC_EXP_NAME" not in os.environ:  # an experiment's model is not yet anybody's current one
                    self.client.set_registered_model_alias(MODEL, ALIAS, logged.registered_model_version)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.flush()
        if self.alive:
            with self._forgiving():
                self.client.set_terminated(self.run_id, status)


@contextmanager
def run(stage: str, key: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Run]:
    """Open the run of a stage: the unfinished one of the same key goes on, else a new one begins.

    Ends as FINISHED, or as FAILED or KILLED when the body raises an Exception or SystemExit/KeyboardInterrupt.
    """
    opened = _open(stage, key, params, tags)
    if opened is None:
        yield Nobody()
        return
    status = "FAILED"
    try:
        yield opened
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        opened.end(status)


def root() -> Path:
    """Give the repository's root: DVC's, or the current directory."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def _open(stage: str, key: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> MlflowRun | None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a dead server costs 247 s per call without
    try:
        import mlflow
    except ImportError:
        log.warning("MLflow: not installed; this run is not tracked")
        return None
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        # four processes that create one sqlite store at once corrupted it in one of two trials
        with (root() / ".mlflow.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            client = mlflow.MlflowClient(store())
            experiment = _experiment(client)
        return MlflowRun(client, _run_id(client, experiment, stage, key, params, {**tags, **_git_tags()}))
    except Exception as error:
        log.warning("MLflow: no answer, got '%s'; this run is not tracked", str(error).split("\n")[0])
        return None


def _experiment(client: "MlflowClient") -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        return str(known.experiment_id)
    local = None if os.environ.get("MLFLOW_TRACKING_URI") else (root() / "mlartifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=local))


def _run_id(
    client: "MlflowClient", experiment: str, stage: str, key: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """Give the unfinished run of this key, opened again, or a new one with its params."""
    from mlflow.entities import Param, RunStatus

    for old in client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'"):
        if old.info.status != RunStatus.to_string(RunStatus.FINISHED):
            client.update_run(old.info.run_id, status="RUNNING")
            return str(old.info.run_id)
    all_tags = {"pipeline.key": key, "dvc.stage": stage, **tags}
    created = client.create_run(experiment, run_name=f"{stage}-{key[:8]}", tags=all_tags)
    client.log_batch(created.info.run_id, params=[Param(k, str(v)) for k, v in flatten(params).items()])
    return str(created.info.run_id)


def fetched(uri: str) -> Path:
    """Give the folder of a registered model's files; raises CheckpointError where there is none."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow

        mlflow.set_tracking_uri(store())
        return Path(mlflow.artifacts.download_artifacts(uri)) / "artifacts"
    except Exception as error:
        said = str(error).split("\n")[0]
        raise CheckpointError(f"{uri}: no such model in {store()}, got '{said}'; run `dvc repro export`") from None


def store() -> str:
    """Give the address of the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root()}/mlflow.db"


def _requirements() -> list[str]:
    """Give what this package needs, as installed here: the machine that serves a model should run what was tried."""
    names = [re.split(r"[^\w.-]", need)[0] for need in metadata.requires("handloom") or () if "extra ==" not in need]
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


@contextmanager
def _calm() -> Iterator[None]:
    """Let MLflow say nothing about itself: neither warnings nor a bar per file."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested params as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _git_tags() -> dict[str, str]:
    """Give the revision that runs and whether it was changed since; nothing outside a git checkout."""
    with suppress(OSError, subprocess.CalledProcessError):
        # in the current directory: an experiment may run in a copy of the repository, at a revision of its own
        sha = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # what DVC itself writes as the pipeline runs is no change of ours
        ignored = [f":(exclude){path}" for path in ("dvc.lock", "metrics", "plots")]
        status = ["status", "--porcelain", "--untracked-files=no", "--", ".", *ignored]
        changed = subprocess.run(["git", *status], capture_output=True, text=True, check=True).stdout
        experiment = {"dvc.exp": name} if (name := os.environ.get("DVC_EXP_NAME")) else {}
        return {
            "git.sha": sha,
            "git.dirty": str(bool(changed.strip())).lower(),
            "mlflow.source.git.commit": sha,
        } | experiment
    return {}
