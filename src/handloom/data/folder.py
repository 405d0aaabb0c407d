"""A person's own pictures: a folder of them with masks, keypoints or both.

    images/*          of any size and format that `images.read` takes; the id is the place among the sorted names
    masks/STEM.png    0 background, 255 hand of unknown side, 1 left, 2 right, 128 neither hand nor background
    keypoints.json    COCO's layout; x and y follow `geometry`: integers are pixel centres, nothing is shifted
    evaluation.txt    globs of names, one a line, of what is held out; without it a tenth by the hash of the name

Each picture needs a mask or keypoints; without both nobody would know whether it shows no hand.
"""

from collections import Counter
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handloom import images
from handloom.data import coco
from handloom.data.numpickle import quote
from handloom.data.reading import faults
from handloom.data.source import IGNORE, LEFT, RIGHT, UNKNOWN, Hand, Sample, numbered
from handloom.errors import DataError
from handloom.images import Picture

VALUES: Final = {0: 0, 1: LEFT, 2: RIGHT, 128: IGNORE, 255: UNKNOWN}
"""What each value of a mask file means."""
HELD_OUT: Final = 10
"""One of so many serves evaluation alone where no evaluation.txt says which."""


class PictureFolder:
    """A folder of pictures. Pickles as its path, and is read once in each process that unpickles it."""

    def __init__(self, folder: Path) -> None:
        """List the pictures of `folder` and read its keypoints.json and evaluation.txt; masks are read one by one."""
        self.folder, self.name = folder, folder.name
        self.names = _names(folder / "images")
        self._hands = coco.read(folder / "keypoints.json", self.names)
        self._held_out = _held_out(folder / "evaluation.txt", self.names)
        for name in self.names:
            if name not in self._hands and not (mask := self._mask_path(name)).exists():
                what = f"must have a mask or keypoints, got no {mask} and no annotation"
                raise DataError(f"{folder / 'images' / name}: {what}; add one or remove the picture")

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        """Pickle as the path."""
        return _opened, (self.folder,)

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation", ascending."""
        held_out = split == "evaluation"
        return [number for number, name in enumerate(self.names) if (name in self._held_out) == held_out]

    def group(self, sample_id: int) -> int:
        """Give a number of its own to each picture."""
        return sample_id

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample; where nobody has marked keypoints, a hand for each side that its mask shows."""
        name, picture = self.names[sample_id], self.picture(split, sample_id)
        path = self._mask_path(name)
        mask = numbered(_mask(path, picture)) if path.exists() else None
        hands = self._hands.get(name, ())
        if mask is not None and not hands:
            hands = tuple(Hand(side, None, None) for side in (LEFT, RIGHT, UNKNOWN) if (mask == side).any())
        return Sample(picture, mask, hands)

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone, (H, W, 3), upright."""
        return images.read(self.folder / "images" / self.names[sample_id])

    def _mask_path(self, name: str) -> Path:
        return self.folder / "masks" / f"{Path(name).stem}.png"


@lru_cache(maxsize=8)
def _opened(folder: Path) -> PictureFolder:
    return PictureFolder(folder)


def _names(folder: Path) -> list[str]:
    """Give the sorted names of the pictures, hidden files aside."""
    names = sorted(path.name for path in folder.glob("[!.]*") if path.is_file())
    if not names:
        raise DataError(f"{folder}: must hold pictures, got none; put some there or correct the path")
    stem, number = Counter(Path(name).stem for name in names).most_common(1)[0]
    if number > 1:
        what = "names must differ in more than their endings, for masks are found by the rest"
        raise DataError(f"{folder}: {what}, got {quote([name for name in names if Path(name).stem == stem])}; rename")
    return names


def _held_out(path: Path, names: list[str]) -> set[str]:
    """Give the names for evaluation. Without a list the hash decides, so that adding pictures moves none."""
    if not path.exists():
        return {name for name in names if int(sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0}
    with faults(str(path), "is not readable text", "save it as UTF-8"):
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    found: set[str] = set()
    for glob in (line for line in lines if line and not line.startswith("#")):
        matching = {name for name in names if fnmatchcase(name, glob)}
        if not matching:
            raise DataError(f"{path}: each line must name pictures, got {quote(glob)}; correct or remove it")
        found |= matching
    return found


def _mask(path: Path, picture: Picture) -> NDArray[np.uint8]:
    """Give (H, W) of 0, LEFT, RIGHT, UNKNOWN and IGNORE, as large as its picture."""
    colours = images.read(path)
    values = colours[..., 0]
    if colours.shape != picture.shape:
        wanted, got = (f"{width} x {height}" for height, width, _ in (picture.shape, colours.shape))
        raise DataError(f"{path}: must be as large as its picture, {wanted}, got '{got}'; correct it")
    if (colours != values[..., None]).any():
        raise DataError(f"{path}: must be grey, got 'colours'; save it without a palette")
    if wrong := sorted(set(np.unique(values).tolist()) - set(VALUES)):
        raise DataError(f"{path}: values must be {', '.join(map(str, VALUES))}, got '{wrong[0]}'; correct it")
    table = np.zeros(256, np.uint8)
    table[list(VALUES)] = list(VALUES.values())
    return images.look_up(values, table)
