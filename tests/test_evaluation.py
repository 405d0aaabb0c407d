"""Nets that say exactly the truth, or exactly what is wrong with it, scored by the real evaluation."""

from dataclasses import replace
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
from handloom.data.rhd import RhdArchive, RhdSource
from handloom.data.source import IGNORE
from handloom.evaluation import (
    LIKELY_SIDE,
    MIN_OVERLAP,
    box_scores,
    evaluate_pose,
    evaluate_segment,
    find_hands,
    heatmap_box_iou,
    recrop,
)
from handloom.geometry import to_images
from handloom.inference import HandFinder
from handloom.models.unet import Output
from handloom.params import Params
from handloom.prediction import CloserTest, FlipTest, ScaleTest
from handloom.tasks import POSE, SEGMENT, Task

FEW = 100
"""Resamples."""


class Oracle(nn.Module):
    """Gives prepared maps, row after row, again and again; mirrored, where it sees its last pictures mirrored."""

    def __init__(self, task: Task, maps: Tensor, numbers: Tensor) -> None:
        super().__init__()
        self.place, self.task, self.maps, self.numbers = nn.Parameter(torch.zeros(1)), task, maps, numbers
        self.row, self.last = 0, torch.zeros(0)

    def forward(self, shown: Tensor) -> Output:
        """Give the next rows."""
        if torch.equal(shown.flip(-1), self.last):
            return self.task.mirror(self.said, getattr(SECTIONS, self.task.name))
        rows = [(self.row + i) % len(self.maps) for i in range(len(shown))]
        self.row += len(shown)
        self.last, self.said = shown, Output(self.maps[rows], self.numbers[rows])
        return self.said


SECTIONS = Params.load(Path("presets/default.yaml"))
PLAIN = SECTIONS.evaluate.model_copy(
    update={"batch_size": 3, "flip_test": False, "mask_scales": [1.0], "resamples": FEW}
)


def masks_said(sides: np.ndarray) -> Model:
    hand, right = (torch.from_numpy(where).float() * 20 - 10 for where in (sides > 0, sides == 2))
    away = torch.from_numpy(ways_to_centres(sides))
    about = {"params": SECTIONS.segment.model_dump(), "facts": {"image_size": 128, "crop_scale": 1.3}}
    return Model(Oracle(SEGMENT, torch.stack([hand, right, *away.unbind(1)], dim=1), torch.zeros(len(hand), 0)), about)


def ways_to_centres(sides: np.ndarray) -> np.ndarray:
    """Give (N, 2, S, S), from each pixel to the mean of its hand's pixels, x and y in sides of the picture."""
    places = np.stack(np.meshgrid(*[(np.arange(sides.shape[-1]) + 0.5) / sides.shape[-1]] * 2)).astype(np.float32)
    away = np.zeros((len(sides), *places.shape), np.float32)
    for row, picture in enumerate(sides):
        for side in set(np.unique(picture)) - {0}:
            own = picture == side
            away[row][:, own] = places[:, own].mean(axis=1, keepdims=True) - places[:, own]
    return away


def said(points: np.ndarray, visible: np.ndarray | None = None, right: np.ndarray | None = None) -> Model:
    centres = heatmaps.to_map(torch.from_numpy(points.copy()), 2)
    x, y = (heatmaps.encode(centres[..., axis], 64, 1.0) for axis in (0, 1))
    numbers = torch.zeros(len(points), 23)
    if visible is not None and right is not None:
        numbers = (
            torch.from_numpy(np.concatenate([visible, right[:, None], right[:, None] >= 0], axis=1)).float() * 20 - 10
        )
    about = {"params": SECTIONS.pose.model_dump(), "facts": {"image_size": 128, "crop_scale": 1.3}}
    return Model(Oracle(POSE, heatmaps.dense(x, y).clamp(min=1e-30).log(), numbers), about)


@pytest.fixture
def masks(prepared: Path) -> SegmentSet:
    return SegmentSet.load(prepared / "segment", "test")


@pytest.fixture
def hands(prepared: Path) -> PoseSet:
    return PoseSet.load(prepared / "pose", "test")


def labels_of(sides: np.ndarray) -> np.ndarray:
    """Number each picture's hands from 1: a lone right hand is 1."""
    return np.where((sides == 2) & ~(sides == 1).any(axis=(1, 2), keepdims=True), 1, sides).astype(np.uint8)


