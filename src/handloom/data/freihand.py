"""Reads FreiHAND in place, never unpacked: real right hands before four backgrounds each (Zimmermann et al. 2019).

    training/rgb/00000000.jpg   4 N pictures of 224 x 224: frame = id modulo N, four backgrounds
    training/mask/00000000.jpg  N masks, hand above 127
    training_K.json (N, 3, 3), training_xyz.json (N, 21, 3) metres, in `skeleton`'s order

Its evaluation part has no masks, so every twentieth frame of the training part serves evaluation here.
"""

import json
import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.rhd import faults
from handloom.data.source import RIGHT, Hand, Sample
from handloom.errors import DataError
from handloom.images import Picture

SIZE: Final = 224
"""Side of every picture, px."""
BACKGROUNDS: Final = 4
HELD_OUT: Final = 20
"""Every twentieth frame."""
_MAX_JSON_BYTES: Final = 1 << 28
_MAX_PICTURE_BYTES: Final = 4 << 20
_AGAIN: Final = "delete the archive and fetch it again"
_LEAVE_OUT: Final = "leave this sample out"


class FreihandArchive:
    """FreiHAND_pub_v2.zip as a source of pictures. Pickles as its path; a process opens it once."""

    name = "freihand"

    def __init__(self, path: Path) -> None:
        """Read the annotation; raises DataError where the archive is another's or damaged."""
        self.path = path
        with faults(str(path), "is not a whole zip file", _AGAIN):
            self._zip = zipfile.ZipFile(path)
        self.cameras, self.xyz = self._table("training_K.json", (3, 3)), self._table("training_xyz.json", (21, 3))
        if len(self.cameras) != len(self.xyz):
            got = f"'{len(self.cameras)} and {len(self.xyz)}'"
            raise DataError(f"{path}: must have as many cameras as hands, got {got}; {_AGAIN}")

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Pickle as the path."""
        return opened, (self.path,)

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation": all four pictures of a frame are in one of them."""
        held_out = split == "evaluation"
        return [i for i in range(BACKGROUNDS * len(self.xyz)) if (self.group(i) % HELD_OUT == 0) == held_out]

    def group(self, sample_id: int) -> int:
        """Give the frame that a picture shows."""
        return sample_id % len(self.xyz)

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample; what lies in the picture counts as visible, since nobody marked what is hidden."""
        frame = self.group(sample_id)
        shown = self.cameras[frame] @ self.xyz[frame].T
        if not np.isfinite(shown).all() or shown[2].min() <= 0:
            raise DataError(
                f"{self.path}: frame {frame}: keypoints must lie before the camera, "
                f"got '{shown[2].min():g} m'; {_LEAVE_OUT}"
            )
        points = (shown[:2] / shown[2]).T.astype(np.float32)
        inside = ((points > -0.5) & (points < SIZE - 0.5)).all(axis=1)
        mask = np.where(self._picture("mask", frame, "L") > 127, RIGHT, 0).astype(np.uint8)
        return Sample(self.picture(split, sample_id), mask, (Hand(RIGHT, points, inside),))

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone."""
        return self._picture("rgb", sample_id, "RGB")

    def _picture(self, kind: str, number: int, mode: str) -> Picture:
        """Give a JPEG of exactly 224 x 224."""
        name = f"training/{kind}/{number:08d}.jpg"
        where = f"{self.path}: {name}"
        data = self._read(name, _MAX_PICTURE_BYTES, _LEAVE_OUT)
        with faults(where, "is not a whole JPEG", _LEAVE_OUT), Image.open(BytesIO(data), formats=["JPEG"]) as image:
            if image.size != (SIZE, SIZE):
                got = "x".join(map(str, image.size))
                raise DataError(f"{where}: must be {SIZE}x{SIZE}, got '{got}'; {_LEAVE_OUT}")
            return np.asarray(image.convert(mode))

    def _table(self, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Give (N, *shape) of a JSON file."""
        data = self._read(name, _MAX_JSON_BYTES, _AGAIN)
        with faults(f"{self.path}: {name}", "is not readable", _AGAIN):
            table = np.array(json.loads(data), np.float64)
            if table.shape[1:] != shape:
                raise ValueError(f"rows of {table.shape[1:]}, not {shape}")
            return table

    def _read(self, name: str, limit: int, remedy: str) -> bytes:
        """Give the bytes of a member, at most `limit`."""
        info = self._zip.NameToInfo.get(name)
        if info is None:
            raise DataError(f"{self.path}: {name} must be in the archive, got no such member; {remedy}")
        if info.file_size > limit:
            raise DataError(f"{self.path}: {name} must have at most {limit} bytes, got '{info.file_size}'; {remedy}")
        with faults(f"{self.path}: {name}", "is not readable", remedy):
            return self._zip.read(info)


@lru_cache(maxsize=2)
def opened(path: Path) -> FreihandArchive:
    """Open an archive, once in a process."""
    return FreihandArchive(path)
