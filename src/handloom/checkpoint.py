"""What outlives a process: the finished model, and the state that training resumes from.

A model is one safetensors file that describes itself: weights, the params it was trained with, the facts of its
data. Resume state lives outside DVC's outputs, in a folder named by the hash of all that determines the training
(stage, params, dependencies), so that it can never continue other params: those have another folder. Why: DVC deletes
outputs before a command runs, and with `persist: true` a changed learning rate resumed the old weights.
"""

import fcntl
import hashlib
import io
import json
import logging
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from handloom import files
from handloom.errors import CheckpointError, EnvironmentFault
from handloom.models.build import build
from handloom.models.wider import begin_with

FORMAT = 4
LEVELS: Final = ("kind", "depth", "stem", "upright")
"""Of a net's sizes those that a net which begins with another must share."""
LAST, PREVIOUS = "last.state", "previous.state"
DIGEST_BYTES: Final = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A net and what it says of itself."""

    net: nn.Module
    about: dict[str, Any]
    """task, outputs (maps, numbers), params, facts, key, format."""


def save_model(path: Path, net: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a net; the same weights give the same bytes: the description is one entry, so it has no order."""
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    text = json.dumps({"format": FORMAT, **about}, sort_keys=True)
    files.write(path, save(weights, {"handloom": text}))


def load_model(path: Path, task: str) -> Model:
    """Give the net of a file, ready to predict; raises CheckpointError where it is no net of this task."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a model, got '{error}'; run `dvc repro train`") from None
    try:
        about = json.loads(metadata["handloom"])
        if (about["format"], about["task"]) != (FORMAT, task):
            found = f"{about['task']} format {about['format']}"
            raise CheckpointError(f"{path}: expected {task} format {FORMAT}, got '{found}'; train it again")
        maps, numbers = about["outputs"]
        net = build(maps, numbers, about["params"]["model"])
        net.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: weights and description do not fit, got '{first_line(error)}'; train it again"
        ) from None
    return Model(net.eval(), about)


def load_into(net: nn.Module, outputs: tuple[int, int], sizes: Mapping[str, Any], path: Path, task: str) -> None:
    """Give a net, built of those, the weights of a file's; raises CheckpointError where that is none or does not fit.

    It fits where it is of the same levels and outputs, and nowhere wider.
    """
    model = load_model(path, task)
    known = tuple(model.about["outputs"]), *(model.about["params"]["model"].get(name) for name in LEVELS)
    try:
        if known != (outputs, *(sizes.get(name) for name in LEVELS)):
            raise ValueError
        begin_with(net, model.net)
    except ValueError:
        what = f"{task}.begin_from: must be a net of {task}.model's levels and outputs, and nowhere wider, got '{path}'"
        raise CheckpointError(f"{what}; take over the params that it was trained with") from None


def key_of(stage: str, params: Mapping[str, Any], deps: Mapping[str, str]) -> str:
    """Give the hash of all that determines a training: 64 hex digits."""
    text = json.dumps({"stage": stage, "params": params, "deps": deps}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Resume:
    """The resume state of one training, under `root`; other trainings of the same stage lie beside it."""

    root: Path
    stage: str
    key: str

    @property
    def folder(self) -> Path:
        """Where this training's state lies."""
        return self.root / f"{self.stage}-{self.key[:16]}"

    @property
    def others(self) -> list[Path]:
        """Unfinished trainings of the same stage with other params, data or code."""
        found = sorted({path.parent for path in self.root.glob(f"{self.stage}-*/*.state")})
        return [folder for folder in found if folder != self.folder and not (folder / "finished").exists()]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this training alone; raises EnvironmentFault where another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                where = f"{self.folder}: another process trains {self.stage} with these params"
                raise EnvironmentFault(f"{where}, got 'locked'; wait for it or stop it") from None
            for unfinished in self.folder.glob(".*.part"):  # of a process that was killed
                unfinished.unlink()
            yield

    def save(self, state: Mapping[str, Any]) -> None:
        """Put a state in the last one's place, which becomes the one before: whole, or the old ones stay."""
        buffer = io.BytesIO()  # torch.save to a full disk raises RuntimeError and leaves half a file
        torch.save({**state, "key": self.key}, buffer)
        content = buffer.getvalue()
        last = self.folder / LAST
        if last.exists():
            with files.disk(last):
                last.replace(self.folder / PREVIOUS)
        files.write(last, hashlib.sha256(content).digest() + content)

    def load(self) -> dict[str, Any] | None:
        """Give the last whole state, or None where there is none.

        Raises CheckpointError where all there are are damaged, or one is of another training.
        """
        fault: CheckpointError | None = None
        for path in (self.folder / LAST, self.folder / PREVIOUS):
            if not path.exists():
                continue
            try:
                state = _read_state(path)
            except CheckpointError as error:
                fault = fault or error
                continue
            if state.get("key") != self.key:
                raise CheckpointError(f"{path}: of other params, got '{state.get('key')}'; delete it to start anew")
            if fault:
                log.warning("%s; going on from the one before, step %s", fault, state.get("step"))
            return state
        if fault:
            raise fault
        return None

    def finish(self) -> None:
        """Mark the training as ended and forget earlier ended ones; its own state stays until DVC has its outputs."""
        (self.folder / "finished").touch()
        for other in self.root.glob(f"{self.stage}-*/finished"):
            if other.parent != self.folder:
                shutil.rmtree(other.parent, ignore_errors=True)


def _read_state(path: Path) -> dict[str, Any]:
    """Give the state of a file that begins with the sha256 of its rest: torch loads flipped weights without a word."""
    content = path.read_bytes()
    digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    try:
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("another sha256 than its own")
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged, got '{first_line(error)}'; delete it to start anew") from None
    return state


def first_line(error: Exception) -> str:
    """Give the first line of an error's message, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
