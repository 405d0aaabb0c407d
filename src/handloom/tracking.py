"""MLflow, or nobody: with `pyfunc` all that knows of it. Tracking never stops a training.

Store: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the repository's root (`DVC_ROOT` names it when DVC runs a stage
somewhere else). Step metrics are buffered and sent in batches: one at a time
costs 11 ms each, 1,000 together 0.2 ms each. What a store does not take is kept in a file of the repository, and `send`
brings it there later.
"""

import fcntl
import json
import logging
import os
import re
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from handloom.errors import CheckpointError, DataError, EnvironmentFault

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
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""With MLflow's own settings a dead server costs 247 s a call."""
WAIT_S = 13.0
"""For one answer, whatever a store hangs in: MLflow waits 20 s for a locked sqlite file. The first miss is the last."""

log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


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


@dataclass(frozen=True)
class Unsent:
    """What no store took of one run: a file of JSON lines, the first of which says whose they are."""

    path: Path
    head: Mapping[str, Any]

    def keep(self, *lines: Mapping[str, Any]) -> None:
        """Append lines, each a metric, a tag or the status."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            new = not self.path.exists()
            with self.path.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in ((self.head,) if new else ()) + lines)
        except OSError as error:
            log.warning("%s: cannot be written, got '%s'; these figures are lost", self.path, error.strerror)


@dataclass
class MlflowRun:
    """A run in an MLflow store. A store that stops answering is said once, then left alone; the rest is kept here."""

    unsent: Unsent
    client: "MlflowClient | None" = None
    run_id: str = ""
    _noted: list[dict[str, Any]] = field(default_factory=list)

    def _asked(self, ask: "Callable[[MlflowClient], Any]") -> bool:
        """Ask the store, if it ever answered since; gives whether it did now."""
        if (client := self.client) is None:
            return False
        try:
            _in_time(lambda _: ask(client))
        except Exception as error:
            self.client = None
            _say_no_answer(error)
        return self.client is not None

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note values of a step."""
        now = int(time.time() * 1000)
        self._noted += [{"metric": k, "value": float(v), "time": now, "step": step} for k, v in values.items()]
        if len(self._noted) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was noted, or keep it."""
        while self._noted and self._asked(lambda client: _send_metrics(client, self.run_id, self._noted[:BATCH])):
            del self._noted[:BATCH]
        if self._noted:
            self.unsent.keep(*self._noted)
            self._noted.clear()

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file with the run."""
        self._asked(lambda client: client.log_artifact(self.run_id, str(path), folder or None))

    def picture(self, png: bytes, name: str) -> None:
        """Keep a PNG with the run."""
        if self.client:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, Path(name).name)
                path.write_bytes(png)
                self.file(path, Path(name).parent.as_posix().removeprefix("."))

    def tag(self, name: str, value: str) -> None:
        """Say something of the run."""
        if not self._asked(lambda client: client.set_tag(self.run_id, name, value)):
            self.unsent.keep({"tag": name, "value": value})

    def model(self, files: Mapping[str, Path], asked: Any, params: Mapping[str, Any], said: Any) -> None:
        """Log a pyfunc from code, nothing of it pickled, as a new version of the registered model, the current one."""
        if (client := self.client) is None:
            return
        try:
            _register(client, self.run_id, files, asked, params, said)
        except Exception as error:
            self.client = None
            _say_no_answer(error)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.flush()
        if not self._asked(lambda client: client.set_terminated(self.run_id, status)):
            self.unsent.keep({"status": status})


def _register(
    client: "MlflowClient", run_id: str, files: Mapping[str, Path], asked: Any, params: Mapping[str, Any], said: Any
) -> None:
    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)
    with _calm(), mlflow.start_run(run_id):
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
        client.set_registered_model_alias(MODEL, ALIAS, logged.registered_model_version)


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
    tags = {**tags, **_git_tags()}
    try:
        import mlflow  # noqa: F401 - whether it is there
    except ImportError:
        log.warning("MLflow: not installed; this run is not tracked")
        return None
    head = {"stage": stage, "key": key, "params": flatten(params), "tags": tags}
    run = MlflowRun(Unsent(_unsent() / f"{stage}-{key[:16]}.jsonl", head))
    try:
        run.client, run.run_id = _in_time(partial(_begun, stage, key, params, tags))
    except Exception as error:
        _say_no_answer(error)
    return run


