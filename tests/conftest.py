import os
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same bits twice are promised on a CPU alone

import pytest
import torch

from handloom.data.prepare import prepare
from handloom.data.synthetic.archive import write_archive
from handloom.params import Params

torch.set_num_threads(1)  # 309 s became 20 s: two threads wait for each other on nets this small


@pytest.fixture(scope="session")
def params() -> Params:
    return Params.load(Path("presets/default.yaml"))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered archive of 24 training and 8 evaluation samples."""
    path = tmp_path_factory.mktemp("raw") / "synthetic.zip"
    write_archive(path, seed=7, num_training=24, num_evaluation=8, workers=2)
    return path


@pytest.fixture(scope="session")
def prepared(archive: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What preprocess makes of it."""
    folder = tmp_path_factory.mktemp("data") / "prepared"
    prepare(archive, folder, params.preprocess.model_copy(update={"val_fraction": 0.25}), workers=2)
    return folder
