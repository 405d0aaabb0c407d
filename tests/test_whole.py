from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import ndimage

from handloom import export, images, masks, whole
from handloom.geometry import Box
from handloom.inference import HandFinder


def noise(height: int, width: int, seed: int = 0, blot: int = 4) -> np.ndarray:
    """Blots of so many pixels: a picture whose resampling can go wrong."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // blot + 1, width // blot + 1, 3), np.uint8)
    return np.ascontiguousarray(rough.repeat(blot, axis=0).repeat(blot, axis=1)[:height, :width])


@pytest.mark.parametrize("size", [128, 192])
@pytest.mark.parametrize(("height", "width"), [(128, 128), (320, 320), (333, 215), (97, 411), (60, 80), (600, 800)])
def test_shrinking_is_that_of_images(height: int, width: int, size: int) -> None:
    picture, side = noise(height, width), max(height, width)
    if 2 * size == 3 * side:  # weighs in 36ths: of other values many pixels would lie just between two
        picture = picture // 36 * 36
    square = np.zeros((side, side, 3), np.uint8)
    square[:height, :width] = picture
    said = whole._shrunk(torch.from_numpy(picture), size).permute(1, 2, 0).numpy()
    assert np.abs(said - images.shrink(square, size)).max() <= 1
    assert (said != images.shrink(square, size)).mean() < 0.03  # halves that round either way


@pytest.mark.parametrize(
    "box",
    [
        Box(40, 30, 140, 130),
        Box(-30.5, 20.25, 169.5, 220.25),
        Box(10.2, 5.1, 50.6, 45.5),
        Box(-60, -220, 290, 130),
        Box(4.3, -2.6, 136.3, 129.4),
        Box(20, -10, 260, 230),
    ],
)
def test_cropping_is_that_of_images(box: Box) -> None:
    picture = noise(200, 260)
    corner, side = torch.tensor([[box.left, box.top]]), torch.tensor([[box.side]])
    said = whole._cropped(torch.from_numpy(picture), corner, side, 64)[0].permute(1, 2, 0).numpy()
    apart = np.abs(said - images.crop(picture, box, 64))
    most, share = (2, 0.2) if box.side >= 128 else (1, 0.03)  # the squares of a large box are rounded as well
    assert apart.max() <= most
    assert (apart > 0).mean() < share


def test_fragments_are_scipys() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, (128, 128)), 2) > 0.05
    numbers = whole._fragments(torch.from_numpy(mask).long())
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    pairs = {(int(a), int(b)) for a, b in zip(labels.ravel(), numbers.ravel(), strict=True)}
    assert len(pairs) == count + 1  # one number for each label
    assert sorted(filter(None, whole._sizes(numbers).int().tolist())) == sorted(np.bincount(labels[mask])[1:].tolist())


def test_enlarging_labels_is_that_of_masks() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (16, 16)) * (np.arange(16) % 4 > 0)
    fine = np.random.default_rng(1).random((32, 32)) > 0.3
    said = whole._enlarged(torch.from_numpy(labels), torch.from_numpy(fine)).numpy()
    assert (said == masks._enlarged(labels, fine)).all()


@pytest.mark.parametrize("sided", [False, True])
def test_parting_is_that_of_masks(sided: bool) -> None:
    mask = np.zeros((128, 128), bool)
    mask[30:60, 20:90] = mask[100:104, 100:104] = True
    columns = np.broadcast_to(np.where(np.arange(128) < 55, 0.3, 0.55), (128, 128))
    upper = np.arange(128)[:, None] < 42
    rows = np.broadcast_to(np.where(upper, 0.3, 0.4) if sided else 0.36, (128, 128))
    votes = np.stack([columns, rows]).astype(np.float32)
    votes += np.random.default_rng(0).normal(0, 0.01, votes.shape).astype(np.float32)
    right = np.where(upper, -2.0, 2.0) * np.ones((128, 128)) if sided else None
    labels = masks.part(mask, votes, right)
    said = whole._parted(*(None if each is None else torch.from_numpy(each) for each in (mask, votes, right))).numpy()
    assert labels.max() == 2  # by place, or by side: the other cut is between parts of one side
    assert not labels[100:104, 100:104].any()
    pairs = {(int(a), int(b)) for a, b in zip(said.ravel(), labels.ravel(), strict=True)}
    assert len(pairs) == labels.max() + 1
    assert (0, 0) in pairs


@pytest.fixture(scope="module")
def finder(models: Path) -> HandFinder:
    return HandFinder.load(models)


@pytest.fixture(scope="module")
def session(finder: HandFinder) -> onnxruntime.InferenceSession:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "COMPARED_SCORE", 0.0)  # untrained nets are never sure
        content, alike = export.whole(finder, np.stack([noise(160, 100, seed, blot=40) for seed in range(4)]))
    assert alike >= export.MIN_AGREEMENT
    return onnxruntime.InferenceSession(content)


@pytest.mark.parametrize(("height", "width"), [(160, 100), (333, 215), (100, 170), (60, 240)])
def test_one_file_gives_the_finders_hands(
    height: int, width: int, finder: HandFinder, session: onnxruntime.InferenceSession
) -> None:
    picture = noise(height, width, seed=1, blot=40)
    said = whole.Hands(*session.run(None, {"picture": picture, "min_score": np.array(0, np.float32)}))
    found = finder(picture, min_score=0)
    assert 0 < len(found) <= whole.MAX_HANDS
    assert len(said.scores) == len(found)
    for hand, box, keypoints, right, score in zip(
        found, said.boxes, said.keypoints, said.right, said.scores, strict=True
    ):
        assert np.abs(np.array([hand.box.left, hand.box.top, hand.box.right, hand.box.bottom]) - box).max() < 0.01
        assert np.abs(hand.keypoint_confidence - keypoints[:, 2]).max() < 0.01
        assert max(abs(hand.right - right), abs(hand.score - score)) < 0.01
    assert (finder.regions(picture).labels != said.labels).mean() < 0.001


def test_a_score_that_none_reaches_gives_no_hand(session: onnxruntime.InferenceSession) -> None:
    said = whole.Hands(*session.run(None, {"picture": noise(90, 70), "min_score": np.array(1.1, np.float32)}))
    assert said.keypoints.shape == (0, 21, 3)
    assert said.boxes.shape == (0, 4)