def _in_time(ask: "Callable[[threading.Event], _Answer]") -> "_Answer":
    """Give an answer; raises TimeoutError where it does not come, and lets the question hang, which is told so."""
    answers: list[_Answer] = []
    errors: list[Exception] = []
    given_up = threading.Event()

    def asking() -> None:
        try:
            answers.append(ask(given_up))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    if errors:
        raise errors[0]
    if not answers:
        given_up.set()
        raise TimeoutError(f"nothing within {WAIT_S:g} s")
    return answers[0]


def _begun(
    stage: str, key: str, params: Mapping[str, Any], tags: Mapping[str, str], given_up: threading.Event
) -> "tuple[MlflowClient, str]":
    """Give the store's client and the run. One at a time: what hung may go on later, beside another that asks."""
    # four processes that create one sqlite store at once corrupted it in one of two trials
    with (root() / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = _client()
        experiment = _experiment(client)
        return client, _run_id(client, experiment, stage, key, params, tags, given_up)


def _client() -> "MlflowClient":
    """Give the store's client."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    import mlflow

    _quiet()
    return mlflow.MlflowClient(store())


def _quiet() -> None:
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _say_no_answer(error: Exception) -> None:
    said = str(error).split("\n")[0]
    log.warning("MLflow: no answer, got '%s'; figures are kept, `python -m pipeline.track` sends them later", said)


def _unsent() -> Path:
    return root() / ".unsent"


def send() -> Iterator[str]:
    """Bring to the store what is kept here, run by run, and forget it; gives each run's name.

    Raises EnvironmentFault where the store does not answer, DataError where a file is none of ours.
    """
    for path in sorted(_unsent().glob("*.jsonl")):
        try:
            head, *lines = (json.loads(line) for line in path.read_text().splitlines())
            stage, key, params, tags = (head[name] for name in ("stage", "key", "params", "tags"))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not what is kept of a run, got '{error}'; remove it") from None
        try:
            client, run_id = _in_time(partial(_begun, stage, key, params, tags))
            metrics = [line for line in lines if "metric" in line]
            for start in range(0, len(metrics), BATCH):
                _send_metrics(client, run_id, metrics[start : start + BATCH])
            for line in (line for line in lines if "tag" in line):
                client.set_tag(run_id, line["tag"], line["value"])
            client.set_terminated(run_id, next((line["status"] for line in lines[::-1] if "status" in line), "KILLED"))
        except Exception as error:
            said = str(error).split("\n")[0]
            raise EnvironmentFault(f"{store()}: no answer, got '{said}'; {path} is kept, try again later") from None
        path.unlink()
        yield f"{stage}-{key[:8]}"


def _send_metrics(client: "MlflowClient", run_id: str, noted: Sequence[Mapping[str, Any]]) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(each["metric"], each["value"], each["time"], each["step"]) for each in noted]
    client.log_batch(run_id, metrics=metrics)


def _experiment(client: "MlflowClient") -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known:
        return str(known.experiment_id)
    local = None if os.environ.get("MLFLOW_TRACKING_URI") else (root() / "mlartifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=local))


def _run_id(
    client: "MlflowClient",
    experiment: str,
    stage: str,
    key: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    given_up: threading.Event,
) -> str:
    """Give the unfinished run of this key, opened again, or a new one; it has its params then.

    A run that is created while this is given up stays unfinished: whoever asks next, and waits for this, opens it.
    """
    from mlflow.entities import Param, RunStatus

    unfinished = [
        run.info.run_id
        for run in client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'")
        if run.info.status != RunStatus.to_string(RunStatus.FINISHED)
    ]
    if given_up.is_set():
        raise TimeoutError("too late")
    if unfinished:
        run_id = str(unfinished[0])
        client.update_run(run_id, status="RUNNING")
    else:
        all_tags = {"pipeline.key": key, "dvc.stage": stage, **tags}
        run_id = str(client.create_run(experiment, run_name=f"{stage}-{key[:8]}", tags=all_tags).info.run_id)
    client.log_batch(run_id, params=[Param(k, str(v)) for k, v in flatten(params).items()])
    return run_id


def fetched(uri: str) -> Path:
    """Give the folder of a registered model's files; raises CheckpointError where there is none."""
    if (where := store()).startswith("sqlite:///") and not Path(where.removeprefix("sqlite:///")).exists():
        what = f"{uri}: no such model, got no store in {root()}"
        raise CheckpointError(f"{what}; go where `dvc repro export` ran, or set MLFLOW_TRACKING_URI")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow

        _quiet()
        mlflow.set_tracking_uri(where)
        return Path(mlflow.artifacts.download_artifacts(uri)) / "artifacts"
    except Exception as error:
        said = str(error).split("\n")[0]
        raise CheckpointError(f"{uri}: no such model in {where}, got '{said}'; run `dvc repro export`") from None


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
