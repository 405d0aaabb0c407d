"""The prepared arrays as torch batches. Arrays are memory maps: opening costs nothing, reading is by row."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from handloom import warp
from handloom.data import augment
from handloom.errors import DataError
from handloom.geometry import Box
from handloom.params import AugmentParams, PoseAugmentParams
from handloom.skeleton import MIDDLE_MCP, WRIST

LEFT, RIGHT = 1, 2
"""Values of masks and of `sides`."""
IMAGE_FORMAT = torch.channels_last
"""1.2 to 1.6 times faster than the default on a CPU, and what tensor cores want."""


class Mask(NamedTuple):
    """The mask net's target: two (B, S, S) float, 0 or 1."""

    hand: Tensor
    right: Tensor
    """Of hand pixels: whether of a right hand."""


class Keypoints(NamedTuple):
    """The pose net's target."""

    points: Tensor
    """(B, 21, 2) pixels of the network input."""
    visible: Tensor
    """(B, 21) bool."""
    right: Tensor
    """(B,) float: 1 for a right hand, 0 for a left one."""
    hand: Tensor
    """(B,) float: 1 for a hand, 0 for a crop that shows none."""
    mask: Tensor
    """(B, S, S) float, 1 where this hand is; all 0 on a predicted crop."""


def _load(folder: Path, name: str) -> Any:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such array; run `python -m pipeline.stage preprocess`") from None
    except ValueError as error:
        raise DataError(f"{path}: not a whole .npy file, {error}; run `dvc repro preprocess`") from None


def load_facts(folder: Path) -> dict[str, Any]:
    """Give what preprocess wrote about a set: source, image_size, crop_scale; pictures or hands per split as `rows`."""
    path = folder / "facts.json"
    if not path.exists():
        raise DataError(f"{path}: no such file; run `python -m pipeline.stage preprocess`")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def _tensor(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    """Give rows of (N, H, W, 3) uint8 as (B, 3, H, W) float, 0-255."""
    return torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float()


@dataclass(frozen=True)
class SegmentSet:
    """One split of the segment set."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    """0 background, 1 left, 2 right."""
    ids: NDArray[np.int32]
    size: int

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Open a split; raises DataError where it is not there."""
        arrays = {name: _load(folder, f"{split}_{name}") for name in ("images", "masks", "ids")}
        return cls(**arrays, size=load_facts(folder)["image_size"])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Mask]:
        """Give pictures (B, 3, S, S) and their masks."""
        masks = torch.from_numpy(self.masks[rows])
        pictures = _tensor(self.images, rows).contiguous(memory_format=IMAGE_FORMAT)
        return pictures, Mask((masks > 0).float(), (masks == RIGHT).float())

    def augmented(self, rows: NDArray[np.int64], params: AugmentParams, draw: Generator) -> tuple[Tensor, Mask]:
        """Give the same after random changes; a mirrored left hand is a right one."""
        affines = augment.draw_affines(params, len(rows), self.size, draw)
        masks = torch.from_numpy(self.masks[rows])
        sides = torch.stack([masks == LEFT, masks == RIGHT], dim=1).float()
        warped = warp.warp_images(torch.cat([_tensor(self.images, rows), sides * 255], dim=1), affines, self.size)
        pictures = augment.change_color(warped[:, :3], params.color, draw).contiguous(memory_format=IMAGE_FORMAT)
        hand = warped[:, 3] + warped[:, 4] >= 127.5
        right = (warped[:, 4] > warped[:, 3]) != warp.mirrored(affines)[:, None, None]
        return pictures, Mask(hand.float(), (hand & right).float())


@dataclass(frozen=True)
class PoseSet:
    """One split of the pose set; row i is one hand, or in the train split a crop that shows none."""

    images: NDArray[np.uint8]
    """(M, C, C, 3): the crop and its margin."""
    keypoints: NDArray[np.float32]
    visible: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    pck_px: NDArray[np.float32]
    sides: NDArray[np.uint8]
    dominant: NDArray[np.bool_]
    masks: NDArray[np.uint8]
    """(M, C, C / 8): this hand's mask, eight pixels a byte."""
    ids: NDArray[np.int32]
    size: int
    crop_scale: float
    """Side of a crop over the longer side of its mask's box."""

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Open a split; raises DataError where it is not there."""
        names = ("images", "keypoints", "visible", "boxes", "pck_px", "sides", "dominant", "masks", "ids")
        arrays = {name: _load(folder, f"{split}_{name}") for name in names}
        facts = load_facts(folder)
        return cls(**arrays, size=facts["image_size"], crop_scale=facts["crop_scale"])

    def __len__(self) -> int:
        return len(self.images)

    def moved(self, images: NDArray[np.uint8], boxes: NDArray[np.float32], keypoints: NDArray[np.float32]) -> Self:
        """Give the same hands on other crops (M, S, S, 3) of boxes (M, 4), without margin and masks."""
        nothing = np.zeros((*images.shape[:2], -(-images.shape[2] // 8)), np.uint8)
        return replace(self, images=images, boxes=boxes, keypoints=keypoints, masks=nothing)

    def box(self, row: int) -> Box:
        """Give the box of a row's crop in its source picture."""
        return Box(*map(float, self.boxes[row]))

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Keypoints]:
        """Give crops (B, 3, S, S) without their margin, and their keypoints."""
        margin = (self.images.shape[1] - self.size) // 2
        whole = self._with_masks(rows)[..., margin : margin + self.size, margin : margin + self.size]
        points, visible, right, hand = self._truth(rows)
        target = Keypoints(points, visible, right, hand, (whole[:, 3] >= 127.5).float())
        return whole[:, :3].contiguous(memory_format=IMAGE_FORMAT), target

    def augmented(
        self, rows: NDArray[np.int64], params: PoseAugmentParams, draw: Generator
    ) -> tuple[Tensor, Keypoints]:
        """Give the same after random changes; a keypoint that leaves the crop counts as not visible."""
        affines = augment.draw_affines(params, len(rows), self.size, draw)
        points, visible, right, hand = self._truth(rows)
        turned = torch.rand(len(rows), generator=draw) < params.upright
        turns = warp.upright(points[:, WRIST], points[:, MIDDLE_MCP])[..., :2]
        affines = torch.where(turned[:, None, None], turns @ affines, affines)
        warped = warp.warp_images(self._with_masks(rows), affines, self.size)
        points = warp.warp_points(points, affines, self.size)
        inside = ((points > -0.5) & (points < self.size - 0.5)).all(dim=-1)
        pictures = augment.change_color(warped[:, :3], params.color, draw).contiguous(memory_format=IMAGE_FORMAT)
        right = (right != warp.mirrored(affines).float()).float()
        return pictures, Keypoints(points, visible & inside, right, hand, (warped[:, 3] >= 127.5).float())

    def _with_masks(self, rows: NDArray[np.int64]) -> Tensor:
        """Give stored crops and, as a fourth channel, their hand's mask; (B, 4, C, C) float, 0-255."""
        bits = np.unpackbits(self.masks[rows], axis=-1, count=self.images.shape[2])
        return torch.cat([_tensor(self.images, rows), torch.from_numpy(bits * np.uint8(255)).unsqueeze(1)], dim=1)

    def _truth(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        right, hand = (torch.from_numpy(where).float() for where in (self.sides[rows] == RIGHT, self.sides[rows] > 0))
        return torch.from_numpy(self.keypoints[rows]), torch.from_numpy(self.visible[rows]), right, hand
