from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from handloom import gestures, images
from handloom.checkpoint import Model, load_model
from handloom.data.rhd import SPLITS, RhdArchive
from handloom.data.source import Sample
from handloom.errors import CheckpointError
from handloom.geometry import Box
from handloom.inference import CLOSER, HAND, HandFinder, KeypointNets, Reading, Regions, _owners, without_padding
from handloom.metrics import iou, overlap
from handloom.models.upright import single
from handloom.params import BEFORE, BEFORE_AUGMENT
from handloom.perceptron import Perceptron
from handloom.skeleton import MIDDLE_MCP


def regions(text: str, height: int, width: int) -> Regions:
    """Digits are hands' pixels, surely; dots are surely none, and `+` is hand that no label claims."""
    signs = np.array([list(line) for line in text.split()])
    labels = np.where(np.char.isdigit(signs), signs, "0").astype(np.uint8)
    return Regions(np.where(signs == ".", -4.0, 4.0).astype(np.float32), labels, height, width)


def test_a_mask_of_the_nets_own_size_is_its_label() -> None:
    said = regions("11.2 11.2 .+.2 ....", 4, 4)
    assert said.mask(1).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert said.mask(2).sum() == 3


def test_hands_that_touch_part_in_the_middle_of_the_picture() -> None:
    said = regions("1122 1122 1122 1122", 8, 8)
    assert said.mask(1).tolist() == [[True] * 4 + [False] * 4] * 8
    assert not (said.mask(1) & said.mask(2)).any()


def test_what_pads_a_picture_to_a_square_is_no_part_of_its_masks() -> None:
    said = regions("1111 1111 1111 ....", 60, 100)
    assert said.mask(1).shape == (60, 100)
    assert said.mask(1).all()
    (box,) = said.boxes()
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 100, 60)


def test_no_hand_is_seen_in_the_padding() -> None:
    maps = np.full((1, 2, 8, 8), 3.0, np.float32)
    without_padding(maps, 80, 80)
    assert (maps == 3).all()
    without_padding(maps, 30, 80)  # 3 of 8 rows hold some of the picture
    assert (maps[:, 1] == 3).all()
    assert (maps[0, 0, :3] == 3).all()
    assert (maps[0, 0, 3:] == -10).all()


def test_regions_that_are_read_alike_are_parts_of_one_hand() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (21, 2)).astype(np.float32)
    seen = np.ones(21, np.float32)
    readings = [Reading(points + shift, seen, 0.5, 1.0, nets=KeypointNets()) for shift in (0, 60, 3)]
    owners = _owners(readings, np.array([0.6, 0.9, 0.8]))
    assert owners.tolist() == [2, 1, 2]
    joined = regions("1233 1233 1..3 1...", 4, 4).numbered(owners + 1)
    assert joined.labels.tolist() == [[3, 2, 3, 3], [3, 2, 3, 3], [3, 0, 0, 3], [3, 0, 0, 0]]
    box = joined.box(3)
    assert (box.left, box.top, box.right, box.bottom) == (0, 0, 4, 4)


def test_the_bundled_nets_find_the_hands_of_rendered_pictures(archive: Path) -> None:
    finder, near = HandFinder.load(), []
    with RhdArchive(archive) as raw:
        for split, sample in ((part, number) for part in SPLITS for number in raw.ids(part)):
            hands, annotation = finder(raw.color(split, sample)), raw.annotation(split, sample)
            for side in ("left", "right"):
                true, visible, _ = annotation.hand(side)
                if visible.sum() > 15:
                    apart = [np.linalg.norm(h.keypoints_px - true, axis=1)[visible].mean() for h in hands]
                    near.append(min(apart, default=np.inf) < 0.2 * np.ptp(true, axis=0).max())
    assert np.mean(near) > 0.7
    assert len(near) > 30


def samples(archive: Path) -> Iterator[Sample]:
    """Give every sample of both splits."""
    with RhdArchive(archive) as raw:
        for split in SPLITS:
            for sample in raw.ids(split):
                yield raw.sample(split, sample)


def test_a_closer_look_makes_masks_better(archive: Path) -> None:
    plain, closer = HandFinder.load(), HandFinder.load(closer=CLOSER)
    ious = []
    for seen in samples(archive):
        true = images.shrink_labels(seen.mask, plain.size) > 0
        said = np.stack([finder.regions(seen.picture).labels > 0 for finder in (plain, closer)])
        ious.append(iou(*overlap(said, np.stack([true, true]))))
    before, after = np.mean(ious, axis=0)
    assert after > before + 0.01


def union(found: Regions, shape: tuple[int, ...]) -> np.ndarray:
    """Give all hands' masks as one."""
    own = [found.mask(hand) for hand in range(1, int(found.labels.max()) + 1)]
    return np.asarray(np.any([np.zeros(shape, bool), *own], axis=0))


