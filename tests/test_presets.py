"""Every preset through every stage, to the end, on a few pictures and steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from handloom import images
from handloom.data.synthetic.archive import write_archive
from handloom.params import Params
from pipeline import layout, preset, steps

ROOT = Path.cwd()
PICTURES = {"num_training": 40, "num_evaluation": 12}
BRIEF = {"batch_size": 4, "parts": 1, "validate_every": 5, "checkpoint_every": 5, "gate_after": 0}
EPOCHS = 0.2
"""Two steps where a set has forty rows; cut-outs and crops make it a few more."""


def reduced(name: str, archive: Path) -> dict[str, Any]:
    """Give a preset's params with its budget cut: pictures, steps, resamples. Sizes, nets and losses stay its own."""
    params: dict[str, Any] = YAML(typ="safe").load(preset.render(name))
    params["download"]["synthetic"] |= PICTURES
    params["download"]["rhd"]["zip"] = str(archive)
    params["preprocess"] |= {"val_fraction": 0.15, "cutouts": params["preprocess"]["cutouts"] | PICTURES}
    for net in ("segment", "pose"):
        params[net] |= BRIEF | {"epochs": EPOCHS}
    params["gestures"] |= {"num_hands": 1000, "epochs": 1.0}
    params["lift"] |= {"epochs": 1.0, "batch_size": 8}
    params["evaluate"] |= {"batch_size": 4, "resamples": 100, "num_pictures": 6}
    params["export"] |= {"batch_size": 4, "calibration_pictures": 4, "max_drop": 1.0}
    return params


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipeline in an empty folder, with three hands cut out of pictures and a store of its own."""
    for name in ("dvc.yaml", "src", "presets", "weights"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in layout.USERS:
        (tmp_path / folder).mkdir(parents=True)
    mask = np.zeros((60, 50), np.uint8)
    mask[5:60, 10:40] = 255
    for kind, content in (("images", np.full((60, 50, 3), 160, np.uint8)), ("masks", mask)):
        for number in range(3):
            path = tmp_path / layout.CUTOUTS / "some" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images.encode_png(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", preset.names())
def test_a_preset_runs_to_the_end(name: str, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = tmp_path_factory.mktemp("rhd") / "RHD_v1-1.zip"
    if name == "rhd":
        write_archive(archive, seed=3, **PICTURES)
    params = reduced(name, archive)
    YAML().dump(params, workplace / layout.PARAMS)
    Params.load(workplace / layout.PARAMS)
    steps.download()
    steps.preprocess()
    for net in ("segment", "pose"):
        steps.train(net)
    for stage in (steps.evaluate, steps.export, steps.gestures, steps.lift):
        stage()
    made = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for each in made.values():
        for out in (*each.get("outs", ()), *each.get("metrics", ()), *each.get("plots", ())):
            path = out if isinstance(out, str) else next(iter(out))
            for net in ("segment", "pose"):
                assert Path(path.replace("${item.net}", net)).exists()
