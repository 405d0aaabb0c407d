import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from handloom import heatmaps, images
from handloom.data.npy import NpyWriter
from handloom.data.prepare import prepare
from handloom.data.prepared import PoseSet, SegmentSet, load_facts
from handloom.data.rhd import RhdArchive, RhdSource, hand_mask
from handloom.data.synthetic.archive import write_archive
from handloom.errors import DataError
from handloom.params import Params
from handloom.skeleton import MIDDLE_MCP, WRIST


@pytest.fixture(scope="module")
def index(prepared: Path) -> pd.DataFrame:
    return pd.read_csv(prepared / "index.csv")


def test_every_hand_of_every_sample_has_its_row(index: pd.DataFrame) -> None:
    assert len(index) == 2 * 32
    assert index.groupby("split")["sample_id"].nunique().to_dict() == {"train": 18, "val": 6, "test": 8}
    assert set(index["hand"]) == {"left", "right"}
    kept = index["status"] == "kept"
    assert (index.loc[~kept, "row"] == -1).all()
    assert index.loc[~kept, "left"].isna().all()


def test_no_training_sample_is_in_validation(prepared: Path) -> None:
    train, val = (set(SegmentSet.load(prepared / "segment", split).ids.tolist()) for split in ("train", "val"))
    assert train | val == set(range(24))
    assert not train & val


def test_rows_of_the_arrays_are_those_of_the_index(index: pd.DataFrame, prepared: Path) -> None:
    for split in ("train", "val", "test"):
        pose = PoseSet.load(prepared / "pose", split)
        kept = index[(index["split"] == split) & (index["status"] == "kept")].sort_values("row")
        hands = np.flatnonzero(pose.sides)
        assert kept["row"].tolist() == hands.tolist()
        assert kept["sample_id"].tolist() == pose.ids[hands].tolist()
        assert np.allclose(kept[["left", "top", "right", "bottom"]], pose.boxes[hands], atol=1e-3)
        assert load_facts(prepared / "pose")["rows"][split] == len(hands)
        assert (len(hands) < len(pose)) == (split == "train")


def test_keypoints_map_back_to_the_annotation(archive: Path, prepared: Path, params: Params) -> None:
    pose = PoseSet.load(prepared / "pose", "test")
    with RhdArchive(archive) as raw:
        for row in range(len(pose)):
            side = ("left", "right")[pose.sides[row] - 1]
            true, visible, _ = raw.annotation("evaluation", int(pose.ids[row])).hand(side)
            assert np.abs(pose.box(row).to_image(pose.keypoints[row], pose.size) - true).max() < 1e-3
            assert np.array_equal(pose.visible[row], visible)
            assert pose.pck_px[row] == pytest.approx(1.2 * np.ptp(true, axis=0).max(), rel=1e-5)


@pytest.mark.parametrize(("size", "margin"), [(128, 0.25), (112, 0.1), (128, 0.0)])
def test_the_network_input_is_the_crop_of_the_box(
    archive: Path, params: Params, tmp_path: Path, size: int, margin: float
) -> None:
    changes = {"val_fraction": 0.25, "crop_size": size, "crop_margin": margin}
    prepare([RhdSource("synthetic", archive)], tmp_path / "p", params.preprocess.model_copy(update=changes), workers=1)
    pose = PoseSet.load(tmp_path / "p" / "pose", "test")
    assert pose.size == size
    inputs, _ = pose.batch(np.arange(len(pose)))
    with RhdArchive(archive) as raw:
        for row in range(len(pose)):
            direct = images.crop(raw.color("evaluation", int(pose.ids[row])), pose.box(row), pose.size)
            # the stored crop has a margin, so its sample grid is the same: only the border's rounding may differ
            assert np.abs(inputs[row].permute(1, 2, 0).numpy() - direct).max() <= 2


def test_a_crop_holds_the_mask_of_its_hand(archive: Path, prepared: Path, params: Params) -> None:
    pose = PoseSet.load(prepared / "pose", "train")
    with RhdArchive(archive) as raw:
        for row in np.flatnonzero(pose.sides):
            mask = hand_mask(raw.mask("training", int(pose.ids[row]))) == pose.sides[row]
            rows, columns = np.nonzero(mask)
            box = pose.box(row)
            assert box.left < columns.min()
            assert columns.max() + 1 < box.right
            assert box.top < rows.min()
            assert rows.max() + 1 < box.bottom
            longer = max(np.ptp(rows), np.ptp(columns)) + 1
            assert box.side == pytest.approx(longer * params.preprocess.crop_scale, rel=1e-5)


def test_the_same_bytes_for_any_number_of_workers(archive: Path, params: Params, tmp_path: Path) -> None:
    photographs = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(photographs):
        noise = np.random.default_rng(number).integers(0, 256, (60, 90, 3), np.uint8)
        path.write_bytes(images.encode_png(noise))
    chosen = params.preprocess.model_copy(update={"val_fraction": 0.25, "background_share": 0.5})
    alone, many = tmp_path / "alone", tmp_path / "many"
    prepare([RhdSource("synthetic", archive)], alone, chosen, photographs, workers=1)
    prepare([RhdSource("synthetic", archive)], many, chosen, photographs, workers=2)
    names = sorted(p.relative_to(alone) for p in alone.rglob("*.*"))
    assert names == sorted(p.relative_to(many) for p in many.rglob("*.*"))
    for name in names:
        assert (alone / name).read_bytes() == (many / name).read_bytes(), name


