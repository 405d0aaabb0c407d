"""Hands cut out of photographs, pasted on backgrounds: any folder of pictures with clean masks as training data.

Each gets an arm or a sleeve, another colour of skin, light from one side, any rotation and scale; the composed picture
goes through the renderer's camera, so that noise and blur tell nobody what was pasted. Dwibedi et al. 2017 found that a
detector learns the seams of a single way of blending, hence feathers of several widths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from handloom import images, masks
from handloom.data import coco
from handloom.data.source import OTHERS, UNKNOWN, Hand, Sample
from handloom.data.synthetic.background import draw_background
from handloom.data.synthetic.camera import develop
from handloom.data.synthetic.noise import any_colour, clouds, linear, skin_colour, to_light
from handloom.errors import DataError
from handloom.geometry import Box, Points
from handloom.images import Picture
from handloom.params import CutoutsParams

Field = NDArray[np.float32]
Rng = np.random.Generator

SIZE: Final = 320
"""Side of a composed picture, px: RHD's."""
EXTENT: Final = (36.0, 300.0)
"""Least and most of a hand's longer side, px; drawn evenly in its logarithm."""
SPLITS: Final = {"training": 1, "evaluation": 2}
HELD_OUT: Final = 10
"""About every tenth cut-out, and photograph behind them, serves evaluation alone."""
_COUNT_CHANCES: Final = (0.08, 0.57, 0.27, 0.08)
"""Of no hand, one, two, three."""


class _Marks(NamedTuple):
    """A hand's keypoints. Of its side nothing is known: cut-outs are mirrored at random."""

    points: Points
    """(21, 2) in `skeleton.NAMES` order."""
    visible: NDArray[np.bool_]
    """(21,)."""


@dataclass(frozen=True, eq=False, slots=True)
class _Layer:
    """A thing to be pasted, in a frame of its own."""

    light: Field
    """(H, W, 3) linear."""
    alpha: NDArray[np.uint8]
    """(H, W): all that covers what is behind."""
    hand: NDArray[np.uint8]
    """(H, W): of it the hand, 255."""
    marks: _Marks | None
    """Its keypoints, px of this frame; None where nobody has marked them."""


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
        self.hands = sorted(path for path in folder.glob("*/images/*") if path.is_file())
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
            layer = _dress(rng, *_cutout(path), self._marks.get(path))
            covers, shows, placed[label] = _paste(rng, layer, light)
            foremost[covers] = label
            mask[covers] = 0
            mask[shows] = label
        seen = (_seen(marks, label, mask, foremost) for label, marks in placed.items() if marks)
        picture = develop(rng, light, mask > 0)
        return Sample(picture, mask, tuple(hand for hand in seen if hand))

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


def _marks(folder: Path, pictures: Sequence[Path]) -> dict[Path, _Marks]:
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
            found[own / "images" / name] = _Marks(points, visible)
    return found


def _seen(marks: _Marks, label: int, mask: NDArray[np.uint8], foremost: NDArray[np.uint8]) -> Hand | None:
    """Give the hand of keypoints, px of the picture, of which what was pasted later hides some.

    None where under half of them lie on its mask. `foremost` (SIZE, SIZE) says what was pasted last at each pixel: a
    keypoint just beside its own silhouette is visible.
    """
    points, visible = marks
    inside = ((points >= -0.5) & (points < SIZE - 0.5)).all(axis=1)
    column, row = np.rint(points).astype(int).clip(0, SIZE - 1).T
    if 2 * np.count_nonzero(inside & (mask[row, column] == label)) < len(points):
        return None
    return Hand(UNKNOWN, points, visible & inside & np.isin(foremost[row, column], (0, label)))


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
def _cutout(path: Path) -> tuple[Picture, NDArray[np.uint8], tuple[int, int]]:
    """Give a cut-out and its mask (0 or 255), no larger than its hand, and its corner in the photograph, (x, y)."""
    picture, mask = images.read(path), images.read(_mask_of(path))[..., 0]
    if picture.shape[:2] != mask.shape:
        raise DataError(f"{_mask_of(path)}: must be as large as its picture, got '{mask.shape}'; correct it")
    hand = (mask > 127).astype(np.uint8) * 255
    if not hand.any():
        raise DataError(f"{_mask_of(path)}: must show a hand, got 'none'; remove it")
    box = masks.tight_box(hand > 0)
    rows, columns = slice(round(box.top), round(box.bottom)), slice(round(box.left), round(box.right))
    corner = columns.start, rows.start
    return np.ascontiguousarray(picture[rows, columns]), np.ascontiguousarray(hand[rows, columns]), corner