def found_in(labels: np.ndarray) -> dict[str, np.ndarray]:
    return {"labels": labels, "logits": np.where(labels > 0, 10.0, -10.0)}


def evaluated(model: Model, hands: PoseSet, masks: SegmentSet, archive: Path) -> Any:
    found = find_hands(found_in(labels_of(masks.masks[:])), masks, hands)
    return evaluate_pose(model, hands, found, [RhdSource("synthetic", archive)], len(hands), FEW)


def test_true_masks_score_one_and_shifted_ones_what_they_overlap(masks: SegmentSet) -> None:
    perfect = evaluate_segment(masks_said(masks.masks[:]), masks, PLAIN)
    names = ("iou_mean", "iou_median", "iou_pooled", "iou_left", "iou_right", "iou_mean.low", "iou_mean.high")
    names += ("box_precision_0.5", "box_recall_0.5")
    assert perfect.scores == {"num_pictures": 8, **dict.fromkeys(names, 1.0)}
    moved = np.roll(masks.masks[:], 3, axis=2)
    shifted = evaluate_segment(masks_said(moved), masks, PLAIN)
    true, claimed = masks.masks[:] > 0, moved > 0
    by_hand = [(t & s).sum() / (t | s).sum() for t, s in zip(true, claimed, strict=True)]
    assert shifted.samples["iou"].tolist() == pytest.approx(by_hand)
    assert shifted.scores["iou_mean"] == pytest.approx(np.mean(by_hand))
    assert shifted.scores["iou_mean.low"] < shifted.scores["iou_mean"] < shifted.scores["iou_mean.high"]


def test_boxes_that_are_no_hand_cost_precision_and_missed_hands_recall(masks: SegmentSet) -> None:
    true = np.zeros((2, 128, 128), np.uint8)
    true[0, 10:30, 10:30], true[0, 50:70, 50:90], true[1, 20:50, 20:50] = 1, 2, 1
    three = replace(masks, masks=true)
    assert box_scores(true, three) == {"box_precision_0.5": 1.0, "box_recall_0.5": 1.0}
    more = true.copy()
    more[1, 80:100, 80:100] = 2
    assert box_scores(more, three) == {"box_precision_0.5": 0.75, "box_recall_0.5": 1.0}
    one_for_two = (true > 0).astype(np.uint8)
    assert box_scores(one_for_two, three) == {"box_precision_0.5": 0.5, "box_recall_0.5": pytest.approx(1 / 3)}
    assert box_scores(true * 0, three) == {"box_precision_0.5": 0.0, "box_recall_0.5": 0.0}


def test_what_is_found_where_nobody_says_what_is_there_counts_in_no_box(masks: SegmentSet) -> None:
    true = np.zeros((1, 128, 128), np.uint8)
    true[0, 10:30, 10:30], true[0, 80:110, 80:110] = 1, IGNORE
    found = np.zeros_like(true)
    found[0, 10:30, 10:30], found[0, 85:105, 85:105] = 1, 2
    one = replace(masks, masks=true)
    assert box_scores(found, one) == {"box_precision_0.5": 1.0, "box_recall_0.5": 1.0}
    found[0, 85:105, 40:105] = 2  # more of it where there is none
    assert box_scores(found, one) == {"box_precision_0.5": 0.5, "box_recall_0.5": 1.0}


def test_confused_sides_cost_left_and_right_and_nothing_else(masks: SegmentSet) -> None:
    swapped = np.choose(masks.masks[:], [0, 2, 1])
    report = evaluate_segment(masks_said(swapped), masks, PLAIN)
    assert report.scores["iou_mean"] == 1
    assert report.scores["iou_left"] == report.scores["iou_right"] == 0


def test_each_source_has_figures_of_its_own(hands: PoseSet, masks: SegmentSet, archive: Path) -> None:
    of_two = replace(masks, names=("synthetic", "mine"), sources=np.array([0] * 5 + [1] * 3, np.uint8))
    seen = masks.masks[:].copy()
    seen[5:] = 0
    scores = evaluate_segment(masks_said(seen), of_two, PLAIN).scores["by_source"]
    assert [scores[name]["num_pictures"] for name in ("synthetic", "mine")] == [5, 3]
    assert [scores[name]["iou_mean"] for name in ("synthetic", "mine")] == [1, 0]
    assert scores["synthetic"]["iou_mean.low"] == 1
    two = replace(hands, names=("synthetic", "mine"), sources=np.zeros(len(hands), np.uint8))
    apart = evaluated(said(hands.keypoints[:]), two, masks, archive).scores["by_source"]
    assert apart.keys() == {"synthetic"}
    assert apart["synthetic"]["true_crop"]["pck_0.2"] == 1
    assert apart["synthetic"]["num_hands"] == len(hands)


