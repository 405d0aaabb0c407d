"""An archive in RHD's layout to training arrays: the segment set, the pose set, and an index of every hand.

    segment/{split}_images.npy (N, S, S, 3) uint8     pose/{split}_images.npy    (M, C, C, 3) uint8
    segment/{split}_masks.npy  (N, S, S) uint8 0/1/2   pose/{split}_keypoints.npy (M, 21, 2) float32, `keypoints_crop`
    segment/{split}_ids.npy    (N,) int32              pose/{split}_visible.npy   (M, 21) bool
                                                       pose/{split}_boxes.npy     (M, 4) float32 source px, xyxy
    {set}/facts.json, index.csv                        pose/{split}_pck_px.npy    (M,) float32 source px
                                                       pose/{split}_sides.npy     (M,) uint8 1 left, 2 right
                                                       pose/{split}_dominant.npy  (M,) bool: the picture's larger mask
                                                       pose/{split}_masks.npy     (M, C, C / 8) uint8, 8 pixels a byte
                                                       pose/{split}_ids.npy       (M,) int32

S is the net's input; the crop's central S x S pixels are the net's input too, and C - S more are a margin for
augmentation. Splits: `test` is the archive's evaluation split, `val` a seeded part of its training split.
"""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from handloom import images, masks, processes
from handloom.data.npy import NpyWriter
from handloom.data.rhd import RhdArchive, hand_mask
from handloom.errors import DataError, EnvironmentFault
from handloom.geometry import Points
from handloom.images import Picture
from handloom.params import PreprocessParams

SPLITS = ("train", "val", "test")
SIDES = ("left", "right")
PCK_BOX_SCALE = 1.2
"""PCK is normalised by the keypoints' extent x 1.2, the box of mmpose's RHD protocol."""


@dataclass(frozen=True)
class HandRow:
    """One row of index.csv: a hand, and where it went or why it was left out."""

    source: str
    split: str
    sample_id: int
    hand: str
    status: str
    """`kept`, or why there is no crop: `absent`, `too small`, `no visible keypoint`, `unreadable: ...`."""
    mask_pixels: int = 0
    num_visible: int = 0
    left: float = float("nan")
    top: float = float("nan")
    right: float = float("nan")
    bottom: float = float("nan")
    """The crop's box in the source picture, px, xyxy, without the margin."""
    row: int = -1
    """Row of the pose arrays of this split."""


@dataclass(frozen=True)
class PoseRow:
    """One hand's row of the pose arrays; shapes stand at the top of this file."""

    image: Picture
    """The crop with its margin."""
    keypoints: Points
    """Pixels of the network input."""
    visible: np.ndarray
    box: tuple[float, float, float, float]
    """Edges of the crop without its margin, px of the source picture, xyxy."""
    pck_px: float
    side: int
    """1 left, 2 right."""
    dominant: bool
    """Whether no hand of the picture has more mask pixels; the right one of two equals, as in hand3d."""
    mask: Picture
    """(C, C / 8): the hand in the crop with its margin, eight pixels a byte."""


@dataclass(frozen=True)
class Prepared:
    """All that one sample gives."""

    image: Picture | None
    mask: Picture | None
    index: list[HandRow]
    hands: list[PoseRow] = field(default_factory=list)


@lru_cache(maxsize=1)
def _open(path: Path) -> RhdArchive:
    """Give this process its own handle."""
    return RhdArchive(path)