def test_masks_keep_left_and_right(archive: Path, prepared: Path) -> None:
    segment = SegmentSet.load(prepared / "segment", "test")
    with RhdArchive(archive) as raw:
        for row in range(len(segment)):
            sides = hand_mask(raw.mask("evaluation", int(segment.ids[row])))
            for side in (1, 2):
                small, full = (segment.masks[row] == side).mean(), (sides == side).mean()
                assert small == pytest.approx(full, abs=0.01)


def test_the_stored_mask_of_a_crop_is_its_own_hands(archive: Path, prepared: Path) -> None:
    pose = PoseSet.load(prepared / "pose", "test")
    crops, target = pose.batch(np.arange(len(pose)))
    assert target.mask.shape == (len(pose), *crops.shape[2:])
    with RhdArchive(archive) as raw:
        for row in range(len(pose)):
            sides = hand_mask(raw.mask("evaluation", int(pose.ids[row])))
            own = np.where(sides == pose.sides[row], np.uint8(255), np.uint8(0))
            direct = images.crop(own, pose.box(row), pose.size) >= 128
            assert (target.mask[row].numpy() != direct).mean() < 0.005
            pixels = [(sides == side).sum() for side in (1, 2)]
            assert pose.dominant[row] == (pixels[pose.sides[row] - 1] == max(pixels))


def test_a_mirrored_left_hand_is_a_right_one(prepared: Path, params: Params) -> None:
    still = {"rotation_deg": 0.0, "scale": 0.0, "shift": 0.0, "color": 0.0}
    mirror = params.pose.augment.model_copy(update={**still, "upright": 0.0, "flip": 1.0})
    pose, segment = PoseSet.load(prepared / "pose", "test"), SegmentSet.load(prepared / "segment", "test")
    rows, draw = np.arange(6), torch.Generator()
    (pictures, own), (mirrored, other) = pose.batch(rows), pose.augmented(rows, mirror, draw)
    assert (mirrored.flip(-1) - pictures).abs().max() < 1
    assert torch.equal(other.right, 1 - own.right)
    assert torch.allclose(other.points[..., 0], 127 - own.points[..., 0], atol=1e-3)
    assert (other.mask.flip(-1) != own.mask).float().mean() < 0.01
    (_, true), (_, turned) = segment.batch(rows), segment.augmented(rows, mirror, draw)
    assert torch.equal(turned.hand.flip(-1), true.hand)
    assert torch.equal(turned.right.flip(-1), true.hand - true.right)
    # and without a mirror, sides stay
    _, straight = segment.augmented(rows, mirror.model_copy(update={"flip": 0.0}), draw)
    assert torch.equal(straight.right, true.right)


def test_a_set_in_a_devices_memory_gives_the_same(prepared: Path, params: Params) -> None:
    pose, segment = PoseSet.load(prepared / "pose", "train"), SegmentSet.load(prepared / "segment", "train")
    rows = np.arange(12)
    for samples, wild in ((pose, params.pose.augment), (segment, params.segment.augment)):
        there = samples.on(torch.device("cpu"))
        for here, other in (
            (samples.batch(rows), there.batch(rows)),
            tuple(each.augmented(rows, wild, torch.Generator().manual_seed(3)) for each in (samples, there)),
        ):
            assert (here[0] - other[0]).abs().max() <= 2
            for one, another in zip(here[1], other[1], strict=True):
                assert (one is None) == (another is None)
                assert one is None or (one.float() - another.float()).abs().mean() < 1e-3


def test_smaller_samples_show_the_same(prepared: Path, params: Params) -> None:
    pose, segment = PoseSet.load(prepared / "pose", "train"), SegmentSet.load(prepared / "segment", "train")
    rows = np.arange(12)
    for samples, wild in ((pose, params.pose.augment), (segment, params.segment.augment)):
        small = samples.size // 2
        (whole, target), (half, other) = (
            samples.augmented(rows, wild, torch.Generator().manual_seed(3), size) for size in (None, small)
        )
        assert half.shape[-1] == small
        assert (functional.avg_pool2d(whole, 2) - half).abs().mean() < 2
        shown = target.mask if samples is pose else target.hand
        smaller = other.mask if samples is pose else other.hand
        assert (functional.avg_pool2d(shown, 2) - smaller).abs().mean() < 0.01
        if samples is pose:
            assert torch.allclose(heatmaps.to_map(target.points, 2), other.points, atol=1e-3)


