"""Sources of pictures to training arrays: the segment set, the pose set, and an index of every hand.

    segment/{split}_images.npy (N, S, S, 3) uint8     pose/{split}_images.npy    (M, C, C, 3) uint8
    segment/{split}_masks.npy  (N, S, S) uint8         pose/{split}_keypoints.npy (M, 21, 2) float32, `keypoints_crop`
    segment/{split}_ids.npy    (N,) int32              pose/{split}_visible.npy   (M, 21) bool
    segment/{split}_sources.npy (N,) uint8             pose/{split}_boxes.npy     (M, 4) float32 source px, xyxy
                                                       pose/{split}_pck_px.npy    (M,) float32 source px
    {set}/facts.json, index.csv                        pose/{split}_sides.npy     (M,) uint8 1 left, 2 right, 3 one of
                                                                                  them, 0 no hand
                                                       pose/{split}_dominant.npy  (M,) bool: the picture's larger mask
                                                       pose/{split}_masks.npy     (M, C, C / 8) uint8, 8 pixels a byte
                                                       pose/{split}_ids.npy       (M,) int32
                                                       pose/{split}_sources.npy   (M,) uint8
                                                       pose/{split}_picture_px.npy (M,) int32 the picture's longer side

S is the net's input; the crop's central S x S pixels are the net's input too, and C - S more are a margin for
augmentation. Masks hold the values of `source`, `sources` places in the facts' list of sources. Splits: `test` is a
source's evaluation split, `val` a seeded part of its training split. The train split also has crops that show no hand,
and crops of hands whose keypoints nobody marked (none is visible). Where photographs without a hand are given, they
stand behind some persons of the train split, and parts of them are rows of their own (ids below 0).
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from tqdm import tqdm

from handloom import files, processes
from handloom.data.npy import NpyWriter
from handloom.data.rows import HandRow, Place, Prepared, prepare_background, prepare_sample, stored_size
from handloom.data.source import Source
from handloom.errors import DataError
from handloom.params import PreprocessParams

SPLITS: Final = ("train", "val", "test")


def split_ids(source: Source, params: PreprocessParams, *, trains: bool = True) -> dict[str, tuple[str, list[int]]]:
    """Give each split's part of a source and its sample ids, in ascending order; one that does not train only tests."""
    training, evaluation = (source.ids(split) for split in ("training", "evaluation"))
    groups = sorted({source.group(i) for i in training})
    order = np.random.default_rng(params.seed).permutation(len(groups))
    val = {groups[i] for i in order[: round(len(groups) * params.val_fraction)]}
    return {
        "train": ("training", [i for i in training if source.group(i) not in val] if trains else []),
        "val": ("training", [i for i in training if source.group(i) in val] if trains else []),
        "test": ("evaluation", evaluation),
    }


def prepare(
    sources: Sequence[Source],
    folder: Path,
    params: PreprocessParams,
    backgrounds: Sequence[Path] = (),
    workers: int | None = None,
    *,
    tested_only: Collection[str] = (),
) -> pd.DataFrame:
    """Write both sets and index.csv of all sources to `folder`, all or nothing, and give the index.

    `backgrounds` are photographs without a hand; sources named in `tested_only` give no training rows. Samples come in
    order of sources and of ids, ascending, whatever the number of workers, so the bytes are always the same.
    Raises DataError where a source cannot be read or more than `max_bad_fraction` of the samples cannot.
    """
    names = [source.name for source in sources]
    splits = [split_ids(source, params, trains=source.name not in tested_only) for source in sources]
    parts = round(params.background_share * sum(len(of["train"][1]) for of in splits)) if backgrounds else 0
    total = sum(len(ids) for of in splits for _, ids in of.values()) + parts
    index: list[HandRow] = []
    masked: dict[str, int] = {}
    with (
        files.whole_folder(folder) as new,
        processes.pool(workers) as pool,
        tqdm(total=total, desc="preprocess", unit="sample") as bar,
    ):
        for name in ("segment", "pose"):
            (new / name).mkdir()
        for split in SPLITS:
            samples: list[Iterator[Prepared]] = []
            for number, (source, of) in enumerate(zip(sources, splits, strict=True)):
                part, ids = of[split]
                place = Place(source, number, split, part)
                samples.append(pool.in_order(partial(prepare_sample, place, params, backgrounds), ids))
            if split == "train":
                first = next((number for number, of in enumerate(splits) if of["train"][1]), 0)
                of_photographs = partial(prepare_background, backgrounds, params, first)
                samples.append(pool.in_order(of_photographs, range(parts)))
            own, masked[split] = _write_split(new, split, params, names, chain.from_iterable(samples), bar)
            index += own
        table = pd.DataFrame([asdict(row) for row in index])
        where = "+".join(names)
        _check_bad_fraction(table, where, params.max_bad_fraction)
        _check_sets(table, masked, where)
        _write_facts(new, table, masked, names, parts, params)
        table.to_csv(new / "index.csv", index=False, float_format="%.3f")
    return table