def test_true_keypoints_score_the_ceilings_of_both_protocols(hands: PoseSet, masks: SegmentSet, archive: Path) -> None:
    model = said(hands.keypoints[:], hands.visible[:], hands.sides[:] == 2)
    scores = evaluated(model, hands, masks, archive).scores
    mmpose, hand3d = scores["mmpose"]["true_crop"], scores["hand3d"]["true_crop"]
    assert mmpose["epe_mean_px"] < 0.1
    assert mmpose["pck_0.2"] == mmpose["pck_0.2.low"] == 1.0
    assert mmpose["auc_30px"] == pytest.approx(0.95)
    assert hand3d["auc_30px"] == pytest.approx(1 - 0.5 / 19)
    assert mmpose["num_hands"] == len(hands)
    assert hand3d["num_hands"] == hands.dominant.sum() == len(np.unique(hands.ids))
    assert scores["side_accuracy"] == scores["says_something"] == 1
    assert scores["visible_calibration_error"] < 1e-3


def test_errors_are_counted_in_pixels_of_the_source_picture(hands: PoseSet, masks: SegmentSet, archive: Path) -> None:
    moved = hands.keypoints[:].copy()
    moved[..., 0] += np.where(moved[..., 0] > 64, -4, 4)  # 4 px of the crop, towards its middle
    report = evaluated(said(moved), hands, masks, archive)
    per_hand = 4 * (hands.boxes[:, 2] - hands.boxes[:, 0]) / 128
    assert np.allclose(report.samples["epe_px"], per_hand, atol=0.15)
    counts = hands.visible.sum(axis=1)
    shown = report.scores["mmpose"]["true_crop"]["epe_mean_px"]
    assert shown == pytest.approx((per_hand * counts).sum() / counts.sum(), abs=0.1)
    assert report.tables["keypoints"]["num_visible"].sum() == counts.sum()


def test_true_masks_lead_to_nearly_the_true_crops(hands: PoseSet, masks: SegmentSet, archive: Path) -> None:
    said = evaluate_segment(masks_said(masks.masks[:]), masks, PLAIN)
    found = find_hands(said.predictions, masks, hands)
    apart = np.array([len(np.unique(masks.masks[list(masks.ids).index(i)])) == 2 for i in hands.ids])
    assert apart.any()
    assert found.iou[apart].min() == 1.0  # hands that are alone in their picture
    assert found.iou[~apart].mean() > 0.9  # others may touch or lie in pieces
    again = recrop(hands, found, [RhdSource("synthetic", archive)])
    assert np.abs(again.boxes - hands.boxes)[apart].max() <= 2 * 320 / 128
    there = to_images(again.keypoints, again.boxes, again.size)
    assert np.abs(there - to_images(hands.keypoints[:], hands.boxes[:], hands.size)).max() < 1e-3
    own, other = (s.batch(np.flatnonzero(apart)[:1])[0] for s in (hands, again))
    assert (own - other).abs().mean() < 25


def test_the_box_of_a_hand_of_unknown_side_is_its_mask_s(hands: PoseSet, masks: SegmentSet) -> None:
    said = found_in(labels_of(masks.masks[:]))
    known = find_hands(said, masks, hands)
    others = np.array([0, 4, 3, *[0] * 253], np.uint8)
    nobody_s = replace(masks, masks=others[masks.masks[:]])
    unknown = find_hands(said, nobody_s, replace(hands, sides=np.full_like(hands.sides, 3)))
    assert known.iou.mean() > 0.9
    # of two hands in one place a square may be nearer to the other's box
    assert (np.abs(unknown.iou - known.iou) < 1e-6).mean() > 0.9


