import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handloom import batch, cli, gestures, inference, media
from handloom.data.rhd import RhdArchive
from handloom.errors import EnvironmentFault


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Two pictures, a broken one and a video."""
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / name)
    (folder / "c.png").write_bytes(b"no picture")
    with media.written(folder / "d.mp4", rate=30) as write:
        for number in range(3):
            write(rng.integers(0, 256, (64, 64, 3), np.uint8), number / 30)
    return folder


def handloom(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from handloom.cli import main; main()", *map(str, words)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_predict_does_what_can_be_done_and_names_the_rest(inputs: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = handloom("predict", inputs, "--models", models, "--out", out, "--masks", "--coco", "--min-score", "0")
    assert done.returncode == 3, done.stderr
    assert f"error: {inputs / 'c.png'}: not a readable picture" in done.stderr
    assert "Traceback" not in done.stderr
    rows = [json.loads(line) for line in (out / "hands.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["a.jpg", "b.png", "d.mp4", "d.mp4", "d.mp4"]
    assert [row["frame"] for row in rows[2:]] == [0, 1, 2]
    assert done.stdout.splitlines()[-1].endswith("in 5 pictures; 1 of 4 inputs failed")
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    overlays = {"overlays/a.jpg", "overlays/b.png", "overlays/d.mp4"}
    assert written == {"hands.jsonl", "hands.coco.json", "masks/a.jpg.png", "masks/b.png", *overlays}
    with Image.open(out / "masks" / "b.png") as mask:
        assert mask.size == (80, 60)
        assert mask.getextrema()[1] == len(rows[1]["hands"])
    assert [picture["file_name"] for picture in json.loads((out / "hands.coco.json").read_text())["images"]] == [
        "a.jpg",
        "b.png",
    ]


def test_predict_reads_each_hand_in_two_ways_unless_told(archive: Path, tmp_path: Path) -> None:
    with RhdArchive(archive) as raw:
        picture = raw.color("training", raw.ids("training")[0])
    Image.fromarray(picture).save(tmp_path / "a.png")
    scores = {}
    for views, words in ((2, ()), (1, ("--views", "1"))):
        done = handloom("predict", tmp_path / "a.png", "--out", tmp_path / "out", "--min-score", "0", *words)
        assert done.returncode == 0, done.stderr
        (row,) = [json.loads(line) for line in (tmp_path / "out" / "hands.jsonl").read_text().splitlines()]
        scores[views] = [hand["score"] for hand in row["hands"]]
        found = inference.HandFinder.load(views=views)(picture, 0.0)
        assert scores[views] == pytest.approx([hand.score for hand in found], abs=1e-3)
    assert scores[1] != scores[2]


def test_no_input_is_written_over(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "overlays"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(folder / name)
    before = (folder / "a.png").read_bytes()
    done = handloom("predict", folder / "a.png", folder / "b.png", "--models", models, "--out", tmp_path)
    assert done.returncode == 3
    assert "a.png: an input would be written over, got" in done.stderr
    assert (folder / "a.png").read_bytes() == before


def test_a_camera_that_is_pulled_out_leaves_what_was_done(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands for it is a video of five frames: a camera's picture that does not come is one that is gone."""
    with media.written(tmp_path / "five.mp4", rate=30) as write:
        for number in range(5):
            write(np.full((64, 64, 3), 60 * number, np.uint8), number / 30)
    opened = media.cv2.VideoCapture
    monkeypatch.setattr(
        media.cv2, "VideoCapture", lambda what: opened(str(tmp_path / "five.mp4") if what == 0 else what)
    )
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    sources = [media.Source("a.png", tmp_path / "a.png"), media.Source("camera-0", None, 0)]
    wanted = batch.Wanted(tmp_path / "out", 0.9, overlays=True, masks=False, coco=True, smooth=True)
    with pytest.raises(EnvironmentFault, match="camera-0: gives nothing"):
        batch.run(inference.HandFinder.load(models), sources, wanted)
    assert len((tmp_path / "out" / "hands.jsonl").read_text().splitlines()) == 6
    assert len(json.loads((tmp_path / "out" / "hands.coco.json").read_text())["images"]) == 1
    assert (tmp_path / "out" / "overlays" / "camera-0.mp4").stat().st_size > 0