def _write_split(
    folder: Path,
    split: str,
    params: PreprocessParams,
    names: Sequence[str],
    samples: Iterator[Prepared],
    bar: "tqdm[Any]",
) -> tuple[list[HandRow], int]:
    """Append every sample of a split to its arrays; gives its index rows and how many pictures have a mask."""
    size, crop = params.image_size, stored_size(params)
    index: list[HandRow] = []
    masked = 0
    with ExitStack() as stack:

        def column(name: str, shape: tuple[int, ...], dtype: type) -> NpyWriter:
            set_name, _, array = name.partition("/")
            return stack.enter_context(NpyWriter(folder / set_name / f"{split}_{array}.npy", shape, dtype))

        segment = column("segment/images", (size, size, 3), np.uint8), column("segment/masks", (size, size), np.uint8)
        segment_ids, pose_ids = column("segment/ids", (), np.int32), column("pose/ids", (), np.int32)
        segment_sources, pose_sources = (column(f"{name}/sources", (), np.uint8) for name in ("segment", "pose"))
        picture_px = column("pose/picture_px", (), np.int32)
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
                segment_sources.append(sample.source)
                masked += sample.sample_id >= 0  # not a part of a photograph
            elif split == "test" and sample.hands:
                raise DataError(
                    f"{names[sample.source]}: picture {sample.sample_id} is held out and has keypoints, got no mask to "
                    "find its hands by; add one, or say in evaluation.txt which pictures are held out"
                )
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
                pose_sources.append(sample.source)
                picture_px.append(hand.picture_px)
            index += [_with_row(row, next(rows)) if row.status == "kept" else row for row in sample.index]
            bar.update()
    return index, masked


def _with_row(row: HandRow, number: int) -> HandRow:
    return HandRow(**{**asdict(row), "row": number})


def num_samples(table: pd.DataFrame) -> int:
    """Give of how many samples the rows of an index are."""
    return len(table.drop_duplicates(["source", "split", "sample_id"]))


def _check_bad_fraction(table: pd.DataFrame, where: str, allowed: float) -> None:
    bad = table[table["status"].str.startswith("unreadable")]
    num_bad, num_all = num_samples(bad), num_samples(table)
    if num_bad > allowed * num_all:
        first = bad["status"].iloc[0].removeprefix("unreadable: ").rpartition("; ")[0]
        raise DataError(
            f"{first}; {num_bad} of {num_all} samples of {where} are unreadable: replace it, or raise "
            f"preprocess.max_bad_fraction from {allowed} to leave them out"
        )


def _check_sets(table: pd.DataFrame, masked: Mapping[str, int], where: str) -> None:
    for split in SPLITS:
        if not (table.loc[table["split"] == split, "status"] == "kept").any():
            raise DataError(
                f"{where}: no hand for the {split} split, got '0'; take more samples, or lower "
                "preprocess.min_hand_pixels or preprocess.val_fraction"
            )
        if not masked[split]:
            raise DataError(
                f"{where}: no picture with a mask for the {split} split, got '0'; add masks, or a source that has some"
            )


def _write_facts(
    folder: Path,
    table: pd.DataFrame,
    masked: Mapping[str, int],
    sources: list[str],
    backgrounds: int,
    params: PreprocessParams,
) -> None:
    """Write what later stages must know about the data beside each set; `masked` counts pictures with a mask."""
    kept = table[table["status"] == "kept"]
    facts = {"sources": sources, "crop_scale": params.crop_scale}
    facts |= {"backgrounds": backgrounds} if backgrounds else {}
    sizes = {"segment": params.image_size, "pose": params.crop_size}
    rows: dict[str, Any] = {"segment": masked, "pose": kept.groupby("split").size()}
    for name, counts in rows.items():
        all_facts = facts | {"image_size": sizes[name], "rows": {split: int(counts.get(split, 0)) for split in SPLITS}}
        (folder / name / "facts.json").write_text(json.dumps(all_facts, indent=2) + "\n")