def test_a_missed_hand_is_read_where_one_is_likeliest_beside_the_found_ones(
    hands: PoseSet, masks: SegmentSet, archive: Path
) -> None:
    said = found_in(np.zeros(masks.masks.shape, np.uint8))
    said["labels"][:, 100:120, 10:30], said["logits"][:, 100:120, 10:30] = 1, 10
    said["logits"][:, 20:26, 90:96] = -1  # nearly a hand
    found = find_hands(said, masks, hands)
    missed = found.iou < MIN_OVERLAP
    assert missed.mean() > 0.9
    hand = int(np.flatnonzero(missed)[0])
    crop = found.crops[hand]
    middle, side = np.array([(crop.left + crop.right) / 2, (crop.top + crop.bottom) / 2]), LIKELY_SIDE * 320
    assert middle == pytest.approx(np.array([93, 23]) * 320 / 128, abs=320 / 128)
    assert (crop.width, crop.height) == pytest.approx((side, side))
    source = RhdSource("synthetic", archive)
    again = recrop(hands, found, [source])
    picture = source.picture("evaluation", int(hands.ids[hand]))
    assert np.array_equal(again.images[hand], images.crop(picture, crop, again.size))
    there = to_images(again.keypoints, again.boxes, again.size)
    assert np.abs(there - to_images(hands.keypoints[:], hands.boxes[:], hands.size)).max() < 1e-3


def test_the_reports_own_figure_cannot_tell_flat_maps_from_good_ones(hands: PoseSet) -> None:
    everywhere = np.tile(np.array([0.0, 0, 128, 128]), (len(hands), 1))
    flat = heatmap_box_iou(everywhere, hands, 3.0)
    assert 0.3 < flat.mean() < 0.8
    report = said(hands.keypoints[:])
    maps = report.net(torch.zeros(len(hands), 3, 128, 128)).maps
    good = heatmap_box_iou((heatmaps.response_box(heatmaps.softmax(maps)) * 2).numpy(), hands, 3.0)
    assert good.mean() > flat.mean()


def test_the_flip_test_is_the_mean_with_the_mirror_image() -> None:
    class Cumulative(nn.Module):
        def forward(self, images: Tensor) -> Output:
            return Output(images.cumsum(dim=-1), images.sum(dim=(2, 3))[:, :1] * torch.arange(1.0, 24.0))

    row = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 1, 3)
    mean = FlipTest(Cumulative(), POSE, SECTIONS.pose)(row)
    # from the left 1, 11, 111; from the right 111, 110, 100
    assert mean.maps.flatten().tolist() == [56.0, 60.5, 105.5]
    # a visible keypoint stays one, and a hand a hand; a mirrored right hand is a left one
    assert mean.numbers.tolist() == [[*(111.0 * n for n in range(1, 22)), 0.0, 111.0 * 23]]
    both = FlipTest(Cumulative(), SEGMENT, SECTIONS.segment)(row.expand(1, 4, 1, 3))
    hand, right, x, y = both.maps[0].flatten(1).tolist()
    assert hand == y == [56.0, 60.5, 105.5]
    # a mirrored right hand is a left one, and what lies to its right to its left
    assert right == x == [-55.0, -49.5, 5.5]


