import os
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same bits twice are promised on a CPU alone

import pytest
import torch
from hypothesis import settings

from handloom import export
from handloom.checkpoint import load_model, save_model
from handloom.data.prepare import prepare
from handloom.data.rhd import RhdSource
from handloom.data.synthetic.archive import write_archive
from handloom.models.build import build
from handloom.params import Params
from handloom.tasks import POSE, SEGMENT, TASKS

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")
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
    prepare(
        [RhdSource("synthetic", archive)],
        folder,
        params.preprocess.model_copy(update={"val_fraction": 0.25}),
        workers=2,
    )
    return folder


TINY = {"width": 4, "depth": 2, "stem": 2, "decoder": 0.5, "cap": 8}


@pytest.fixture(scope="session")
def models(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small nets that have learnt nothing."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for task, section in ((SEGMENT, params.segment), (POSE, params.pose)):
        chosen = section.model_copy(update={"model": section.model.model_copy(update=TINY)})
        about = {
            "task": task.name,
            "outputs": task.outputs(chosen),
            "params": chosen.model_dump(),
            "facts": {
                "sources": ["synthetic"],
                "weights": {"synthetic": 1.0},
                "rows": {"train": 18},
                "image_size": 128,
                "crop_scale": 1.3,
            },
        }
        net = build(*task.outputs(chosen), chosen.model.model_dump())
        next(head for name, head in net.named_modules() if name.endswith("head")).bias.data[0] += (
            0.5  # so that they see hands, if not where they are
        )
        save_model(folder / f"{task.name}.safetensors", net, about)
    return folder


@pytest.fixture(scope="session")
def exported(models: Path, prepared: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both nets as ONNX, in both forms."""
    folder = tmp_path_factory.mktemp("onnx")
    any_drop = params.export.model_copy(update={"max_drop": 1.0})  # what has learnt nothing scores by chance
    for name, task in TASKS.items():
        validation = task.data.load(prepared / name, "val")
        made = export.export(load_model(models / f"{name}.safetensors", name), task, validation, any_drop)
        (folder / f"{name}.onnx").write_bytes(made.onnx)
        (folder / f"{name}.int8.onnx").write_bytes(made.int8)
        assert len(made.int8) == made.figures["int8_bytes"]
    return folder