def test_upright_crops_show_the_hand_standing(prepared: Path, params: Params) -> None:
    still = {"rotation_deg": 0.0, "scale": 0.0, "shift": 0.0, "color": 0.0, "flip": 0.5}
    pose, rows = PoseSet.load(prepared / "pose", "test"), np.arange(8)
    for share in (0.0, 1.0):
        chosen = params.pose.augment.model_copy(update={**still, "upright": share})
        _, target = pose.augmented(rows, chosen, torch.Generator().manual_seed(1))
        across, up = (target.points[:, WRIST] - target.points[:, MIDDLE_MCP]).unbind(dim=1)
        assert bool((across.abs() < 1e-3).all() and (up > 0).all()) == bool(share)


def test_a_crop_without_a_hand_shows_none(archive: Path, prepared: Path) -> None:
    pose = PoseSet.load(prepared / "pose", "train")
    empty = np.flatnonzero(pose.sides == 0)
    with RhdArchive(archive) as raw:
        for row in empty:
            shown = images.crop(
                (hand_mask(raw.mask("training", int(pose.ids[row]))) > 0) * np.uint8(255), pose.box(row), pose.size
            )
            assert (shown >= 128).mean() < 0.03
    _, target = pose.batch(empty)
    assert not any(each.any() for each in (target.hand, target.right, target.visible, target.mask))
    assert (target.points.std(dim=1) > 10).all()  # strewn


def test_a_person_who_shows_no_hand_gives_two_crops_without_one(params: Params, tmp_path: Path) -> None:
    counts = {"num_training": 30, "num_evaluation": 4}
    write_archive(tmp_path / "people.zip", seed=7, portraits=0.3, workers=2, **counts)
    table = prepare([RhdSource("synthetic", tmp_path / "people.zip")], tmp_path / "out", params.preprocess, workers=1)
    pictures = SegmentSet.load(tmp_path / "out" / "segment", "train")
    crops = PoseSet.load(tmp_path / "out" / "pose", "train")
    handless = set(pictures.ids[~np.asarray(pictures.masks).any(axis=(1, 2))].tolist())
    assert handless
    for sample_id in handless:
        assert crops.sides[crops.ids == sample_id].tolist() == [0, 0]
        assert set(table.loc[table["sample_id"] == sample_id].query("split == 'train'")["status"]) == {"absent"}


def test_photographs_stand_behind_persons_and_by_themselves(archive: Path, params: Params, tmp_path: Path) -> None:
    green = np.zeros((90, 160, 3), np.uint8)
    green[..., 1] = 255
    (tmp_path / "green.png").write_bytes(images.encode_png(green))
    changes = {"val_fraction": 0.25, "background_share": 1.0}
    chosen = params.preprocess.model_copy(update=changes)
    prepare([RhdSource("synthetic", archive)], tmp_path / "p", chosen, [tmp_path / "green.png"], workers=1)
    segment = SegmentSet.load(tmp_path / "p" / "segment", "train")
    alone = segment.ids < 0
    assert alone.sum() == (~alone).sum() == 18
    assert (segment.images[alone] == [0, 255, 0]).all()
    assert not segment.masks[alone].any()
    with RhdArchive(archive) as raw:
        for row in np.flatnonzero(~alone):
            person = images.shrink((raw.mask("training", int(segment.ids[row])) > 0) * np.uint8(255), segment.size)
            assert (segment.images[row][person == 0] == [0, 255, 0]).mean() > 0.95  # but for its soft border
            inside = np.abs(
                segment.images[row].astype(int) - images.shrink(raw.color("training", int(segment.ids[row])), 128)
            )
            assert inside[person == 255].max(initial=0) < 60
    pose = PoseSet.load(tmp_path / "p" / "pose", "train")
    assert (pose.ids < 0).sum() == 2 * 18
    assert (pose.sides[pose.ids < 0] == 0).all()
    assert load_facts(tmp_path / "p" / "pose")["backgrounds"] == 18
    for split in ("val", "test"):
        assert (SegmentSet.load(tmp_path / "p" / "segment", split).ids >= 0).all()


def test_too_few_samples_for_a_split_are_refused(archive: Path, params: Params, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthetic: no hand for the val split, got '0'"):
        prepare(
            [RhdSource("synthetic", archive)],
            tmp_path / "p",
            params.preprocess.model_copy(update={"val_fraction": 0.001}),
            workers=1,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_array_names_the_command(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run `python -m pipeline\.stage preprocess`"):
        SegmentSet.load(tmp_path, "train")


def test_npy_writer_writes_what_numpy_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with NpyWriter(path, (2,), np.float32) as rows:
        assert [rows.append([i, i + 0.5]) for i in range(300)] == list(range(300))
    read = np.load(path, mmap_mode="r")
    assert read.shape == (300, 2)
    assert read[299].tolist() == [299, 299.5]
    with NpyWriter(tmp_path / "empty.npy", (), np.int32):
        pass
    assert np.load(tmp_path / "empty.npy").shape == (0,)


def test_facts_are_plain_json(prepared: Path) -> None:
    facts = json.loads((prepared / "segment" / "facts.json").read_text())
    assert facts["sources"] == ["synthetic"]
    assert facts["image_size"] == 128
