"""Masks of real pictures: hands whose side nobody said, and pixels that count in nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from handloom import images, metrics
from handloom.data.mixture import Mixture
from handloom.data.prepare import prepare
from handloom.data.prepared import PoseSet, SegmentSet, load_facts
from handloom.data.rhd import RhdSource
from handloom.data.rows import _hands
from handloom.data.source import IGNORE, LEFT, RIGHT, UNKNOWN, Hand, Sample, numbered
from handloom.errors import DataError
from handloom.models.unet import Output
from handloom.params import Params
from handloom.tasks import POSE, SEGMENT

ART = """
    . l l . .
    . l l . 3
    r r . . 3
    r r . x x
    . . . x 4
"""
LETTERS = {".": 0, "l": LEFT, "r": RIGHT, "3": UNKNOWN, "4": UNKNOWN + 1, "x": IGNORE}


def drawn(art: str = ART, times: int = 32) -> np.ndarray:
    small = np.array([[LETTERS[letter] for letter in line.split()] for line in art.split("\n") if line.strip()])
    return small.repeat(times, axis=0).repeat(times, axis=1).astype(np.uint8)


def one_picture(mask: np.ndarray) -> SegmentSet:
    picture = np.zeros((1, *mask.shape, 3), np.uint8)
    row = np.zeros(1, np.int32)
    return SegmentSet(picture, mask[None], row, row.astype(np.uint8), len(mask), ("mine",), Mixture.of_all(1))


def test_a_target_tells_hands_sides_and_what_counts(params: Params) -> None:
    still = params.segment.augment.model_copy(update=dict.fromkeys(type(params.segment.augment).model_fields, 0.0))
    mask = drawn()
    masks, rows = one_picture(mask), np.zeros(1, np.int64)
    expected = {
        "hand": np.isin(mask, (LEFT, RIGHT, UNKNOWN, UNKNOWN + 1)),
        "right": mask == RIGHT,
        "sided": np.isin(mask, (LEFT, RIGHT)),
        "counted": mask != IGNORE,
    }
    for _, target in (masks.batch(rows), masks.augmented(rows, still, torch.Generator().manual_seed(1))):
        for name, where in expected.items():
            np.testing.assert_array_equal(getattr(target, name)[0].numpy(), where, err_msg=name)
        others = [mask == UNKNOWN, mask == UNKNOWN + 1, mask == UNKNOWN + 2]
        np.testing.assert_array_equal(target.others[0].numpy(), others)
    np.testing.assert_array_equal(masks.hands(0), expected["hand"])


def test_a_mirrored_batch_changes_sides_and_nothing_else(params: Params) -> None:
    none = dict.fromkeys(type(params.segment.augment).model_fields, 0.0)
    mirror = params.segment.augment.model_copy(update=none | {"flip": 1.0})
    masks, rows = one_picture(drawn()), np.zeros(1, np.int64)
    _, plain = masks.batch(rows)
    _, turned = masks.augmented(rows, mirror, torch.Generator().manual_seed(1))
    assert torch.equal(turned.hand, plain.hand.flip(-1))
    assert torch.equal(turned.right, (plain.sided - plain.right).flip(-1))
    assert torch.equal(turned.counted, plain.counted.flip(-1))


def test_what_is_ignored_costs_nothing_whatever_the_net_says_there(params: Params) -> None:
    mask = drawn()
    masks = one_picture(mask)
    _, target = masks.batch(np.zeros(1, np.int64))
    maps = torch.randn(1, 4, *mask.shape, generator=torch.Generator().manual_seed(1))

    def loss(where: np.ndarray) -> float:
        changed = maps.clone()
        changed[:, :, torch.from_numpy(where)] += 3
        return float(SEGMENT.loss(Output(changed, torch.empty(1, 0)), target, params.segment, len(mask)))

    plain = loss(np.zeros(mask.shape, bool))
    assert loss(mask == IGNORE) == pytest.approx(plain, rel=1e-6)
    assert abs(loss(mask == UNKNOWN) - plain) > 0.01
    said = {"masks": masks.hands() | (masks.masks == IGNORE), "sides": np.where(masks.masks == RIGHT, RIGHT, LEFT)}
    assert SEGMENT.score(said, masks)["iou_mean"] == 1
    assert metrics.mask_scores(said["masks"], masks.hands())["iou_mean"] < 1


def test_the_side_of_a_hand_that_nobody_told_is_not_taught(params: Params) -> None:
    mask = np.where(drawn() == 0, 0, UNKNOWN).astype(np.uint8)
    _, target = one_picture(mask).batch(np.zeros(1, np.int64))
    maps = torch.zeros(1, 4, *mask.shape, requires_grad=True)
    SEGMENT.loss(Output(maps, torch.empty(1, 0)), target, params.segment, len(mask)).backward()
    assert maps.grad is not None
    hand, right, x, y = maps.grad[0].abs().sum(dim=(1, 2)).tolist()
    assert right == 0
    assert min(hand, x, y) > 0


def test_hands_of_unknown_side_that_do_not_touch_are_numbered_by_size() -> None:
    mask = drawn("3 . 3 3\n. . 3 3\n3 . . .\n. . 3 .", times=1)
    mask[0, 1] = LEFT
    assert numbered(mask).tolist() == [[4, 1, 3, 3], [0, 0, 3, 3], [5, 0, 0, 0], [0, 0, IGNORE, 0]]


class Photographs:
    """Three pictures of one hand each, wider than high, masks without sides; the last has keypoints."""

    name = "mine"

    def ids(self, split: str) -> list[int]:
        return [0, 1] if split == "training" else [2]

    def group(self, sample_id: int) -> int:
        return sample_id

    def picture(self, split: str, sample_id: int) -> images.Picture:
        return np.full((60, 90, 3), 40 * sample_id, np.uint8)

    def sample(self, split: str, sample_id: int) -> Sample:
        mask = np.zeros((60, 90), np.uint8)
        mask[20:50, 50:80] = UNKNOWN
        mask[:5] = IGNORE
        points = np.linspace((52, 22), (78, 48), 21).astype(np.float32)
        hands = (Hand(UNKNOWN, points, np.ones(21, bool)),) if sample_id == 2 else ()
        return Sample(self.picture(split, sample_id), mask, hands)


@pytest.fixture(scope="module")
def mixed(archive: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "prepared"
    chosen = params.preprocess.model_copy(update={"val_fraction": 0.25})
    prepare([RhdSource("synthetic", archive), Photographs()], folder, chosen, workers=1)
    return folder


def test_sources_share_arrays_and_stay_apart(mixed: Path, prepared: Path) -> None:
    for split, own in (("train", 2), ("test", 1)):
        alone, both = (SegmentSet.load(folder / "segment", split) for folder in (prepared, mixed))
        assert both.names == ("synthetic", "mine")
        assert both.sources.tolist() == [0] * len(alone) + [1] * own
        np.testing.assert_array_equal(both.images[: len(alone)], alone.images)
        np.testing.assert_array_equal(both.masks[: len(alone)], alone.masks)
        # padded below to a square: a third of 128 rows shows nothing
        assert set(np.unique(both.masks[-1])) == {0, UNKNOWN, IGNORE}
        assert not both.masks[-1][86:].any()
    weighted = SegmentSet.load(mixed / "segment", "train", {"synthetic": 0.0, "mine": 1.0})
    assert {both.names[weighted.sources[row]] for row in weighted.mixture.batch(0, 8, 1)} == {"mine"}
    assert load_facts(mixed / "segment")["rows"]["train"] == len(alone_rows(prepared)) + 2


def alone_rows(prepared: Path) -> SegmentSet:
    return SegmentSet.load(prepared / "segment", "train")


def test_a_hand_without_keypoints_teaches_that_it_is_one_and_is_never_scored(mixed: Path, params: Params) -> None:
    train, test = (PoseSet.load(mixed / "pose", split) for split in ("train", "test"))
    own = np.flatnonzero((train.sources == 1) & (train.sides == UNKNOWN))
    assert len(own) == 2
    assert not train.visible[own].any()
    _, target = train.batch(own)
    assert (target.hand.tolist(), target.marked.tolist(), target.sided.tolist()) == ([1, 1], [0, 0], [0, 0])
    numbers = torch.zeros(2, 23, requires_grad=True)
    POSE.loss(Output(torch.zeros(2, 21, 32, 32), numbers), target, params.pose, train.size).backward()
    assert numbers.grad is not None
    assert numbers.grad[:, :22].abs().sum() == 0
    assert (numbers.grad[:, 22] < 0).all()
    scored = np.flatnonzero(test.sources == 1)
    assert (test.ids[scored].tolist(), test.sides[scored].tolist()) == ([2], [UNKNOWN])
    assert test.picture_px[scored].tolist() == [90]
    assert test.to_reference[scored] == pytest.approx([320 / 90])
    assert set(test.to_reference[test.sources == 0]) == {1.0}
    assert test.visible[scored].all()


class Unmasked(Photographs):
    """The same, but the first picture has keypoints and no mask."""

    def sample(self, split: str, sample_id: int) -> Sample:
        full = super().sample(split, sample_id)
        points = np.linspace((52, 22), (78, 48), 21).astype(np.float32)
        return full if sample_id else Sample(full.picture, None, (Hand(LEFT, points, np.ones(21, bool)),))


def test_a_picture_without_a_mask_is_no_row_of_the_mask_net(
    archive: Path, prepared: Path, params: Params, tmp_path: Path
) -> None:
    chosen = params.preprocess.model_copy(update={"val_fraction": 0.25})
    prepare([RhdSource("synthetic", archive), Unmasked()], tmp_path / "p", chosen, workers=1)
    masks, hands = SegmentSet.load(tmp_path / "p" / "segment", "train"), PoseSet.load(tmp_path / "p" / "pose", "train")
    assert masks.ids[masks.sources == 1].tolist() == [1]
    assert load_facts(tmp_path / "p" / "segment")["rows"]["train"] == len(masks) == len(alone_rows(prepared)) + 1
    own = np.flatnonzero((hands.sources == 1) & (hands.ids == 0))
    assert hands.sides[own].tolist() == [LEFT]
    assert hands.visible[own].all()
    assert not hands.masks[own].any()


class OutsideUnmasked(Unmasked):
    """The same of the one that is held out."""

    def sample(self, split: str, sample_id: int) -> Sample:
        full = super().sample(split, sample_id)
        return Sample(full.picture, None, full.hands) if split == "evaluation" else full


class KeypointsAlone(Unmasked):
    """No mask but for the one that is held out."""

    def ids(self, split: str) -> list[int]:
        return [0, 3, 6, 9] if split == "training" else [2]

    def sample(self, split: str, sample_id: int) -> Sample:
        return super().sample(split, sample_id if split == "evaluation" else 0)


def test_what_cannot_be_scored_stops_before_any_training(archive: Path, params: Params, tmp_path: Path) -> None:
    chosen, own = params.preprocess.model_copy(update={"val_fraction": 0.25}), tmp_path / "p"
    with pytest.raises(
        DataError, match=r"mine: picture 2 is held out and has keypoints, got no mask .* evaluation\.txt"
    ):
        prepare([RhdSource("synthetic", archive), OutsideUnmasked()], own, chosen, workers=1)
    with pytest.raises(DataError, match="mine: no picture with a mask for the train split, got '0'; add masks"):
        prepare([KeypointsAlone()], own, chosen, workers=1)


def test_a_marked_hand_takes_its_own_region_whatever_its_side() -> None:
    labels = drawn(". . . 3 3\n. . . 3 3\n4 4 . . .\n4 4 . l .", times=10)
    at = {
        name: np.full((21, 2), xy, np.float32)
        for name, xy in (("three", (40, 10)), ("four", (5, 30)), ("none", (22, 3)))
    }
    seen = np.ones(21, bool)
    hands = (Hand(RIGHT, at["four"], seen), Hand(UNKNOWN, at["none"], seen), Hand(LEFT, at["none"], seen))
    sample = Sample(np.zeros((40, 50, 3), np.uint8), labels, hands)
    first, second, third, fourth = _hands(sample, labels)
    np.testing.assert_array_equal(first[1], labels == UNKNOWN + 1)
    assert second == (hands[1], None)  # no region is its own: its keypoints alone say where it is
    np.testing.assert_array_equal(third[1], labels == LEFT)
    assert fourth[0].keypoints_px is None  # nobody marked it
    np.testing.assert_array_equal(fourth[1], labels == UNKNOWN)


def test_keypoints_without_a_mask_cannot_be_scored_on_a_predicted_crop(mixed: Path) -> None:
    from handloom.evaluation import find_hands

    masks, hands = SegmentSet.load(mixed / "segment", "test"), PoseSet.load(mixed / "pose", "test")
    nothing = np.zeros(masks.masks.shape, np.uint8)
    said = {"labels": nothing, "logits": nothing - 10.0}
    crops = find_hands(said, masks, hands).crops
    assert len(crops) == len(hands)
    last = crops[-1]  # of a picture 90 px wide: four tenths of that
    assert last.width == pytest.approx(36)
    kept = np.flatnonzero(masks.sources == 0)
    fewer = SegmentSet(
        masks.images[kept], masks.masks[kept], masks.ids[kept], masks.sources[kept], 128, masks.names, masks.mixture
    )
    with pytest.raises(DataError, match="mine: picture 2 has keypoints and no mask to compare with"):
        find_hands(said, fewer, hands)