def test_masks_that_follow_edges_are_nearer_to_the_true_ones(archive: Path) -> None:
    finders = HandFinder.load(), HandFinder.load(edges=True)
    ious = []
    for seen in samples(archive):
        found = [finder.regions(seen.picture) for finder in finders]
        said = [union(each, seen.mask.shape) for each in found]
        ious.append(iou(*overlap(np.stack(said), np.stack([seen.mask > 0] * 2))))
    before, after = np.mean(ious, axis=0)
    assert after > before + 0.004


def pointing(x: float, y: float) -> Reading:
    """A hand whose middle finger begins at (x, y) of its wrist."""
    points = np.zeros((21, 2), np.float32)
    points[MIDDLE_MCP] = x, y
    return Reading(points, np.ones(21, np.float32), 1.0, 1.0, nets=KeypointNets())


def test_a_known_hand_is_read_once_and_as_it_stands(models: Path) -> None:
    finder, picture = HandFinder.load(models), np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    readings: list[int] = []
    single(finder.pose.net).register_forward_hook(lambda *_: readings.append(1))
    crop = [Box(0, 0, 100, 100)]
    finder.read(picture, crop)
    assert len(readings) == 2
    (lying,) = finder.read(picture, crop, [pointing(10, 0)])
    (standing,) = finder.read(np.ascontiguousarray(np.rot90(picture)), crop, [pointing(0, -10)])
    assert len(readings) == 4
    x, y = standing.keypoints_px.T
    apart = np.linalg.norm(lying.keypoints_px - np.stack([99 - y, x], axis=1), axis=1)
    assert (apart < 0.1).mean() > 0.8  # a map of two peaks may be read either way
    assert abs(lying.score - standing.score) < 0.001


def test_a_score_is_of_both_looks_at_a_hand(models: Path) -> None:
    finder, picture = HandFinder.load(models), np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    looks: list[float] = []
    single(finder.pose.net).register_forward_hook(lambda *args: looks.append(float(args[2].numbers[0, HAND])))
    (reading,) = finder.read(picture, [Box(0, 0, 100, 100)])
    first, second = looks
    assert first != pytest.approx(second, abs=1e-4)
    assert reading.score == pytest.approx(expit((first + second) / 2), abs=1e-6)


def test_nets_of_another_version_are_named(models: Path) -> None:
    segment, pose = (load_model(models / f"{name}.safetensors", name) for name in ("segment", "pose"))
    lacking = {name: value for name, value in pose.about["params"].items() if name not in BEFORE}
    lacking["augment"] = {name: value for name, value in lacking["augment"].items() if name not in BEFORE_AUGMENT}
    HandFinder(segment, Model(pose.net, {**pose.about, "params": lacking}))  # of before these were there: all is known
    older = {name: value for name, value in pose.about["params"].items() if name != "hand_weight"}
    with pytest.raises(
        CheckpointError, match=r"pose net: of another version of handloom, got other params 'pose.hand_weight'; train"
    ):
        HandFinder(segment, Model(pose.net, {**pose.about, "params": older}))
    bare = {name: value for name, value in pose.about["params"].items() if name != "augment"}
    with pytest.raises(CheckpointError, match=r"other params '(pose\.augment\.\w+, )+"):
        HandFinder(segment, Model(pose.net, {**pose.about, "params": bare}))


def test_a_reading_says_what_is_likelier() -> None:
    reading = Reading(
        np.zeros((2, 2), np.float32), np.array([0.4, 0.6], np.float32), right=0.2, score=1.0, nets=KeypointNets()
    )
    assert reading.visible.tolist() == [False, True]
    assert reading.handedness == "left"


def test_a_folder_s_own_small_nets_go_before_the_bundled_ones(models: Path, tmp_path: Path) -> None:
    for path in models.glob("*.safetensors"):
        (tmp_path / path.name).symlink_to(path)
    always_ok = np.zeros(len(gestures.NAMES), np.float32)
    always_ok[gestures.NAMES.index("ok")] = 9
    Perceptron(((np.zeros((len(always_ok), gestures.INPUTS), np.float32), always_ok),)).write(
        tmp_path / "gestures.safetensors"
    )
    finder, crops = HandFinder.load(tmp_path), [Box(0, 0, 64, 64)]
    (reading,) = finder.read(np.zeros((64, 64, 3), np.uint8), crops)
    assert reading.gesture.name == "ok"
    assert reading.keypoints_3d is not None  # by the bundled net
    Perceptron(()).write(tmp_path / "lift.safetensors")
    (reading,) = HandFinder.load(tmp_path).read(np.zeros((64, 64, 3), np.uint8), crops)
    assert reading.keypoints_3d is None
