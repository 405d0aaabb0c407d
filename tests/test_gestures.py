import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from handloom import gesture_training, gestures, media, plots
from handloom.cli import handloom
from handloom.data.rhd import RhdSource
from handloom.data.signs import Signs, draw_signs, label_of, labels_in
from handloom.data.synthetic.hand import Shape, pose
from handloom.data.synthetic.poses import NAMED, UNCOMMON
from handloom.errors import CheckpointError, TrainingFailed
from handloom.gestures import NAMES, Commands
from handloom.inference import HandFinder
from handloom.params import Params
from handloom.perceptron import Perceptron
from handloom.tasks import POSE

POSES = {"open": "open_palm", "fist": "fist", "point": "point", "victory": "victory", "ring": "ok", "call": "call",
         "horns": "rock", "three": "three", "three_thumb": "three", "four": "four", "relaxed": "none"}  # fmt: skip


def seen(name: str, degrees: float = 0.0, *, left: bool = False) -> np.ndarray:
    """Keypoints (21, 2), y down, of a pose from the palm's side, fingers up, turned clockwise."""
    shape = Shape(1.0, np.ones((5, 3)), 1.0, 1.0)
    points = pose(shape, (NAMED | UNCOMMON)[name], left=left).joints[:, :2] * [1.0, -1.0]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


@pytest.fixture(scope="module")
def net(params: Params) -> Perceptron:
    return gesture_training.train(params.gestures.model_copy(update={"num_hands": 16_000, "epochs": 40.0}), workers=2)[
        0
    ]


def test_a_net_that_diverges_is_no_net(params: Params) -> None:
    wild = params.gestures.model_copy(update={"num_hands": 1000, "epochs": 5.0, "learning_rate": 1e30})
    with pytest.raises(TrainingFailed, match=r"gestures: diverged, .*; lower gestures\.learning_rate"):
        gesture_training.train(wild, workers=1)


def test_features_know_neither_size_nor_place() -> None:
    one, other = (gestures.features(points[None]) for points in (seen("victory"), seen("victory") * 700 + [90, -20]))
    np.testing.assert_allclose(one, other, atol=1e-4)
    turned = gestures.features(seen("victory", 130)[None])
    np.testing.assert_allclose(one[:, :40], turned[:, :40], atol=1e-4)
    assert np.abs(one[:, 40:44] - turned[:, 40:44]).max() > 0.5


@pytest.mark.parametrize("degrees", [0, 75, 200])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("name", POSES)
def test_poses_have_their_names(name: str, left: bool, degrees: float, net: Perceptron) -> None:
    assert gestures.gesture_of(seen(name, degrees, left=left), net).name == POSES[name]


@pytest.mark.parametrize("name", ["pinch", "pinch_middle", "pinch_ring", "pinch_little", *POSES])
def test_the_bundled_net_knows_them_too(name: str) -> None:
    said = [gestures.gesture_of(seen(name, degrees, left=left)).name for degrees in (0, 140) for left in (False, True)]
    assert said.count(POSES.get(name, "none")) >= 3


@pytest.mark.parametrize(("degrees", "said"), [(90, "up"), (-90, "down")])
def test_a_thumb_points_up_or_down_in_the_picture(degrees: float, said: str, net: Perceptron) -> None:
    points = seen("thumb_up")
    lean = np.degrees(np.arctan2(*(points[4] - points[2]) * [1, -1]))
    upward = seen("thumb_up", 0 - lean + (0 if said == "up" else 180))
    assert NAMES[label_of("thumb_up", upward)] == f"thumb_{said}"
    assert gestures.gesture_of(upward, net).name == f"thumb_{said}"
    sideways = seen("thumb_up", 90 - lean)
    assert NAMES[label_of("thumb_up", sideways)] == "none"


def test_it_names_what_it_has_not_seen(net: Perceptron) -> None:
    hands = draw_signs([99, 1], 1500)
    assert (gestures.probabilities(hands.keypoints, net).argmax(axis=1) == hands.labels).mean() > 0.88


def test_the_same_seed_gives_the_same_bytes(params: Params, tmp_path: Path) -> None:
    short = params.gestures.model_copy(update={"num_hands": 1000, "epochs": 2.0})
    for workers in (1, 2):
        gesture_training.train(short, workers=workers)[0].write(tmp_path / str(workers))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    keypoints = draw_signs([1], 3).keypoints
    again = gestures.probabilities(keypoints, gestures.read(tmp_path / "1"))
    np.testing.assert_allclose(again.sum(axis=1), 1, atol=1e-5)


