"""Reads FreiHAND_pub_v2.zip in place: photographs of right hands, never unpacked.

    training/rgb/00000000.jpg    four times as many as frames, the frame of each is its id modulo their number:
                                 the same hand before four backgrounds
    training/mask/00000000.jpg   one a frame
    training_K.json (N, 3, 3)    training_xyz.json (N, 21, 3) metres, in skeleton order

The archive's own evaluation pictures come without masks and keypoints, so every 20th frame is held out.
"""

import json
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.numpickle import quote
from handloom.data.reading import AGAIN, LEAVE_OUT, Zip, faults
from handloom.data.source import RIGHT, Hand, Sample
from handloom.errors import DataError
from handloom.geometry import Points
from handloom.images import Picture
from handloom.skeleton import NUM_KEYPOINTS

SIZE: Final = 224
"""Side of every picture, px."""
BACKGROUNDS: Final = 4
HELD_OUT: Final = 20
_MAX_JSON_BYTES: Final = 1 << 28
_MAX_PICTURE_BYTES: Final = 1 << 20


class FreihandArchive:
    """An open archive. Pickles as its path, and is opened once in each process that unpickles it."""

    name = "freihand"

    def __init__(self, path: Path) -> None:
        """Open the archive at `path` and read what it says of all frames."""
        self.path = path
        self._zip = Zip(path)
        try:
            self._cameras = self._numbers("training_K.json", (3, 3))
            self._xyz = self._numbers("training_xyz.json", (NUM_KEYPOINTS, 3))
            if len(self._cameras) != len(self._xyz):
                what = f"training_K.json and training_xyz.json must have as many frames, got '{len(self._cameras)}"
                raise DataError(f"{path}: {what} and {len(self._xyz)}'; {AGAIN}")
        except DataError:
            self._zip.close()
            raise

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        """Pickle as the path."""
        return _opened, (self.path,)

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation", ascending: all four backgrounds of a frame in one split."""
        held_out = split == "evaluation"
        ids = range(BACKGROUNDS * len(self._xyz))
        return [sample_id for sample_id in ids if (self.group(sample_id) % HELD_OUT == 0) == held_out]

    def group(self, sample_id: int) -> int:
        """Give the frame of a picture: its four backgrounds share it."""
        return sample_id % len(self._xyz)

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample: a right hand."""
        points = self._keypoints(sample_id)
        visible: NDArray[np.bool_] = np.all((points >= -0.5) & (points < SIZE - 0.5), axis=1)
        mask = self._decoded("mask", self.group(sample_id), "L") > 127
        hands = (Hand(RIGHT, points, visible),)
        return Sample(self.picture(split, sample_id), mask * np.uint8(RIGHT), hands)

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone, (224, 224, 3)."""
        return self._decoded("rgb", sample_id, "RGB")

    def _keypoints(self, sample_id: int) -> Points:
        """Give (21, 2) px: where the camera sees the points; may lie outside the picture."""
        where = f"{self.path}: {sample_id:08d}"
        camera, xyz = (values[self.group(sample_id)] for values in (self._cameras, self._xyz))
        if not (depths := xyz[:, 2] > 0).all():
            raise DataError(f"{where}: z must be above 0 m, got {quote(xyz[~depths, 2].tolist())}; {LEAVE_OUT}")
        with np.errstate(all="ignore"):  # what is not finite, or too large, stays so
            points: Points = ((xyz @ camera.T)[:, :2] / xyz[:, 2:]).astype(np.float32)
        if not (finite := np.isfinite(points)).all():
            raise DataError(f"{where}: K xyz / z must be finite, got {quote(points[~finite].tolist())}; {LEAVE_OUT}")
        return points

    def _numbers(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Give the (N, *shape) numbers of a JSON member; NaN and infinity among them are a sample's own fault."""
        where = f"{self.path}: {name}"
        data = self._zip.read(name, _MAX_JSON_BYTES, str(self.path), AGAIN)
        with faults(where, "must be JSON of evenly long lists", AGAIN):
            numbers = np.array(json.loads(data))
        if numbers.shape[1:] != shape or not len(numbers) or numbers.dtype.kind not in "iuf":
            got = f"{numbers.dtype.name} of shape {numbers.shape}"
            raise DataError(f"{where}: must be numbers of shape {('N', *shape)}, got '{got}'; {AGAIN}")
        return numbers.astype(np.float64)

    def _decoded(self, kind: str, number: int, mode: str) -> Picture:
        """Give one JPEG of exactly 224 x 224, refused by its header before anything is decoded."""
        name = f"training/{kind}/{number:08d}.jpg"
        data = self._zip.read(name, _MAX_PICTURE_BYTES, str(self.path), LEAVE_OUT)
        where = f"{self.path}: {name}"
        with faults(where, "is not a whole JPEG", LEAVE_OUT), Image.open(BytesIO(data), formats=["JPEG"]) as image:
            if image.size != (SIZE, SIZE):
                got = " x ".join(map(str, image.size))
                raise DataError(f"{where}: must be {SIZE} x {SIZE} pixels, got '{got}'; {LEAVE_OUT}")
            return np.array(image.convert(mode))


@lru_cache(maxsize=2)
def _opened(path: Path) -> FreihandArchive:
    return FreihandArchive(path)
