"""An archive in RHD's layout to training arrays: the segment set, the pose set, and an index of every hand.

    segment/{split}_images.npy (N, S, S, 3) uint8     pose/{split}_images.npy    (M, C, C, 3) uint8
    segment/{split}_masks.npy  (N, S, S) uint8 0/1/2   pose/{split}_keypoints.npy (M, 21, 2) float32, `keypoints_crop`
    segment/{split}_ids.npy    (N,) int32              pose/{split}_visible.npy   (M, 21) bool
                                                       pose/{split}_boxes.npy     (M, 4) float32 source px, xyxy
    {set}/facts.json, index.csv                        pose/{split}_pck_px.npy    (M,) float32 source px
                                                       pose/{split}_sides.npy     (M,) uint8 1 left, 2 right, 0 no hand
                                                       pose/{split}_dominant.npy  (M,) bool: the picture's larger mask
                                                       pose/{split}_masks.npy     (M, C, C / 8) uint8, 8 pixels a byte
                                                       pose/{split}_ids.npy       (M,) int32

S is the net's input; the crop's central S x S pixels are the net's input too, and C - S more are a margin for
augmentation. Splits: `test` is the archive's evaluation split, `val` a seeded part of its training split. The train
split also has crops that show no hand. Where photographs without a hand are given, they stand behind some of its
persons, and parts of them are rows of their own (ids below 0).
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from handloom import images, masks, processes
from handloom.data.npy import NpyWriter
from handloom.data.rhd import RhdArchive, hand_mask
from handloom.errors import DataError, EnvironmentFault
from handloom.geometry import Box, Points
from handloom.images import Picture
from handloom.params import PreprocessParams
from handloom.skeleton import NUM_KEYPOINTS

SPLITS = ("train", "val", "test")
SIDES = ("left", "right")
MAX_HAND_SHARE = 0.02
"""Of the pixels of a crop that counts as showing none."""
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
    """1 left, 2 right, 0 no hand: keypoints are then where an unsure net may see them, and none is visible."""
    dominant: bool
    """Whether no hand of the picture has more mask pixels; the right one of two equals, as in hand3d."""
    mask: Picture
    """(C, C / 8): the hand in the crop with its margin, eight pixels a byte."""


@dataclass(frozen=True)
class Prepared:
    """All that one sample gives."""

    sample_id: int
    image: Picture | None
    mask: Picture | None
    index: list[HandRow]
    hands: list[PoseRow] = field(default_factory=list)


@lru_cache(maxsize=1)
def _open(path: Path) -> RhdArchive:
    """Give this process its own handle."""
    return RhdArchive(path)


def prepare_sample(
    path: Path, params: PreprocessParams, backgrounds: Sequence[Path], split: str, archive_split: str, sample_id: int
) -> Prepared:
    """Give one sample's rows; an unreadable sample gives index rows that say why, and nothing else."""
    where = partial(HandRow, path.stem, split, sample_id)
    try:
        archive = _open(path)
        annotation = archive.annotation(archive_split, sample_id)
        picture = archive.color(archive_split, sample_id)
        ids = archive.mask(archive_split, sample_id)
    except DataError as error:
        return Prepared(sample_id, None, None, [where(hand, f"unreadable: {error}") for hand in SIDES])
    index: list[HandRow] = []
    hands: list[PoseRow] = []
    sides, stored = hand_mask(ids), stored_size(params)
    draw = np.random.default_rng([params.seed, sample_id])
    if split == "train" and backgrounds and draw.random() < params.background_share:
        picture = _before_photograph(picture, ids, backgrounds[int(draw.integers(len(backgrounds)))], draw)
    for side, name in enumerate(SIDES, start=1):
        keypoints_px, visible, _ = annotation.hand(name)
        mask = sides == side
        pixels, seen = int(np.count_nonzero(mask)), int(np.count_nonzero(visible))
        if reason := _reason_to_leave_out(pixels, seen, params.min_hand_pixels):
            index.append(where(name, reason, pixels, seen))
            continue
        box = masks.tight_box(mask).square(params.crop_scale)
        whole = box.square(stored / params.crop_size)
        other = int(np.count_nonzero(sides == 3 - side))
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
    if split == "train":
        hands += _empty_rows(picture, sides, hands, params, draw)
    small = images.shrink(picture, params.image_size), images.shrink_sides(sides, params.image_size)
    return Prepared(sample_id, *small, index, hands)