def prepare_sample(path: Path, params: PreprocessParams, split: str, archive_split: str, sample_id: int) -> Prepared:
    """Give one sample's rows; an unreadable sample gives index rows that say why, and nothing else."""
    where = partial(HandRow, path.stem, split, sample_id)
    try:
        archive = _open(path)
        annotation = archive.annotation(archive_split, sample_id)
        picture = archive.color(archive_split, sample_id)
        sides = hand_mask(archive.mask(archive_split, sample_id))
    except DataError as error:
        return Prepared(None, None, [where(hand, f"unreadable: {error}") for hand in SIDES])
    index, hands, stored = [], [], stored_size(params)
    for side, name in enumerate(SIDES, start=1):
        keypoints_px, visible, _ = annotation.hand(name)
        mask = sides == side
        pixels, seen = int(mask.sum()), int(visible.sum())
        if reason := _reason_to_leave_out(pixels, seen, params.min_hand_pixels):
            index.append(where(name, reason, pixels, seen))
            continue
        box = masks.tight_box(mask).square(params.crop_scale)
        whole = box.square(stored / params.crop_size)
        other = int((sides == 3 - side).sum())
        edges = (box.left, box.top, box.right, box.bottom)
        index.append(where(name, "kept", pixels, seen, *edges))
        hands.append(
            PoseRow(
                image=images.crop(picture, whole, stored),
                keypoints=box.to_crop(keypoints_px, params.crop_size),
                visible=visible,
                box=edges,
                pck_px=PCK_BOX_SCALE * float(np.ptp(keypoints_px, axis=0).max()),
                side=side,
                dominant=pixels > other or (pixels == other and name == "right"),
                mask=np.packbits(images.crop(mask * np.uint8(255), whole, stored) >= 128, axis=-1),
            )
        )
    small = images.shrink(picture, params.image_size), images.shrink_sides(sides, params.image_size)
    return Prepared(*small, index, hands)


def _reason_to_leave_out(pixels: int, visible: int, min_pixels: int) -> str | None:
    if pixels == 0:
        return "absent"
    if pixels < min_pixels:
        return "too small"
    return None if visible else "no visible keypoint"


def stored_size(params: PreprocessParams) -> int:
    """Give the side of a stored pose crop, px: the net's input and the margin, rounded to even."""
    return 2 * round(params.crop_size * (1 + params.crop_margin) / 2)


def split_ids(archive: RhdArchive, params: PreprocessParams) -> dict[str, tuple[str, list[int]]]:
    """Give each split's part of the archive and its sample ids, in ascending order."""
    training, evaluation = (archive.ids(split) for split in ("training", "evaluation"))
    num_val = round(len(training) * params.val_fraction)
    if not 0 < num_val < len(training):
        raise DataError(
            f"{archive.path}: too few training samples for a validation split, got '{len(training)}'; "
            "render more or raise preprocess.val_fraction"
        )
    order = np.random.default_rng(params.seed).permutation(len(training))
    val = {training[i] for i in order[:num_val]}
    return {
        "train": ("training", [i for i in training if i not in val]),
        "val": ("training", sorted(val)),
        "test": ("evaluation", evaluation),
    }


def prepare(path: Path, folder: Path, params: PreprocessParams, workers: int | None = None) -> pd.DataFrame:
    """Write both sets and index.csv of an archive to `folder`, all or nothing, and give the index.

    Samples come in ascending order of their id whatever the number of workers, so the bytes are always the same.
    Raises DataError where the archive cannot be read or more than `max_bad_fraction` of its samples cannot.
    """
    with RhdArchive(path) as archive:
        splits = split_ids(archive, params)
    partial_folder = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial_folder, ignore_errors=True)
    for name in ("segment", "pose"):
        (partial_folder / name).mkdir(parents=True)
    total = sum(len(ids) for _, ids in splits.values())
    try:
        index: list[HandRow] = []
        with (
            processes.pool(workers) as pool,
            tqdm(total=total, desc="preprocess", unit="sample") as bar,
        ):
            for split, (archive_split, ids) in splits.items():
                work = partial(prepare_sample, path, params, split, archive_split)
                index += _write_split(partial_folder, split, params, _in_order(pool, work, ids), bar)
        table = pd.DataFrame([asdict(row) for row in index])
        _check_bad_fraction(table, path, params.max_bad_fraction)
        _check_sets(table, path)
        _write_facts(partial_folder, table, path.stem, params)
        table.to_csv(partial_folder / "index.csv", index=False, float_format="%.3f")
        shutil.rmtree(folder, ignore_errors=True)
        partial_folder.replace(folder)
    except (OSError, BrokenProcessPool) as error:
        what = f"cannot be written, got '{getattr(error, 'strerror', None) or error}'"
        raise EnvironmentFault(f"{folder}: {what}; free some space, memory or rights") from None
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
    return table