def test_hands_of_an_archive_have_labels(archive: Path, prepared: Path, params: Params) -> None:
    source, own = RhdSource("synthetic", archive), params.download.synthetic.model_copy(update={"seed": 7})
    for split, name in (("training", "train"), ("evaluation", "test")):
        hands = POSE.data.load(prepared / "pose", name)
        labels = gesture_training.labels_of(hands, source, split, own, workers=1)
        assert len(set(labels.tolist()) - {-1}) > 2
        assert (labels[hands.sides[:] == 0] == -1).all()
        other = own.model_copy(update={"seed": 8})
        assert (gesture_training.labels_of(hands, source, split, other, workers=1) == -1).all()
        seen = gesture_training.seen_by(hands.keypoints + 5, hands, labels)
        known = int((labels >= 0).sum())
        assert seen.keypoints.shape == (2 * known, 21, 2)
        np.testing.assert_allclose(seen.keypoints[:known] - 5, seen.keypoints[known:], atol=1e-4)
    nothing = np.zeros((42, 3), np.float32), np.zeros((2, 21, 2), np.float32)
    assert labels_in(own, "evaluation", 0, *nothing) == []


def test_an_archive_of_other_code_teaches_nothing(params: Params) -> None:
    short = params.gestures.model_copy(update={"num_hands": 1000, "epochs": 1.0})
    none = Signs(np.zeros((0, 21, 2), np.float32), np.zeros(0, np.int64))
    (alone, _), (other, _) = (gesture_training.train(short, seen, workers=1) for seen in (None, none))
    hands = draw_signs([1], 20).keypoints
    np.testing.assert_array_equal(gestures.probabilities(hands, alone), gestures.probabilities(hands, other))


def test_hands_nobody_can_name_have_no_accuracy(prepared: Path) -> None:
    hands = POSE.data.load(prepared / "pose", "test")
    unknown = np.full(len(hands), -1)
    found = gesture_training.scores(
        gestures.bundled(), hands, (hands.keypoints[:][None], np.ones((1, len(hands)), np.float32)), unknown
    )
    assert found["num_hands"] == 0
    assert not [name for name in found if "accuracy" in name]
    assert found["confusion_true_keypoints"].sum() == 0
    assert json.loads(json.dumps(found["recall_true_keypoints"])) == {}
    assert plots.confusion({"true": found["confusion_true_keypoints"]}, NAMES).startswith(b"\x89PNG")


def test_what_a_pose_net_says_is_learnt(params: Params) -> None:
    """A net that was shown keypoints upside down knows them so."""
    short = params.gestures.model_copy(update={"num_hands": 4_000, "epochs": 40.0})
    hands = draw_signs([7, 1], 4_000)
    odd = Signs(hands.keypoints[:, ::-1].copy(), hands.labels)
    test = draw_signs([99, 1], 1_000)
    plain, taught = (gesture_training.train(short, seen, workers=2)[0] for seen in (None, odd))
    right = [
        (gestures.probabilities(test.keypoints[:, ::-1], net).argmax(axis=1) == test.labels).mean()
        for net in (plain, taught)
    ]
    assert right[0] < 0.5 < 0.75 < right[1]


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_what_is_no_net_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "g").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"g: not a gestures net, got '.+'; run `dvc repro gestures`"):
        gestures.read(tmp_path / "g")


def said(*names: tuple[str, float, float]) -> list[str]:
    """Commands of (gesture, confidence, seconds it lasts) at 20 frames a second."""
    listener, seconds, found = Commands(min_confidence=0.8, hold_s=0.4), 0.0, []
    for name, confidence, lasts in names:
        for _ in range(round(lasts * 20)):
            found.append(listener(gestures.Gesture(name, confidence), seconds))
            seconds += 0.05
    return [name for name in found if name]


def test_a_command_comes_once_for_each_gesture_that_is_held() -> None:
    assert said(("fist", 0.9, 3.0)) == ["fist"]
    assert said(("fist", 0.9, 0.3), ("point", 0.9, 0.3), ("none", 0.9, 1.0)) == []
    assert said(("fist", 0.7, 3.0)) == []
    assert said(("fist", 0.9, 1.0), ("point", 0.9, 0.2), ("fist", 0.9, 1.0)) == ["fist"]  # a slip between is none
    assert said(("fist", 0.9, 1.0), ("none", 0.9, 0.6), ("fist", 0.9, 1.0)) == ["fist", "fist"]
    assert said(("fist", 0.9, 1.0), ("victory", 0.9, 1.0)) == ["fist", "victory"]


def test_a_video_becomes_lines_that_a_program_can_read(archive: Path, tmp_path: Path) -> None:
    """Four seconds of a rendered hand that the bundled nets see say something: it says it once, not in every frame."""
    source, finder = RhdSource("synthetic", archive), HandFinder.load()
    pictures = (source.picture("training", number) for number in source.ids("training"))
    picture = next(
        each
        for each in pictures
        if len(hands := finder(each)) == 1 and gestures.gesture_of(hands[0].keypoints_px).name != "none"
    )
    with media.written(tmp_path / "a.mp4", 10.0) as write:
        for frame in range(40):
            write(picture, frame / 10)
    done = CliRunner().invoke(handloom, ["gestures", "--video", str(tmp_path / "a.mp4"), "--min-confidence", "0.3"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.output.splitlines()]
    assert 1 <= len(lines) <= 2
    assert all(set(line) == {"seconds", "hand", "handedness", "gesture", "confidence"} for line in lines)
