"""A disk that refuses, at every call in turn and at bytes in between: the old state is left or the new one, no third.

fsync and rename fail at the Nth call; writes at a byte, by the kernel itself (RLIMIT_FSIZE), so no layer is left out.
"""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from handloom import files
from handloom.checkpoint import Resume
from handloom.data.download import adopt
from handloom.data.prepare import prepare
from handloom.data.rhd import RhdSource
from handloom.data.synthetic.archive import write_archive
from handloom.errors import EnvironmentFault
from handloom.params import Params

CALLS = {"fsync": ("fsync",), "rename": ("replace", "rename", "link")}
BYTES = (0, 1, 500, 5_000, 50_000, 500_000, 5_000_000, 50_000_000)
Act = Callable[[Path, int], None]
"""Brings a folder to state 1 or 2."""


def save(folder: Path, state: int) -> None:
    Resume(folder, "train", "k").save({"step": state, "weights": torch.full((40_000,), float(state))})


def write(folder: Path, state: int) -> None:
    files.write(folder / "a" / "model", bytes([state]) * 100_000)


def exported(folder: Path, state: int) -> None:
    with files.whole_folder(folder / "onnx") as new:
        for name in ("segment", "pose", "hands"):
            files.write(new / f"{name}.onnx", bytes([state]) * 60_000)


def adopted(folder: Path, state: int) -> None:
    adopt(folder.parent / f"{state}.zip", folder / "raw" / "rhd.zip")


def content(folder: Path) -> dict[str, bytes]:
    """What a reader finds: resume state as `load` gives it, else all files but locks and what is never read."""
    if (folder / "train-k").exists():
        state = Resume(folder, "train", "k").load()
        return {} if state is None else {"state": bytes([state["step"]]) + state["weights"].numpy().tobytes()}
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def refusing(kind: str, place: int) -> Iterator[list[str]]:
    """Refuse the call number `place` of a kind, and give those refused; or, of writes, all beyond `place` bytes."""
    refusals: list[str] = []
    if kind == "write":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (place, hard))
        try:
            yield refusals
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        return
    calls = count()

    def refusing_call(call: Callable[..., Any]) -> Callable[..., Any]:
        def refused(*words: Any, **more: Any) -> Any:
            if next(calls) == place:
                refusals.append(call.__name__)
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*words, **more)

        return refused

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS[kind]:
            patch.setattr(os, name, refusing_call(getattr(os, name)))
        yield refusals


def refused_everywhere(act: Act, folder: Path, kind: str) -> int:
    """Go from state 1 to 2 with every fault of a kind; gives how many of them stopped it."""
    faults = 0
    for place in BYTES if kind == "write" else count():
        act(folder, 1)
        old = content(folder)
        said = ""
        with refusing(kind, place) as refusals:
            try:
                act(folder, 2)
            except EnvironmentFault as fault:
                said = str(fault)
        left = content(folder)
        act(folder, 2)  # once there is space again
        new = content(folder)
        assert left == new if not said else left in (old, new), f"{kind} {place}: neither the old state nor the new"
        assert "\n" not in said
        faults += bool(said)
        if kind != "write" and not refusals:
            return faults  # all calls had their turn
    return faults


@pytest.mark.parametrize("kind", ["write", "fsync", "rename"])
@pytest.mark.parametrize("act", [write, save, exported, adopted], ids=lambda act: act.__name__)
def test_the_old_state_or_the_new(act: Act, kind: str, tmp_path: Path) -> None:
    if act is adopted:
        for state in (1, 2):
            write_archive(tmp_path / f"{state}.zip", seed=state, num_training=1, num_evaluation=1, workers=1)
    faults = refused_everywhere(act, tmp_path / "work", kind)
    writes_nothing = act is adopted and kind != "rename"  # a hard link
    assert (faults == 0) == writes_nothing


@pytest.mark.parametrize("kind", ["write", "rename"])
def test_preprocess_leaves_the_old_arrays_or_the_new(kind: str, archive: Path, params: Params, tmp_path: Path) -> None:
    def prepared(folder: Path, state: int) -> None:
        chosen = params.preprocess.model_copy(update={"seed": state})
        prepare([RhdSource("synthetic", archive)], folder / "prepared", chosen, workers=1)

    assert refused_everywhere(prepared, tmp_path, kind) >= 2


@pytest.mark.parametrize("kind", ["write", "rename"])
def test_rendering_leaves_the_old_archive_or_the_new(kind: str, tmp_path: Path) -> None:
    def rendered(folder: Path, state: int) -> None:
        write_archive(folder / "synthetic.zip", seed=state, num_training=2, num_evaluation=1, workers=1)

    assert refused_everywhere(rendered, tmp_path, kind) >= 1


def test_what_a_kill_between_two_names_leaves_is_put_back(tmp_path: Path) -> None:
    exported(tmp_path, 1)
    old = content(tmp_path)
    (tmp_path / "onnx").rename(tmp_path / ".onnx.old")  # the moment between the old folder's going and the new's coming
    with suppress(KeyboardInterrupt), files.whole_folder(tmp_path / "onnx"):
        raise KeyboardInterrupt
    assert content(tmp_path) == old
