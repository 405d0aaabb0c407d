"""Reads an archive of RHD's layout in place: annotations, colour, mask and depth, never unpacked.

    [any folder/]training/color/00000.png   mask/00000.png   depth/00000.png   anno_training.pickle
    [any folder/]evaluation/...

A fault of the container (not a zip, a missing pickle) stops at once; a fault of one sample is a DataError when that
sample is asked for, so that a caller can count it and go on. Depth is coded as metres = (256 R + G) / 65535 * 5.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.numpickle import load_numbers, quote, to_numpy
from handloom.data.reading import AGAIN, LEAVE_OUT, Zip, faults
from handloom.data.source import LEFT, RIGHT, Hand, Sample
from handloom.errors import DataError
from handloom.images import look_up
from handloom.skeleton import FROM_RHD, NUM_KEYPOINTS

SPLITS: Final = ("training", "evaluation")
SIZE: Final = 320
"""Side of every picture, px."""
NUM_IDS: Final = 34
SIDES: Final = {"left": LEFT, "right": RIGHT}
HAND_IDS: Final = {"left": range(2, 18), "right": range(18, NUM_IDS)}
"""Mask ids of each hand: three per finger from thumb to little finger, then the palm."""

_MAX_PICKLE_BYTES: Final = 1 << 30
_MAX_PICTURE_BYTES: Final = 4 << 20
_MAX_SAMPLE_ID: Final = 10**8
_MODES: Final = {0: "L", 2: "RGB"}


def hand_mask(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give (H, W) with 0 background, 1 left hand, 2 right hand, from mask ids (H, W) in 0...33."""
    table = np.zeros(256, np.uint8)
    for name, hand in HAND_IDS.items():
        table[list(hand)] = SIDES[name]
    return look_up(ids, table)


@dataclass(frozen=True, eq=False, slots=True)
class Annotation:
    """What RHD says of one sample: its own keypoint order, left hand 0...20, right hand 21...41."""

    camera: NDArray[np.float32]
    """(3, 3): [[f, 0, 160], [0, f, 160], [0, 0, 1]], px."""
    uv: NDArray[np.float32]
    """(42, 2) pixel coordinates (x, y); may lie outside the picture."""
    visible: NDArray[np.bool_]
    """(42,)."""
    xyz: NDArray[np.float32]
    """(42, 3) metres; camera frame, x right, y down, z forward."""

    def hand(self, side: str) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
        """Give keypoints_px (21, 2), visible (21,), xyz_m (21, 3) of "left" or "right", in skeleton order."""
        points = np.array(FROM_RHD) + NUM_KEYPOINTS * ("left", "right").index(side)
        return self.uv[points], self.visible[points], self.xyz[points]


class RhdArchive:
    """An open archive. Pickles as its path; a forked process opens the file anew, for offsets are shared.

    Every method may raise DataError (the archive is wrong) or EnvironmentFault (the disk is).
    """

    def __init__(self, path: Path) -> None:
        """Open the archive at `path` and find its top folder: any single one, or none."""
        self.path = path
        self._records: dict[str, dict[int, object]] = {}
        self._zip = Zip(path)
        tails = tuple(f"{split}/anno_{split}.pickle" for split in SPLITS)
        tops = {name.removesuffix(tail) for tail in tails for name in self._zip.names() if name.endswith(tail)}
        tops = {top for top in tops if not top or top.endswith("/")}
        if len(tops) != 1:
            self.close()
            what = f"one folder with {' or '.join(tails)}"
            raise DataError(f"{path}: must have {what}, got {quote(sorted(tops))}; give an archive of RHD's layout")
        (self._zip.top,) = tops

    def __enter__(self) -> Self:
        """Give the archive itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Pickle as the path: whoever unpickles opens the file anew."""
        return type(self), (self.path,)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give all of one sample that training needs."""
        annotation = self.annotation(split, sample_id)
        picture, ids = self.color(split, sample_id), self.mask(split, sample_id)
        hands = (Hand(side, *annotation.hand(name)[:2]) for name, side in SIDES.items())
        return Sample(picture, hand_mask(ids), tuple(hands), ids > 0)

    def ids(self, split: str) -> list[int]:
        """Give the ids of a split's samples, ascending, those of bad records too."""
        return sorted(self._records_of(split))

    def annotation(self, split: str, sample_id: int) -> Annotation:
        """Give one checked annotation. The split's pickle is read at the first call, and its raw records kept."""
        records = self._records_of(split)
        try:
            return _annotation(records.get(sample_id, "no record"))
        except ValueError as error:
            raise DataError(f"{self.path}: {split}/{sample_id:05d}: {error}; {LEAVE_OUT}") from error

    def color(self, split: str, sample_id: int) -> NDArray[np.uint8]:
        """Give the picture, (320, 320, 3) uint8 RGB."""
        return self._picture(split, "color", sample_id, channels=3)

    def mask(self, split: str, sample_id: int) -> NDArray[np.uint8]:
        """Give the mask, (320, 320) uint8: 0 background, 1 person, 2...17 left hand, 18...33 right hand."""
        ids = self._picture(split, "mask", sample_id, channels=1)
        if (highest := int(ids.max())) >= NUM_IDS:
            where = f"{self.path}: {split}/{sample_id:05d}"
            raise DataError(f"{where}: mask ids must be 0...{NUM_IDS - 1}, got '{highest}'; {LEAVE_OUT}")
        return ids

    def depth(self, split: str, sample_id: int) -> NDArray[np.float32]:
        """Give the depth, (320, 320) float32 metres in 0...5."""
        coded = self._picture(split, "depth", sample_id, channels=3).astype(np.float32)
        metres: NDArray[np.float32] = (coded[..., 0] * 256 + coded[..., 1]) * np.float32(5 / 65535)
        return metres

    def _records_of(self, split: str) -> dict[int, object]:
        if split not in self._records:
            self._records[split] = self._load_records(split)
        return self._records[split]

    def _load_records(self, split: str) -> dict[int, object]:
        where = f"{self.path}: {split}"
        stream = self._zip.member(f"{split}/anno_{split}.pickle", _MAX_PICKLE_BYTES, where, AGAIN)
        with faults(where, "is not a readable pickle", AGAIN), stream:
            records = load_numbers(stream, where)
            while stream.read(1 << 20):
                pass  # zipfile compares the CRC only at the member's end
        if not isinstance(records, dict):
            raise DataError(f"{where}: must be a dict by sample id, got {quote(records)}; {AGAIN}")
        for key in records:
            if not isinstance(key, (int, np.integer)) or isinstance(key, bool) or not 0 <= key < _MAX_SAMPLE_ID:
                raise DataError(f"{where}: sample ids must be integers from 0, got {quote(key)}; {AGAIN}")
        return {int(key): record for key, record in records.items()}

    def _picture(self, split: str, kind: str, sample_id: int, channels: int) -> NDArray[np.uint8]:
        """Give one PNG of exactly 320 x 320 and 8 bits, refused by its header before anything is decoded."""
        where, name = f"{self.path}: {split}/{sample_id:05d}", f"{split}/{kind}/{sample_id:05d}.png"
        stream = self._zip.member(name, _MAX_PICTURE_BYTES, where, LEAVE_OUT)
        with faults(where, f"{kind} is not readable", LEAVE_OUT), stream:
            data = stream.read()
        found, wanted = _png_header(data), (SIZE, SIZE, 8, {1: 0, 3: 2}[channels])
        if found != wanted:
            what = f"{kind} must be a PNG of {_describe(wanted)}"
            raise DataError(f"{where}: {what}, got '{_describe(found)}'; {LEAVE_OUT}")
        with (
            faults(where, f"{kind} is not a whole PNG", LEAVE_OUT),
            Image.open(BytesIO(data), formats=["PNG"]) as image,
        ):
            # A second header chunk may say otherwise than the first, so Pillow's own reading is held to the same.
            if (image.size, image.mode) != ((SIZE, SIZE), _MODES[wanted[3]]):
                raise ValueError(f"two headers: {image.size}, {image.mode}")
            return np.array(image)