def test_the_scale_test_is_the_mean_over_sizes_at_the_pictures_own() -> None:
    class Width(nn.Module):
        def forward(self, images: Tensor) -> Output:
            side = images.shape[-1]
            return Output(torch.full((len(images), 1, side // 2, side // 2), float(side)), torch.full((2, 1), side / 2))

    said = ScaleTest(Width(), [1.0, 1.5])(torch.zeros(2, 3, 32, 32))
    assert torch.equal(said.maps, torch.full((2, 1, 32, 32), 40.0))  # (32 + 48) / 2
    assert said.numbers.tolist() == [[20.0], [20.0]]


def test_a_closer_look_counts_half_about_each_hand_and_nowhere_else() -> None:
    """The net calls red a hand, and is ten times as sure of a large one."""

    class Red(nn.Module):
        """Says where its input is red; in a picture that is red by more than a fifth ten times as surely."""

        def forward(self, shown: Tensor) -> Output:
            red = shown[:, :1] / 255 * 2 - 1
            closer = (red > 0).float().mean(dim=(1, 2, 3), keepdim=True) > 0.2
            hand = red * torch.where(closer, 10.0, 1.0)
            return Output(torch.cat([hand, torch.zeros_like(hand)], dim=1), torch.zeros(len(shown), 0))

    params = SECTIONS.segment.model_copy(update={"centre_weight": 0.0})
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[0, 0, 24:40, 30:46] = 255.0
    hand = CloserTest(Red(), Red(), params, 2.0)(pictures).maps[:, 0]
    assert torch.equal(hand[1], torch.full((64, 64), -1.0))  # without a hand nothing is shown again
    assert torch.equal(hand[0, 28:36, 34:42], torch.full((8, 8), 5.5))  # the mean of 1 and 10
    assert torch.equal(hand[0, :, :22], torch.full((64, 22), -1.0))  # beyond the square, from 22 to 54
    assert torch.equal(hand[0, 22:42, 23:28].diff(dim=0)[6:12], torch.zeros(6, 5))
    assert hand[0, 32, 27] == pytest.approx(-5.5, abs=1e-4)
    assert -5.5 < hand[0, 32, 23] < -1.0  # it counts less near the edge


def test_a_finder_with_true_nets_finds_the_annotated_hands(archive: Path, masks: SegmentSet, hands: PoseSet) -> None:
    with RhdArchive(archive) as raw:
        row = next(
            r for r in range(len(masks)) if (hands.ids == masks.ids[r]).sum() == 1 == len(np.unique(masks.masks[r])) - 1
        )
        sample = int(masks.ids[row])
        hand = int(np.flatnonzero(hands.ids == sample)[0])
        picture = raw.color("evaluation", sample)
    truth: Any = hands.box(hand).to_image(hands.keypoints[hand], 128)
    finder = HandFinder(masks_said(masks.masks[row : row + 1]), said(np.zeros((1, 21, 2), np.float32)))
    box, step = finder(picture, min_score=0)[0].box, 320 / 128
    tight = hands.box(hand).square(1 / 1.3)  # the crop is 1.3 times the longer side of the mask's box
    assert abs(box.side - tight.side) <= 2 * step
    assert abs((box.left + box.right) - (tight.left + tight.right)) / 2 <= step
    assert abs((box.top + box.bottom) - (tight.top + tight.bottom)) / 2 <= step
    in_crop = hands.box(hand).square(1 / 1.3).square(1.3).to_crop(truth, 128)
    right = hands.sides[hand : hand + 1] == 2
    finder = HandFinder(
        masks_said(masks.masks[row : row + 1]), said(in_crop[None], hands.visible[hand : hand + 1], right)
    )
    (found,) = finder.read(picture, [hands.box(hand)])
    assert np.abs(found.keypoints_px - truth)[hands.visible[hand]].max() < 0.5
    assert (found.visible == hands.visible[hand]).all()
    assert found.handedness == ("right" if right[0] else "left")


def test_a_picture_without_hands_gives_no_hand() -> None:
    finder = HandFinder(masks_said(np.zeros((1, 128, 128), np.uint8)), said(np.zeros((1, 21, 2), np.float32)))
    assert finder(np.zeros((200, 300, 3), np.uint8)) == []


def test_the_way_to_a_hand_is_shown_of_pictures_of_any_size(archive: Path, tmp_path: Path) -> None:
    finder, path = HandFinder.load(), tmp_path / "a.png"
    with RhdArchive(archive) as raw:
        whole = next(each for each in (raw.color("training", n) for n in raw.ids("training")) if finder(each))
    shown = [whole, whole[:200], np.repeat(np.repeat(whole, 2, axis=0), 2, axis=1)[:, :480], whole[:30, :40]]
    path.write_bytes(plots.crop_pictures(finder, shown))
    assert images.read(path).shape == (2 * 324 - 4, 6 * 324 - 4, 3)


def test_figures_are_pictures_of_the_expected_size(
    masks: SegmentSet, hands: PoseSet, archive: Path, tmp_path: Path
) -> None:
    report = evaluated(said(hands.keypoints[:]), hands, masks, archive)
    png = plots.keypoint_pictures(POSE, report.predictions, hands, 4)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    with Image.open(path) as image:
        assert image.size == (6 * 260 - 4, 256)
    assert images.read(path).std() > 10
    again = plots.pck_curve(report.tables["pck"], report.tables["keypoints"])
    assert again == plots.pck_curve(report.tables["pck"], report.tables["keypoints"])
    assert plots.reliability(report.tables["reliability"]).startswith(b"\x89PNG")
    assert plots.spread(9, 3) == [0, 4, 8]
    worst = plots.worst_masks({"masks": masks.masks[:] > 0}, masks, np.linspace(1, 0, len(masks)))
    path.write_bytes(worst)
    assert images.read(path).std() > 10
