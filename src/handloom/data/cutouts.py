"""Hands cut out of photographs, pasted on backgrounds: any folder of pictures with clean masks as training data.

`pasting` has how each is dressed and put there; the composed picture goes through the renderer's camera, so that noise
and blur tell nobody what was pasted.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom import images, masks
from handloom.data import coco
from handloom.data.pasting import SIZE, Field, Layer, Marks, Rng, dress, paste, seen
from handloom.data.source import OTHERS, Sample
from handloom.data.synthetic.background import draw_background
from handloom.data.synthetic.camera import develop
from handloom.data.synthetic.noise import to_light
from handloom.errors import DataError
from handloom.geometry import Box
from handloom.images import Picture
from handloom.params import CutoutsParams

SPLITS: Final = {"training": 1, "evaluation": 2}
HELD_OUT: Final = 10
"""About every tenth cut-out, and photograph behind them, serves evaluation alone."""
CUTOUT_PX: Final = 400
"""Longer side that a cut-out keeps at least, px: none is pasted larger than 300."""
_COUNT_CHANCES: Final = (0.08, 0.57, 0.27, 0.08)
"""Of no hand, one, two, three."""


class Cutouts:
    """Pictures composed of `folder/*/images` with their `masks` (PNG of the same stem, above 127: hand).

    `folder/*/keypoints.json`, where there is one, says where their keypoints are (`coco`, one hand a picture).
    """

    name = "cutouts"

    def __init__(self, folder: Path, backgrounds: Sequence[Path], params: CutoutsParams, seed: int) -> None:
        """Find the cut-outs; raises DataError where there are none, or one has no mask.

        Half of the pictures have a part of one of `backgrounds` behind them where there are any, the others a drawn
        ground.
        """
        self.folder, self.params, self.seed = folder, params, seed
        self.backgrounds = tuple(backgrounds)
        self._grounds = parted(self.backgrounds)
        self.hands = sorted(path for path in folder.glob("*/images/[!.]*") if path.is_file())
        if not self.hands:
            what = f"{folder}: must hold */images and */masks, got none"
            raise DataError(f"{what}; put cut-outs there, or set sources.cutouts to null")
        if missing := next((path for path in self.hands if not _mask_of(path).exists()), None):
            raise DataError(f"{missing}: must have a mask, got no {_mask_of(missing)}; add it or remove the picture")
        self._marks = _marks(folder, self.hands)
        self._chosen = parted(self.hands)
        if not all(self._chosen.values()):
            raise DataError(f"{folder}: must hold two cut-outs, one is held out, got '1'; add others")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was made of: each process finds the cut-outs once."""
        return _found, (self.folder, self.backgrounds, self.params, self.seed)

    def ids(self, split: str) -> list[int]:
        """Give the ids of "training" or "evaluation"."""
        return list(range(self.params.num_training if split == "training" else self.params.num_evaluation))

    def group(self, sample_id: int) -> int:
        """Give a number of its own to each sample."""
        return sample_id

    def picture(self, split: str, sample_id: int) -> Picture:
        """Give the picture of a sample alone."""
        return self.sample(split, sample_id).picture

    def sample(self, split: str, sample_id: int) -> Sample:
        """Compose a picture: the same for the same folder, seed, split and id."""
        rng = np.random.default_rng([self.seed, SPLITS[split], sample_id])
        chosen = self._chosen[split]
        light = self._ground(rng, self._grounds[split])
        mask, foremost = np.zeros((2, SIZE, SIZE), np.uint8)
        placed = {}
        for label in OTHERS[: int(rng.choice(len(_COUNT_CHANCES), p=_COUNT_CHANCES))]:
            path = chosen[int(rng.integers(len(chosen)))]
            covers, shows, placed[label] = paste(rng, self._dressed(rng, path), light)
            foremost[covers] = label
            mask[covers] = 0
            mask[shows] = label
        shown = (seen(marks, label, mask, foremost) for label, marks in placed.items() if marks)
        picture = develop(rng, light, mask > 0)
        return Sample(picture, mask, tuple(hand for hand in shown if hand))

    def _dressed(self, rng: Rng, path: Path) -> Layer:
        picture, hand, corner, factor = _cutout(path)
        marks = self._marks.get(path)
        if marks and factor > 1:
            points = (marks.points - np.array(corner, np.float32) + 0.5) / factor - 0.5
            marks, corner = Marks(points.astype(np.float32), marks.visible), (0, 0)
        return dress(rng, picture, hand, corner, marks, self.params.relit)

    def _ground(self, rng: Rng, photographs: Sequence[Path]) -> Field:
        """Draw what is behind: (SIZE, SIZE, 3) linear."""
        if not photographs or rng.random() < 0.5:
            return draw_background(rng, SIZE)
        picture = _photograph(photographs[int(rng.integers(len(photographs)))])
        height, width = picture.shape[:2]
        side = min(height, width) * rng.uniform(0.35, 1.0)
        left, top = rng.uniform(0, (width - side, height - side))
        part = images.crop(picture, Box(left, top, left + side, top + side), SIZE)
        return to_light(part[:, ::-1] if rng.random() < 0.5 else part) * np.float32(rng.uniform(0.5, 1.3))


