"""Every path of the pipeline, relative to the repository's root, once."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from handloom.errors import DataError
from handloom.files import PICTURE_SUFFIXES
from handloom.tracking import root

PARAMS = Path("params.yaml")
PRESETS = Path("presets")
RAW = Path("data/raw")
BACKGROUNDS = Path("data/backgrounds")
CUTOUTS = Path("data/cutouts")
OWN = Path("data/own")
USERS = (BACKGROUNDS, CUTOUTS, OWN)
"""Folders that the user may fill."""
PREPARED = Path("data/prepared")
MODELS = Path("models")
ONNX = Path("onnx")
GESTURES = MODELS / "gestures.safetensors"
LIFT = MODELS / "lift.safetensors"
METRICS = Path("metrics")
PLOTS = Path("plots")
FIGURES = Path("figures")
SAMPLES = Path("samples")


def raw(source: str, folder: Path = RAW) -> Path:
    """Give the archive of a source that `download` left in `folder`; raises DataError where there is none."""
    archive = folder / f"{source}.zip"
    if not archive.exists():
        raise DataError(f"{archive}: no such archive, got 'nothing'; run `dvc repro download`")
    return archive


def pictures(folder: Path) -> list[Path]:
    """Give the pictures that the user may have put into a folder."""
    found = (path for path in folder.rglob("*") if not path.name.startswith("."))
    return sorted(path for path in found if path.suffix.lower() in PICTURE_SUFFIXES)


def prepared(net: str) -> Path:
    """Give the folder of a net's arrays."""
    return PREPARED / net


def model(net: str) -> Path:
    """Give the file of a trained net."""
    return MODELS / f"{net}.safetensors"


def training_curve(net: str) -> Path:
    """Give the table of a net's validations."""
    return PLOTS / f"train_{net}.csv"


def downloads() -> Path:
    """Give the folder of downloads: outside DVC's outputs, which are deleted before a stage runs."""
    return root() / "data" / "downloads"


def checkpoints() -> Path:
    """Give the folder of resume state, in the real repository also where DVC runs a stage in a copy of it."""
    return root() / ".checkpoints"


def deps(stage: str, item: str | None = None) -> list[Path]:
    """Give a stage's dependencies as dvc.yaml names them; `item` fills in a matrix stage's net."""
    raw: dict[str, Any] = YAML(typ="safe").load(Path("dvc.yaml"))["stages"][stage]
    return [Path(dep.replace("${item.net}", item or "")) for dep in raw["deps"]]