def _before_photograph(picture: Picture, ids: Picture, photograph: Path, draw: np.random.Generator) -> Picture:
    """Put the person of a picture, all that its mask does not call background, before a part of a photograph."""
    behind = _part(images.read(photograph), picture.shape[0], draw)
    person = ndimage.gaussian_filter((ids > 0).astype(np.float32), 0.7)[..., None]
    mixed: Picture = (person * picture + (1 - person) * behind).round().astype(np.uint8)
    return mixed


def _part(photograph: Picture, size: int, draw: np.random.Generator) -> Picture:
    """Give a random square of a photograph, at least two fifths as wide as fits, as (size, size)."""
    height, width = photograph.shape[:2]
    side = min(height, width) * draw.uniform(0.4, 1.0)
    left, top = draw.uniform(0, (width - side, height - side))
    return images.crop(photograph, Box(left, top, left + side, top + side), size)


def prepare_background(photographs: Sequence[Path], params: PreprocessParams, number: int) -> Prepared:
    """Give a random part of one of the photographs, which show no hand, for the mask net, and two for the pose net."""
    draw = np.random.default_rng([params.seed, number])
    picture = images.read(photographs[number % len(photographs)])
    height, width = picture.shape[:2]
    part = _part(picture, params.image_size, draw)
    crops = [_square(draw, picture, max(height, width) * np.exp(draw.uniform(np.log(0.08), np.log(0.8)))) for _ in "ab"]
    mask = np.zeros((params.image_size, params.image_size), np.uint8)
    hands = [_empty_row(picture, crop, params, draw) for crop in crops]
    return Prepared(-1 - number, part, mask, [], hands)


def _empty_rows(
    picture: Picture, sides: Picture, hands: list[PoseRow], params: PreprocessParams, draw: np.random.Generator
) -> list[PoseRow]:
    """Give crops of a picture that show no hand: for each of its hands one or none, about as large as that hand's."""
    rows = []
    for like in hands:
        side = (like.box[2] - like.box[0]) * draw.uniform(0.5, 1.5)
        if draw.random() < params.empty_crops and (box := _empty_box(sides, side, draw)):
            rows.append(_empty_row(picture, box, params, draw))
    return rows