def parted(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Give what of pictures trains and what is held out: by a hash of each name, so that one more moves no other.

    Of several at least one is held out; of one none.
    """
    numbers = {path: int(sha256(f"{path.parent.parent.name}/{path.name}".encode()).hexdigest(), 16) for path in paths}
    out = [path for path in paths if numbers[path] % HELD_OUT == 0]
    if len(out) in (0, len(paths)):
        out = sorted(paths, key=numbers.__getitem__)[: len(paths) > 1]
    return {"training": [path for path in paths if path not in out], "evaluation": out}


def _marks(folder: Path, pictures: Sequence[Path]) -> dict[Path, Marks]:
    """Give the keypoints of each cut-out where somebody has marked them."""
    found = {}
    for own in sorted({path.parent.parent for path in pictures}):
        file = own / "keypoints.json"
        for name, hands in coco.read(file, [path.name for path in pictures if path.parent.parent == own]).items():
            if len(hands) > 1:
                raise DataError(f"{file}: must mark one hand a cut-out, got '{len(hands)}' of {name}; keep one")
            points, visible = hands[0].keypoints_px, hands[0].visible
            assert points is not None
            assert visible is not None
            found[own / "images" / name] = Marks(points, visible)
    return found


@lru_cache(maxsize=2)
def _found(folder: Path, backgrounds: tuple[Path, ...], params: CutoutsParams, seed: int) -> Cutouts:
    return Cutouts(folder, backgrounds, params, seed)


def _mask_of(picture: Path) -> Path:
    return picture.parent.parent / "masks" / f"{picture.stem}.png"


@lru_cache(maxsize=256)
def _photograph(path: Path) -> Picture:
    picture = images.read(path)
    factor = max(1, min(picture.shape[:2]) // (2 * SIZE))
    return np.ascontiguousarray(picture[::factor, ::factor])


@lru_cache(maxsize=4096)
def _cutout(path: Path) -> tuple[Picture, NDArray[np.uint8], tuple[int, int], int]:
    """Give a cut-out and its mask (0 or 255), no larger than its hand, and its corner in the photograph, (x, y).

    One of at least twice `CUTOUT_PX` is shrunk by the factor that stands last: a phone's takes 20 s to dress.
    """
    picture, mask = images.read(path), images.read(_mask_of(path))[..., 0]
    if picture.shape[:2] != mask.shape:
        raise DataError(f"{_mask_of(path)}: must be as large as its picture, got '{mask.shape}'; correct it")
    hand = (mask > 127).astype(np.uint8) * 255
    if not hand.any():
        raise DataError(f"{_mask_of(path)}: must show a hand, got 'none'; remove it")
    box = masks.tight_box(hand > 0)
    rows, columns = slice(round(box.top), round(box.bottom)), slice(round(box.left), round(box.right))
    corner = columns.start, rows.start
    picture, hand = np.ascontiguousarray(picture[rows, columns]), np.ascontiguousarray(hand[rows, columns])
    if (factor := max(hand.shape) // CUTOUT_PX) > 1:
        picture, hand = (np.asarray(Image.fromarray(each).reduce(factor)) for each in (picture, hand))
        return picture, (hand > 127).astype(np.uint8) * 255, corner, factor
    return picture, hand, corner, 1