def _dress(
    rng: Rng, picture: Picture, hand: NDArray[np.uint8], corner: tuple[int, int], marks: _Marks | None
) -> _Layer:
    """Give a cut-out another skin, light from one side, and an arm or a sleeve below its wrist.

    Marks are in pixels of the photograph, in which the cut-out begins at `corner`.
    """
    height, width = hand.shape
    arm = round(height * rng.uniform(0.5, 3.5)) if rng.random() < 0.85 else 0
    room = round(arm * 0.4)
    frame = height + arm, width + 2 * room
    layer = _Layer(np.zeros((*frame, 3), np.float32), np.zeros(frame, np.uint8), np.zeros(frame, np.uint8), None)
    inside = slice(0, height), slice(room, room + width)
    layer.light[inside] = _recoloured(rng, to_light(_bled(picture, hand)), hand)
    layer.alpha[inside] = layer.hand[inside] = hand
    sleeve = _add_arm(rng, layer, height) if arm else math.inf
    slope = rng.normal(0, 0.6, 2) / max(height, width)
    rows, columns = (np.arange(n, dtype=np.float32) - n / 2 for n in frame)
    side = np.clip(1 + slope[0] * rows[:, None] + slope[1] * columns, 0.35, 1.8).astype(np.float32)
    np.multiply(layer.light, side[..., None], out=layer.light)
    if marks is None:
        return layer
    points = marks.points + np.array([room - corner[0], -corner[1]], np.float32)
    return replace(layer, marks=_Marks(points, marks.visible & (points[:, 1] < sleeve - 0.5)))


