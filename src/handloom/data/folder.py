"""A person's own pictures as a source: docs/own-pictures.md says how the folder looks."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handloom import images
from handloom.data.source import IGNORE, LEFT, RIGHT, UNKNOWN, Hand, Sample, numbered
from handloom.errors import DataError
from handloom.images import Picture
from handloom.skeleton import NUM_KEYPOINTS

MASK_VALUES: Final = {0: 0, LEFT: LEFT, RIGHT: RIGHT, 128: IGNORE, 255: UNKNOWN}
"""What a mask file may hold, and what that means."""
SIDES: Final = {"left": LEFT, "right": RIGHT, None: UNKNOWN}
VISIBLE: Final = 2
"""COCO's mark of a keypoint that shows; 1 is hidden, 0 not marked."""
HELD_OUT: Final = 10
"""One in ten pictures is held out where nobody says which, by its name, so that new pictures move no old one."""


class PictureFolder:
    """Pictures with masks, keypoints, or both. Pickles as its path; a process reads the keypoints once."""

    def __init__(self, folder: Path) -> None:
        """Read what the folder holds; raises DataError where it is not as the page says."""
        self.folder, self.name = folder, folder.name
        self.pictures = sorted(path for path in (folder / "images").glob("*") if path.is_file())
        if not self.pictures:
            what = f"{folder}/images: must hold pictures, got none"
            raise DataError(f"{what}; put them there, or set sources.{self.name} to null")
        self.hands = self._marked()
        for path in self.pictures:
            if not self._mask_of(path).exists() and path.name not in self.hands:
                raise DataError(
                    f"{path}: must have a mask or keypoints, got neither {self._mask_of(path)} nor an annotation; "
                    "add one or remove the picture"
                )

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Pickle as the path."""
        return opened, (self.folder,)

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation": places in the list of pictures."""
        listed = self.folder / "evaluation.txt"
        globs = listed.read_text().split() if listed.exists() else None
        held_out = split == "evaluation"
        return [i for i, path in enumerate(self.pictures) if _is_held_out(path.name, globs) == held_out]

    def group(self, sample_id: int) -> int:
        """Give a number of its own to each picture."""
        return sample_id

    def sample(self, split: str, sample_id: int) -> Sample:
        """Give one checked sample."""
        path, picture = self.pictures[sample_id], self.picture(split, sample_id)
        mask = self._mask(path, picture.shape[:2])
        marked = self.hands.get(path.name)
        if marked is None:
            assert mask is not None
            marked = tuple(Hand(side, None, None) for side in (LEFT, RIGHT) if (mask == side).any())
        return Sample(picture, mask, marked)

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone."""
        return images.read(self.pictures[sample_id])

    def _mask_of(self, picture: Path) -> Path:
        return self.folder / "masks" / f"{picture.stem}.png"

    def _mask(self, picture: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        path = self._mask_of(picture)
        if not path.exists():
            return None
        values = images.read(path)[..., 0]
        if values.shape != shape:
            raise DataError(f"{path}: must be as large as its picture, {shape}, got '{values.shape}'; correct it")
        if wrong := sorted(set(np.unique(values).tolist()) - MASK_VALUES.keys()):
            known = ", ".join(map(str, MASK_VALUES))
            raise DataError(f"{path}: values must be among {known}, got '{wrong[0]}'; save it as PNG with these alone")
        table = np.zeros(256, np.uint8)
        table[list(MASK_VALUES)] = list(MASK_VALUES.values())
        return numbered(images.look_up(values, table))

    def _marked(self) -> Mapping[str, tuple[Hand, ...]]:
        """Give the hands of keypoints.json by the names of their pictures."""
        path = self.folder / "keypoints.json"
        if not path.exists():
            return {}
        try:
            said = json.loads(path.read_text())
            names = {each["id"]: str(each["file_name"]) for each in said["images"]}
            hands = [(names[each["image_id"]], _hand(each)) for each in said["annotations"]]
        except (KeyError, TypeError, ValueError) as error:
            what = f"got '{type(error).__name__}: {error}'"
            raise DataError(f"{path}: must be COCO keypoints, {what}; docs/own-pictures.md shows it") from None
        known = {picture.name for picture in self.pictures}
        if unknown := next((name for name, _ in hands if name not in known), None):
            raise DataError(f"{path}: must name pictures of {self.folder}/images, got '{unknown}'; correct it")
        return {name: tuple(_of(hands, name)) for name in dict(hands)}


def _of(hands: list[tuple[str, Hand]], name: str) -> Iterator[Hand]:
    return (hand for other, hand in hands if other == name)


def _hand(annotation: Mapping[str, Any]) -> Hand:
    """Give the hand of a COCO annotation, or raise what any wrong one makes Python raise."""
    rows = np.array(annotation["keypoints"], np.float32).reshape(-1, 3)
    if rows.shape != (NUM_KEYPOINTS, 3) or not np.isfinite(rows).all():
        raise ValueError(f"keypoints must be {NUM_KEYPOINTS * 3} finite numbers, got {rows.size}")
    return Hand(SIDES[annotation.get("side")], rows[:, :2].copy(), rows[:, 2] == VISIBLE)


def _is_held_out(name: str, globs: list[str] | None) -> bool:
    if globs is None:
        return int(sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0
    return any(fnmatch(name, glob) for glob in globs)


@lru_cache(maxsize=8)
def opened(folder: Path) -> PictureFolder:
    """Open a folder, once in a process."""
    return PictureFolder(folder)
