"""Nets that say exactly the truth, or exactly what is wrong with it, scored by the real evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from handloom import heatmaps, images, plots
from handloom.checkpoint import Model
from handloom.data.prepared import PoseSet, SegmentSet
from handloom.data.rhd import RhdArchive
from handloom.evaluation import FlipTest, ScaleTest, evaluate_pose, evaluate_segment
from handloom.inference import HandFinder
from handloom.tasks import POSE


class Oracle(nn.Module):
    """Gives prepared logits, row after row, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.place, self.logits = nn.Parameter(torch.zeros(1)), logits
        self.row = 0

    def forward(self, shown: Tensor) -> Tensor:
        """Give the next rows."""
        self.row += len(shown)
        return self.logits[self.row - len(shown) : self.row]


def model(logits: Tensor) -> Model:
    return Model(Oracle(logits), {"facts": {"image_size": 128, "crop_scale": 1.3}})


def mask_logits(masks: np.ndarray) -> Tensor:
    return torch.from_numpy(masks > 0).float().unsqueeze(1) * 20 - 10


def heatmap_logits(points: np.ndarray) -> Tensor:
    centres = heatmaps.to_map(torch.from_numpy(points.copy()), 2)
    x, y = (heatmaps.encode(centres[..., axis], 64, 1.0) for axis in (0, 1))
    return (y.unsqueeze(-1) * x.unsqueeze(-2)).clamp(min=1e-30).log()


@pytest.fixture
def masks(prepared: Path) -> SegmentSet:
    return SegmentSet.load(prepared / "segment", "test")


@pytest.fixture
def hands(prepared: Path) -> PoseSet:
    return PoseSet.load(prepared / "pose", "test")


def test_true_masks_score_one_and_shifted_ones_what_they_overlap(masks: SegmentSet) -> None:
    perfect = evaluate_segment(model(mask_logits(masks.masks[:])), masks, batch_size=3, flip=False, scales=[1.0])
    assert perfect.scores == {"num_pictures": 8, "iou_mean": 1.0, "iou_median": 1.0, "iou_pooled": 1.0}
    moved = np.roll(masks.masks[:], 3, axis=2)
    shifted = evaluate_segment(model(mask_logits(moved)), masks, batch_size=3, flip=False, scales=[1.0])
    true, said = masks.masks[:] > 0, moved > 0
    by_hand = [(t & s).sum() / (t | s).sum() for t, s in zip(true, said, strict=True)]
    assert shifted.samples["iou"].tolist() == pytest.approx(by_hand)
    assert shifted.scores["iou_mean"] == pytest.approx(np.mean(by_hand))


def test_true_keypoints_score_nearly_nothing_wrong(hands: PoseSet) -> None:
    report = evaluate_pose(model(heatmap_logits(hands.keypoints[:])), hands, batch_size=4, flip=False)
    assert report.scores["epe_mean_px"] < 0.1
    assert report.scores["pck_0.2"] == 1.0
    assert report.scores["auc_30px"] == pytest.approx(0.95)


def test_the_flip_test_is_the_mean_with_the_mirror_image() -> None:
    class Cumulative(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.cumsum(dim=-1)

    row = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 1, 3)
    # from the left 1, 11, 111; from the right 111, 110, 100
    assert FlipTest(Cumulative())(row).flatten().tolist() == [56.0, 60.5, 105.5]


def test_the_scale_test_is_the_mean_over_sizes_at_the_pictures_own() -> None:
    class Width(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full((len(images), 1, images.shape[-1] // 2, images.shape[-1] // 2), float(images.shape[-1]))

    said = ScaleTest(Width(), [1.0, 1.5])(torch.zeros(2, 3, 32, 32))
    assert torch.equal(said, torch.full((2, 1, 32, 32), 40.0))  # (32 + 48) / 2


def test_errors_are_counted_in_pixels_of_the_source_picture(hands: PoseSet) -> None:
    moved = hands.keypoints[:].copy()
    moved[..., 0] += np.where(moved[..., 0] > 64, -4, 4)  # 4 px of the crop, towards its middle
    report = evaluate_pose(model(heatmap_logits(moved)), hands, batch_size=4, flip=False)
    per_hand = 4 * (hands.boxes[:, 2] - hands.boxes[:, 0]) / 128
    assert np.allclose(report.samples["epe_px"], per_hand, atol=0.15)
    counts = hands.visible.sum(axis=1)
    assert report.scores["epe_mean_px"] == pytest.approx((per_hand * counts).sum() / counts.sum(), abs=0.1)
    assert report.tables["keypoints"]["num_visible"].sum() == counts.sum()


def test_a_finder_with_true_nets_finds_the_annotated_hands(archive: Path, masks: SegmentSet, hands: PoseSet) -> None:
    with RhdArchive(archive) as raw:
        row = next(
            r for r in range(len(masks)) if (hands.ids == masks.ids[r]).sum() == 1 == len(np.unique(masks.masks[r])) - 1
        )
        sample = int(masks.ids[row])
        hand = int(np.flatnonzero(hands.ids == sample)[0])
        picture = raw.color("evaluation", sample)
    truth: Any = hands.box(hand).to_image(hands.keypoints[hand], 128)
    finder = HandFinder(model(mask_logits(masks.masks[row : row + 1])), model(torch.zeros(1, 21, 64, 64)))
    box, step = finder(picture)[0].box, 320 / 128
    tight = hands.box(hand).square(1 / 1.3)  # the crop is 1.3 times the longer side of the mask's box
    assert abs(box.side - tight.side) <= 2 * step
    assert abs((box.left + box.right) - (tight.left + tight.right)) / 2 <= step
    assert abs((box.top + box.bottom) - (tight.top + tight.bottom)) / 2 <= step
    in_crop = hands.box(hand).square(1 / 1.3).square(1.3).to_crop(truth, 128)
    finder = HandFinder(model(mask_logits(masks.masks[row : row + 1])), model(heatmap_logits(in_crop[None])))
    said = finder.read_hand(picture, hands.box(hand).square(1 / 1.3)).keypoints_px
    visible = hands.visible[hand]
    assert np.abs(said - truth)[visible].max() < 0.5


def test_a_picture_without_hands_gives_no_hand() -> None:
    finder = HandFinder(model(mask_logits(np.zeros((1, 128, 128)))), model(torch.zeros(1, 21, 64, 64)))
    assert finder(np.zeros((200, 300, 3), np.uint8)) == []


def test_figures_are_pictures_of_the_expected_size(masks: SegmentSet, hands: PoseSet, tmp_path: Path) -> None:
    report = evaluate_pose(model(heatmap_logits(hands.keypoints[:])), hands, batch_size=4, flip=False)
    png = plots.keypoint_pictures(POSE, report.predictions, hands, 4)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    with Image.open(path) as image:
        assert image.size == (6 * 260 - 4, 256)
    assert images.read(path).std() > 10
    again = plots.pck_curve(report.tables["pck"], report.tables["keypoints"])
    assert again == plots.pck_curve(report.tables["pck"], report.tables["keypoints"])
    assert plots.spread(9, 3) == [0, 4, 8]