def _empty_row(picture: Picture, box: Box, params: PreprocessParams, draw: np.random.Generator) -> PoseRow:
    """Give a crop without a hand; its keypoints are strewn, so that augmentation turns it as any reading may."""
    stored = stored_size(params)
    strewn = draw.uniform(0, params.crop_size, (NUM_KEYPOINTS, 2)).astype(np.float32)
    return PoseRow(
        image=images.crop(picture, box.square(stored / params.crop_size), stored),
        keypoints=strewn,
        visible=np.zeros(NUM_KEYPOINTS, bool),
        box=(box.left, box.top, box.right, box.bottom),
        pck_px=box.side,
        side=0,
        dominant=False,
        mask=np.zeros((stored, -(-stored // 8)), np.uint8),
    )


def _square(draw: np.random.Generator, picture: Picture, side: float) -> Box:
    """Give a square about a random place of a picture."""
    x, y = draw.uniform(0, (picture.shape[1], picture.shape[0]))
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def _empty_box(sides: Picture, side: float, draw: np.random.Generator) -> Box | None:
    """Give a square about a random place that shows no hand; None where ten places are a hand's."""
    for _ in range(10):
        box = _square(draw, sides, side)
        rows, columns = (
            slice(max(0, round(low)), round(high)) for low, high in ((box.top, box.bottom), (box.left, box.right))
        )
        if np.count_nonzero(sides[rows, columns]) <= MAX_HAND_SHARE * side**2:
            return box
    return None


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


def prepare(
    path: Path, folder: Path, params: PreprocessParams, backgrounds: Sequence[Path] = (), workers: int | None = None
) -> pd.DataFrame:
    """Write both sets and index.csv of an archive to `folder`, all or nothing, and give the index.

    `backgrounds` are photographs without a hand. Samples come in ascending order of their id whatever the number of
    workers, so the bytes are always the same.
    Raises DataError where the archive cannot be read or more than `max_bad_fraction` of its samples cannot.
    """
    with RhdArchive(path) as archive:
        splits = split_ids(archive, params)
    partial_folder = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial_folder, ignore_errors=True)
    for name in ("segment", "pose"):
        (partial_folder / name).mkdir(parents=True)
    parts = round(params.background_share * len(splits["train"][1])) if backgrounds else 0
    total = sum(len(ids) for _, ids in splits.values()) + parts
    try:
        index: list[HandRow] = []
        with (
            processes.pool(workers) as pool,
            tqdm(total=total, desc="preprocess", unit="sample") as bar,
        ):
            for split, (archive_split, ids) in splits.items():
                work = partial(prepare_sample, path, params, backgrounds, split, archive_split)
                samples = pool.in_order(work, ids)
                if split == "train":
                    of_photographs = partial(prepare_background, backgrounds, params)
                    samples = chain(samples, pool.in_order(of_photographs, range(parts)))
                index += _write_split(partial_folder, split, params, samples, bar)
        table = pd.DataFrame([asdict(row) for row in index])
        _check_bad_fraction(table, path, params.max_bad_fraction)
        _check_sets(table, path)
        _write_facts(partial_folder, table, path.stem, parts, params)
        table.to_csv(partial_folder / "index.csv", index=False, float_format="%.3f")
        shutil.rmtree(folder, ignore_errors=True)
        partial_folder.replace(folder)
    except (OSError, BrokenProcessPool) as error:
        what = f"cannot be written, got '{getattr(error, 'strerror', None) or error}'"
        raise EnvironmentFault(f"{folder}: {what}; free some space, memory or rights") from None
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
    return table


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
            rows = count(crops.rows)  # of the hands, which come first
            if sample.image is not None and sample.mask is not None:
                segment[0].append(sample.image)
                segment[1].append(sample.mask)
                segment_ids.append(sample.sample_id)
            for hand in sample.hands:
                crops.append(hand.image)
                keypoints.append(hand.keypoints)
                visible.append(hand.visible)
                boxes.append(hand.box)
                pck_px.append(hand.pck_px)
                sides.append(hand.side)
                dominant.append(hand.dominant)
                hand_masks.append(hand.mask)
                pose_ids.append(sample.sample_id)
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


def _write_facts(folder: Path, table: pd.DataFrame, source: str, backgrounds: int, params: PreprocessParams) -> None:
    """Write what later stages must know about the data beside each set."""
    kept = table[table["status"] == "kept"]
    readable = table[~table["status"].str.startswith("unreadable")]
    facts = {"source": source, "crop_scale": params.crop_scale} | ({"backgrounds": backgrounds} if backgrounds else {})
    sizes = {"segment": params.image_size, "pose": params.crop_size}
    rows = {
        "segment": readable.drop_duplicates(["split", "sample_id"]).groupby("split").size(),
        "pose": kept.groupby("split").size(),
    }
    for name, counts in rows.items():
        all_facts = facts | {"image_size": sizes[name], "rows": {split: int(counts.get(split, 0)) for split in SPLITS}}
        (folder / name / "facts.json").write_text(json.dumps(all_facts, indent=2) + "\n")
