"""The registered model in a real MLflow store, opened as MLflow opens it and served by MLflow's own server."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from handloom import images, tracking
from handloom.errors import CheckpointError
from handloom.images import Picture
from handloom.inference import HandFinder
from handloom.results import answer

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own dependencies warn


@pytest.fixture(scope="module")
def picture() -> Picture:
    return np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)


@pytest.fixture(scope="module")
def store(exported: Path, models: Path, picture: Picture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store in which the model of two small nets is registered."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("DVC_ROOT", str(folder))
        asked = pd.DataFrame({"picture": [images.encode_png(picture)]})
        said = [answer(picture, HandFinder.load(models)(picture, min_score=0))]
        assert said[0]["hands"]
        with tracking.run("export", "k", {}, {}) as run:
            nets = {net: exported / f"{net}.onnx" for net in ("segment", "pose")}
            run.model(nets, asked, {"min_score": 0.5}, said)
            assert isinstance(run, tracking.MlflowRun)
            assert run.client
        yield folder


def test_a_registered_model_opens_by_its_address(store: Path, models: Path, picture: Picture) -> None:
    said = HandFinder.load("models:/handloom@current")(picture, min_score=0)
    true = HandFinder.load(models)(picture, min_score=0)
    assert len(said) == len(true) > 0
    for a, b in zip(said, true, strict=True):
        assert np.abs(a.keypoints_px - b.keypoints_px).max() < 0.1
        assert (a.mask == b.mask).mean() > 0.999


def test_an_address_without_a_model_is_said_in_one_line(store: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"^models:/nothing/1: no such model in sqlite:.* run `dvc repro export`$"
    ):
        HandFinder.load("models:/nothing/1")


def test_nothing_of_it_is_pickled(store: Path) -> None:
    kinds = {path.suffix for path in (store / "mlartifacts").rglob("*") if path.is_file()}
    assert kinds.isdisjoint({".pkl", ".pickle", ".joblib", ".pt", ".pt2", ".pth"})
    assert ".onnx" in kinds


@pytest.mark.slow
def test_mlflow_serves_it_and_it_answers_a_picture(store: Path, models: Path, picture: Picture) -> None:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/handloom@current"]
    command += ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    env = os.environ | {"MLFLOW_TRACKING_URI": tracking.store(), "OMP_NUM_THREADS": "1"}
    with (store / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        row = asked(port, server, images.encode_png(picture))
        body = {"dataframe_split": {"columns": ["picture"], "data": [[base64.b64encode(b"no picture").decode()]]}}
        refused = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)
    assert refused.status_code == 400
    assert refused.json()["message"].endswith("picture: not a readable picture, got 'an unknown kind'; replace it")
    true = answer(picture, HandFinder.load(models)(picture, min_score=0))
    assert [len(row["hands"]), row["width"], row["height"]] == [len(true["hands"]), 120, 90]
    points, expected = (np.array([hand["keypoints"] for hand in said["hands"]]) for said in (row, true))
    assert np.abs(points - expected)[..., :2].max() < 0.1
    with Image.open(io.BytesIO(base64.b64decode(row["mask"]))) as mask:
        assert mask.size == (120, 90)


def asked(port: int, server: "subprocess.Popen[bytes]", content: bytes) -> dict[str, Any]:
    """Ask for every hand of a picture, once the server answers."""
    body = {
        "dataframe_split": {"columns": ["picture"], "data": [[base64.b64encode(content).decode()]]},
        "params": {"min_score": 0.0},
    }
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            if requests.get(f"http://127.0.0.1:{port}/ping", timeout=2).ok:
                break
        except requests.ConnectionError:
            time.sleep(0.5)
    response = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    assert response.ok, response.text
    (row,) = json.loads(response.text)["predictions"]
    found: dict[str, Any] = row
    return found