def _bled(picture: Picture, hand: NDArray[np.uint8]) -> Picture:
    """Fill what is not hand with the nearest hand's colours, so that no seam shows the photograph's own ground."""
    core = cv2.erode(hand, np.ones((3, 3), np.uint8))
    inner = core if core.any() else hand
    _, nearest = cv2.distanceTransformWithLabels(
        (inner == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[inner > 0]] = picture[inner > 0]
    return np.asarray(np.where(inner[..., None] > 0, picture, colours[nearest]), np.uint8)


def _recoloured(rng: Rng, light: Field, hand: NDArray[np.uint8]) -> Field:
    """Move a hand's mean colour towards that of another skin, and its brightness."""
    mean = light[hand > 0].mean(axis=0)
    share = rng.uniform(0.0, 1.0)
    target = np.asarray(linear(skin_colour(rng)), np.float32)
    # Python's powers, sines and exponentials are the same on all processors; numpy's differ in their last bits
    ratio = np.maximum(target, 0.01) / np.maximum(mean, 0.01)
    gain = np.array([float(each) ** share for each in ratio], np.float32)
    return np.asarray(light * (gain * rng.uniform(0.7, 1.3)).astype(np.float32))


def _add_arm(rng: Rng, layer: _Layer, height: int) -> float:
    """Draw an arm, bare or sleeved, from the lowest rows of a hand to the end of its frame, in place.

    A bare arm has the colours across the wrist, drawn out; the wrist is where the mask ends below, at row `height`.
    Gives the row at which a sleeve begins, infinity where none does.
    """
    row = height - 1 - round(0.02 * height)
    seen = np.flatnonzero(layer.hand[row])
    if not len(seen):
        return math.inf
    left, right = int(seen[0]), int(seen[-1]) + 1
    light, alpha, hand = layer.light[row:], layer.alpha[row:], layer.hand[row:]
    down = np.arange(len(alpha), dtype=np.float32)
    sleeve = rng.random() < 0.45
    spread = rng.uniform(1.1, 1.5) if sleeve else 1.0
    half = (right - left) / 2 * (spread + rng.uniform(0.0, 0.35) * np.minimum(down / height, 1.0))
    middle = (left + right) / 2 + math.tan(rng.normal(0, 0.25)) * down
    places = np.arange(alpha.shape[1], dtype=np.float32) + 0.5
    across: Field = np.asarray((places - middle[:, None]) / half[:, None], np.float32)
    mottle = np.asarray(clouds(rng, across.shape[0], across.shape[1], int(rng.integers(2, 12))), np.float32) / 255
    cloth = np.asarray(linear(any_colour(rng)), np.float32)
    drawn = (_round(across) * cloth if sleeve else _across(light[0, left:right], across)) * (0.8 + 0.4 * mottle)[
        ..., None
    ]
    # a sleeve lies over the wrist, a bare arm goes on below the hand's own pixels
    there = np.abs(across) < 1 if sleeve else (np.abs(across) < 1) & (alpha == 0)
    light[there], alpha[there], hand[there] = drawn[there], 255, 0
    return row if sleeve else math.inf


def _round(across: Field) -> Field:
    """Give the shading of something round by place -1..1 across it, (..., 1)."""
    return np.asarray(0.45 + 0.55 * np.sqrt(np.clip(1 - across**2, 0, 1))[..., None], np.float32)


def _across(row: Field, across: Field) -> Field:
    """Give the colours of a row (W, 3) by place -1..1 across it."""
    places = np.clip(((across + 1) / 2 * len(row)).astype(np.int32), 0, len(row) - 1)
    return np.asarray(row[places], np.float32)


def _paste(rng: Rng, layer: _Layer, light: Field) -> tuple[NDArray[np.bool_], NDArray[np.bool_], _Marks | None]:
    """Put a layer into a picture, turned, scaled and mirrored at random.

    Give what it covers and what of that is hand, (SIZE, SIZE), and its keypoints, px of the picture.
    """
    rows, columns = (np.flatnonzero((layer.hand > 0).any(axis=axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    scale = math.exp(rng.uniform(math.log(EXTENT[0]), math.log(EXTENT[1]))) / longer
    factor = max(1, round(1 / scale))  # of a shrunk layer each pixel must count
    light_, alpha, hand = (_averaged(each, factor) for each in (layer.light, layer.alpha, layer.hand))
    angle, mirror = rng.uniform(-np.pi, np.pi), rng.choice([-1.0, 1.0])
    cos, sin = np.cos(angle) * scale * factor, np.sin(angle) * scale * factor
    turn = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    centre = np.array([columns.mean(), rows.mean()]) / factor
    affine = np.column_stack([turn, rng.uniform(0.02, 0.98, 2) * SIZE - turn @ centre])
    colours, covers, shows = (
        cv2.warpAffine(each, affine, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border)
        for each, border in ((light_, cv2.BORDER_REPLICATE), (alpha, cv2.BORDER_CONSTANT), (hand, cv2.BORDER_CONSTANT))
    )
    if rng.random() < 0.4:
        light *= 1 - _shadow(rng, covers)[..., None]
    feather = cv2.GaussianBlur(covers, (0, 0), rng.uniform(0.3, 1.4)).astype(np.float32)[..., None] / 255
    light += feather * (colours - light)
    return covers > 127, shows > 127, layer.marks and _followed(layer.marks, layer.hand.shape, hand.shape, affine)


def _followed(marks: _Marks, frame: tuple[int, ...], shrunk: tuple[int, ...], affine: NDArray[np.floating]) -> _Marks:
    """Give keypoints by the way from a layer's frame, shrunk from (height, width) to another, to the picture."""
    points = (marks.points + 0.5) * np.divide(shrunk[::-1], frame[::-1]) - 0.5
    return _Marks((points @ affine[:, :2].T + affine[:, 2]).astype(np.float32), marks.visible)


def _averaged(values: Any, factor: int) -> Any:
    height, width = (max(1, length // factor) for length in values.shape[:2])
    return values if factor == 1 else cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)


def _shadow(rng: Rng, covers: Any) -> Field:
    """Give how much of the light a thing takes from what is behind it, (SIZE, SIZE) 0..1."""
    shift = np.array([[1.0, 0.0, rng.normal(0, 14)], [0.0, 1.0, rng.normal(4, 14)]])
    moved = cv2.warpAffine(covers, shift, (SIZE, SIZE))
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(2, 12))
    return np.asarray(soft, np.float32) * np.float32(rng.uniform(0.2, 0.7) / 255)
