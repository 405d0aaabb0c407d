"""Whether what lies here is what `dvc.lock` says: every output, byte by byte, and what each stage was made from.

DVC itself takes a file with an unchanged time for an unchanged file; here all is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handloom import files
from handloom.errors import DataError

LOCK: Final = Path("dvc.lock")
STAGES: Final = Path("dvc.yaml")
SUMS: Final = Path(__file__).parent / "weights" / "SHA256SUMS"
"""Of the bundled nets, in the form of `sha256sum`."""


@dataclass(frozen=True)
class Checked:
    """One stage: how many of its outputs are what they should be, what is not, said line by line, and what mends it."""

    stage: str
    num_right: int
    num_outputs: int
    faults: list[str]
    remedy: str = "run `dvc repro`"


def checked(root: Path) -> Iterator[Checked]:
    """Check stage by stage, in the order in which they run; raises DataError where there is no whole `dvc.lock`."""
    locked = _locked(root)
    order = [name for name in _order(root) if name in locked]
    for stage in order + sorted(set(locked) - set(order)):
        outs = locked[stage].get("outs", [])
        wrong = [fault for out in outs if (fault := _fault(root, out))]
        num_right = len(outs) - len(wrong)
        # a stage made from other code or data is named even where its outputs are as they were
        other = [fault for dep in locked[stage].get("deps", []) if (fault := _fault(root, dep))]
        if other:
            more = f"; {len(other) - 1} more" if len(other) > 1 else ""
            wrong.insert(0, f"made from other code or data: {other[0]}{more}")
        yield Checked(stage, num_right, len(outs), wrong)


def bundled() -> Checked:
    """Check the nets that come with the package against SHA256SUMS."""
    if not SUMS.exists():
        raise DataError(f"{SUMS}: no such file, got no sums of the bundled nets; install the package again")
    faults, lines = [], SUMS.read_text().splitlines()
    for line in lines:
        expected, name = line.split()
        path = SUMS.parent / name
        found = sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"
        if found != expected:
            faults.append(f"{path}: sha256 {expected[:8]} became {found[:8]}")
    remedy = "install the package again, or restore them from git"
    return Checked("bundled nets", len(lines) - len(faults), len(lines), faults, remedy)


def _fault(root: Path, entry: dict[str, Any]) -> str | None:
    """Say what is wrong with an output or a dependency of dvc.lock, None for nothing."""
    path, expected = entry["path"], entry.get("md5")
    if not (root / path).exists():
        return f"{path}: not there"
    try:
        found = files.dvc_hash(root / path)
    except OSError as error:
        return f"{path}: cannot be read, {error.strerror}"
    return f"{path}: md5 {str(expected)[:8]} became {found[:8]}" if found != expected else None


def _locked(root: Path) -> dict[str, Any]:
    """Give the stages of dvc.lock."""
    path = root / LOCK
    try:
        stages: dict[str, Any] = YAML(typ="safe").load(path)["stages"]
        named = (each for stage in stages.values() for kind in ("outs", "deps") for each in stage.get(kind, []))
        if not all(isinstance(each["path"], str) for each in named):
            raise TypeError("an output or a dependency without a path")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; stand in the repository's root, or run `dvc repro`") from None
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a lock file, got '{' '.join(str(error).split())}'; restore it from git") from None
    return stages


def _order(root: Path) -> list[str]:
    """Give the stages in the order of dvc.yaml; a matrix stage is one for each item, as DVC names them."""
    path = root / STAGES
    if not path.exists():
        return []
    names = []
    try:
        for name, stage in YAML(typ="safe").load(path)["stages"].items():
            items = [item for each in stage.get("matrix", {}).values() for item in each]
            names += [f"{name}@{item}" for item in items] or [name]
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no stages, got '{' '.join(str(error).split())}'; restore it from git") from None
    return names