def _in_order(pool: ProcessPoolExecutor, work: Any, ids: list[int], block: int = 512) -> Iterator[Prepared]:
    """Map over ids block by block: results in order, at most one block of them in memory."""
    for start in range(0, len(ids), block):
        yield from pool.map(work, ids[start : start + block], chunksize=8)


def _write_split(
    folder: Path, split: str, params: PreprocessParams, samples: Iterator[Prepared], bar: "tqdm[Any]"
) -> list[HandRow]:
    """Append every sample of a split to its arrays; gives its index rows."""
    size, crop = params.image_size, stored_size(params)
    index: list[HandRow] = []
    with ExitStack() as stack:

        def column(name: str, shape: tuple[int, ...], dtype: type) -> NpyWriter:
            set_name, _, array = name.partition("/")
            return stack.enter_context(NpyWriter(folder / set_name / f"{split}_{array}.npy", shape, dtype))

        segment = column("segment/images", (size, size, 3), np.uint8), column("segment/masks", (size, size), np.uint8)
        segment_ids, pose_ids = column("segment/ids", (), np.int32), column("pose/ids", (), np.int32)
        crops, sides = column("pose/images", (crop, crop, 3), np.uint8), column("pose/sides", (), np.uint8)
        keypoints, visible = column("pose/keypoints", (21, 2), np.float32), column("pose/visible", (21,), np.bool_)
        boxes, pck_px = column("pose/boxes", (4,), np.float32), column("pose/pck_px", (), np.float32)
        dominant, hand_masks = (
            column("pose/dominant", (), np.bool_),
            column("pose/masks", (crop, -(-crop // 8)), np.uint8),
        )
        for sample in samples:
            rows = iter(range(crops.rows, crops.rows + len(sample.hands)))
            sample_id = sample.index[0].sample_id
            if sample.image is not None and sample.mask is not None:
                segment[0].append(sample.image)
                segment[1].append(sample.mask)
                segment_ids.append(sample_id)
            for hand in sample.hands:
                crops.append(hand.image)
                keypoints.append(hand.keypoints)
                visible.append(hand.visible)
                boxes.append(hand.box)
                pck_px.append(hand.pck_px)
                sides.append(hand.side)
                dominant.append(hand.dominant)
                hand_masks.append(hand.mask)
                pose_ids.append(sample_id)
            index += [_with_row(row, next(rows)) if row.status == "kept" else row for row in sample.index]
            bar.update()
    return index


def _with_row(row: HandRow, number: int) -> HandRow:
    return HandRow(**{**asdict(row), "row": number})


def _check_bad_fraction(table: pd.DataFrame, path: Path, allowed: float) -> None:
    bad = table[table["status"].str.startswith("unreadable")]
    num_bad, num_all = len(bad.drop_duplicates(["split", "sample_id"])), len(table) // len(SIDES)
    if num_bad > allowed * num_all:
        first = bad["status"].iloc[0].removeprefix("unreadable: ").rpartition("; ")[0]
        raise DataError(
            f"{first}; {num_bad} of {num_all} samples of {path.name} are unreadable: replace it, or raise "
            f"preprocess.max_bad_fraction from {allowed} to leave them out"
        )


def _check_sets(table: pd.DataFrame, path: Path) -> None:
    for split in SPLITS:
        if not (table.loc[table["split"] == split, "status"] == "kept").any():
            raise DataError(
                f"{path}: no hand for the {split} split, got '0'; take more samples, or lower "
                "preprocess.min_hand_pixels or preprocess.val_fraction"
            )


def _write_facts(folder: Path, table: pd.DataFrame, source: str, params: PreprocessParams) -> None:
    """Write what later stages must know about the data beside each set."""
    kept = table[table["status"] == "kept"]
    readable = table[~table["status"].str.startswith("unreadable")]
    facts = {"source": source, "crop_scale": params.crop_scale}
    sizes = {"segment": params.image_size, "pose": params.crop_size}
    rows = {
        "segment": readable.drop_duplicates(["split", "sample_id"]).groupby("split").size(),
        "pose": kept.groupby("split").size(),
    }
    for name, counts in rows.items():
        all_facts = facts | {"image_size": sizes[name], "rows": {split: int(counts.get(split, 0)) for split in SPLITS}}
        (folder / name / "facts.json").write_text(json.dumps(all_facts, indent=2) + "\n")