@dataclass(frozen=True)
class RhdSource:
    """An archive as a source of pictures; each process opens it once."""

    name: str
    path: Path

    def ids(self, split: str) -> list[int]:
        """Give the ids of a split's samples, ascending, those of bad records too."""
        return _opened(self.path).ids(split)

    def group(self, sample_id: int) -> int:
        """Give a number of its own to each sample."""
        return sample_id

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample."""
        return _opened(self.path).sample(split, sample_id)

    def joints(self, split: str, sample_id: int) -> NDArray[np.float32]:
        """Give the joints of both hands, (42, 3) metres, in RHD's order."""
        return _opened(self.path).annotation(split, sample_id).xyz

    def picture(self, split: str, sample_id: int) -> NDArray[np.uint8]:
        """Give the picture of a sample alone."""
        return _opened(self.path).color(split, sample_id)


@lru_cache(maxsize=2)
def _opened(path: Path) -> RhdArchive:
    return RhdArchive(path)


def _png_header(data: bytes) -> tuple[int, int, int, int] | None:
    """Give width, height, bits per sample and colour type, or None if this is no PNG."""
    if len(data) < 26 or not data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return None
    width, height, bits, color_type = struct.unpack_from(">IIBB", data, 16)
    return width, height, bits, color_type


def _describe(header: tuple[int, int, int, int] | None) -> str:
    if header is None:
        return "no PNG"
    width, height, bits, color_type = header
    return f"{width} x {height}, {bits} bits, {_MODES.get(color_type, f'color type {color_type}')}"


def _annotation(record: object) -> Annotation:
    """Give the checked annotation of a raw record, or raise ValueError."""
    camera, uv_vis, xyz = (_floats(record, key, rows) for key, rows in (("K", 3), ("uv_vis", 42), ("xyz", 42)))
    focal = float(camera[0, 0])
    form: list[list[float]] = [[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]]
    if focal <= 0 or not np.allclose(camera, form, rtol=1e-5, atol=1e-2):
        raise ValueError(f"K must be [[f, 0, 160], [0, f, 160], [0, 0, 1]], got '{camera.tolist()}'")
    visible = uv_vis[:, 2]
    if not np.isin(visible, (0, 1)).all():
        raise ValueError(f"uv_vis[:, 2] must be 0 or 1, got {quote(visible[~np.isin(visible, (0, 1))].tolist())}")
    return Annotation(camera, uv_vis[:, :2].copy(), visible == 1, xyz)


def _floats(record: object, key: str, rows: int) -> NDArray[np.float32]:
    """Give the (rows, 3) float32 array at `key`, finite everywhere."""
    if not isinstance(record, dict) or key not in record:
        raise ValueError(f"must be a dict with K, uv_vis and xyz, got {quote(record)}")
    try:
        with np.errstate(over="ignore"):
            floats = to_numpy(record[key], (rows, 3)).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error
    if not (finite := np.isfinite(floats)).all():
        raise ValueError(f"{key} must be finite, got {quote(floats[~finite].tolist())}")
    return floats