def test_nothing_is_told_to_the_makers_of_what_runs_the_nets(tmp_path: Path) -> None:
    """Where ONNX Runtime may, it makes itself an identifier in the home folder as soon as it is imported, to send."""
    env = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    code = "import numpy, handloom.inference as i; i.HandFinder.load()(numpy.zeros((9, 9, 3), numpy.uint8))"
    subprocess.run([sys.executable, "-c", code], env=env | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_registered_model_where_no_store_is_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    done = handloom("predict", "a.png", "--models", "models:/handloom@current")
    assert done.returncode == 4
    assert done.stderr.startswith("error: models:/handloom@current: no such model, got no store in")
    assert not (tmp_path / "mlflow.db").exists()


def test_names_that_are_too_long_or_written_twice_are_left_out(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "a.jpg.png", "b.png", "手" * 83 + ".jpg"):
        Image.new("RGB", (40, 30)).save(folder / name)
    out = tmp_path / "out"
    done = handloom("predict", folder, "--models", models, "--out", out, "--masks", "--closer", "--edges")
    assert done.returncode == 3
    faults = done.stderr.splitlines()
    assert [line.split(" ")[0] for line in faults] == ["error:", "error:"], done.stderr
    assert "a.jpg.png: another input is written there too, got" in faults[0]
    assert faults[0].endswith("rename one")
    assert faults[1].endswith(": no name for a file, got 'File name too long'; shorten it")
    rows = [json.loads(line)["file"] for line in (out / "hands.jsonl").read_text().splitlines()]
    assert rows == ["a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("predict", "nothing-there"), 2, "error: input: no such file or folder, got 'nothing-there'; check the path"),
        (("predict", "nothing-*.png"), 2, "error: input: no picture or video there, got 'nothing-*.png'"),
        (("predict", "{inputs}", "--models", "{inputs}"), 4, "segment.safetensors: not a model"),
        (
            ("predict", "{inputs}", "--models", "nowhere"),
            4,
            "error: nowhere: must be a folder of nets, got no such folder",
        ),
        (("predict", "camera:9", "--models", "{models}"), 5, "error: camera-9: not there or in use"),
        (("predict",), 2, "Missing argument 'INPUTS...'"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    words: tuple[str, ...], code: int, said: str, inputs: Path, models: Path, tmp_path: Path
) -> None:
    named = [word.format(inputs=inputs, models=models) for word in words]
    out = ["--out", str(tmp_path / "out")] if len(words) > 1 else []
    done = handloom(*named, *out)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == (1 if len(words) > 1 else 4)  # click's own is a usage and a hint


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (400, 20)])
def test_a_picture_of_any_size_and_name_is_taken(size: tuple[int, int], models: Path, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, "png")
    done = handloom("predict", path, "--models", models, "--out", tmp_path / "out", "--masks", "--min-score", "0")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "overlays" / "photo.png") as overlay:
        assert overlay.size == size
    (row,) = map(json.loads, (tmp_path / "out" / "hands.jsonl").read_text().splitlines())
    for hand in row["hands"]:
        left, top, right, bottom = hand["box"]
        assert 0 <= left <= right <= size[0]
        assert 0 <= top <= bottom <= size[1]


def test_a_file_in_the_results_place_is_one_line(inputs: Path, models: Path) -> None:
    done = handloom("predict", inputs / "a.jpg", "--models", models, "--out", inputs / "b.png")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --out: must be a folder, got '{inputs / 'b.png'}', a file")
    assert len(done.stderr.splitlines()) == 1


def test_help_is_instant_for_what_it_imports() -> None:
    heavy = "import sys, handloom.cli; print(sorted({'torch', 'numpy', 'cv2', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_least_score_is_the_same_everywhere() -> None:
    (asked,) = (each for each in cli.predict.params if each.name == "min_score")
    assert asked.default == inference.MIN_SCORE
    page = Path(inference.__file__).with_name("page").joinpath("index.html").read_text()
    assert f'id="score-value">{inference.MIN_SCORE:.3f}<' in page
    assert f'step="0.001" value="{inference.MIN_SCORE}"' in page
    steps = inference.MIN_SCORE / 0.001
    assert steps == pytest.approx(round(steps))  # or the slider could not say it


def test_help_and_page_name_the_defaults_of_gestures() -> None:
    """Both are written out, for help without numpy and for a browser."""
    defaults = {option.name: option.default for option in cli.gestures.params}
    assert (defaults["min_confidence"], defaults["hold"]) == (gestures.MIN_CONFIDENCE, gestures.HOLD_S)
    page = (Path(cli.__file__).parent / "page" / "demo.js").read_text()
    assert f"const SURE = {gestures.MIN_CONFIDENCE};" in page
