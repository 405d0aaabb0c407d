"""The prepared arrays as torch batches. Arrays are memory maps: opening costs nothing, reading is by row."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from handloom.data import augment
from handloom.errors import DataError
from handloom.geometry import Box
from handloom.params import AugmentParams

IMAGE_FORMAT = torch.channels_last
"""1.2 to 1.6 times faster than the default on a CPU, and what tensor cores want."""


class Keypoints(NamedTuple):
    """The pose net's target: (B, 21, 2) pixels of the network input, and (B, 21) bool."""

    points: Tensor
    visible: Tensor


def _load(folder: Path, name: str) -> Any:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such array; run `python -m pipeline.stage preprocess`") from None
    except ValueError as error:
        raise DataError(f"{path}: not a whole .npy file, {error}; run `dvc repro preprocess`") from None


def load_facts(folder: Path) -> dict[str, Any]:
    """Give what preprocess wrote about a set: source, image_size, crop_scale, rows per split."""
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

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Give pictures (B, 3, S, S) and masks (B, S, S) float, 1 where a hand is."""
        masks = torch.from_numpy(self.masks[rows])
        return _tensor(self.images, rows).contiguous(memory_format=IMAGE_FORMAT), (masks > 0).float()

    def augmented(self, rows: NDArray[np.int64], params: AugmentParams, draw: Generator) -> tuple[Tensor, Tensor]:
        """Give the same after random changes."""
        affines = augment.draw_affines(params, len(rows), self.size, draw)
        masks = torch.from_numpy(self.masks[rows] > 0).float().unsqueeze(1)
        both = torch.cat([_tensor(self.images, rows), masks * 255], dim=1)
        warped = augment.warp_images(both, affines, self.size)
        pictures = augment.change_color(warped[:, :3], params.color, draw)
        return pictures.contiguous(memory_format=IMAGE_FORMAT), (warped[:, 3] >= 127.5).float()


@dataclass(frozen=True)
class PoseSet:
    """One split of the pose set; row i is one hand."""

    images: NDArray[np.uint8]
    """(M, C, C, 3): the crop and its margin."""
    keypoints: NDArray[np.float32]
    visible: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    pck_px: NDArray[np.float32]
    sides: NDArray[np.uint8]
    ids: NDArray[np.int32]
    size: int

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """Open a split; raises DataError where it is not there."""
        names = ("images", "keypoints", "visible", "boxes", "pck_px", "sides", "ids")
        arrays = {name: _load(folder, f"{split}_{name}") for name in names}
        return cls(**arrays, size=load_facts(folder)["image_size"])

    def __len__(self) -> int:
        return len(self.images)

    def box(self, row: int) -> Box:
        """Give the box of a row's crop in its source picture."""
        return Box(*map(float, self.boxes[row]))

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Keypoints]:
        """Give crops (B, 3, S, S) without their margin, and their keypoints."""
        margin = (self.images.shape[1] - self.size) // 2
        crops = _tensor(self.images, rows)[..., margin : margin + self.size, margin : margin + self.size]
        return crops.contiguous(memory_format=IMAGE_FORMAT), self._targets(rows)

    def augmented(self, rows: NDArray[np.int64], params: AugmentParams, draw: Generator) -> tuple[Tensor, Keypoints]:
        """Give the same after random changes; a keypoint that leaves the crop counts as not visible."""
        affines = augment.draw_affines(params, len(rows), self.size, draw)
        crops = augment.warp_images(_tensor(self.images, rows), affines, self.size)
        target = self._targets(rows)
        points = augment.warp_points(target.points, affines, self.size)
        inside = ((points > -0.5) & (points < self.size - 0.5)).all(dim=-1)
        pictures = augment.change_color(crops, params.color, draw).contiguous(memory_format=IMAGE_FORMAT)
        return pictures, Keypoints(points, target.visible & inside)

    def _targets(self, rows: NDArray[np.int64]) -> Keypoints:
        return Keypoints(torch.from_numpy(self.keypoints[rows]), torch.from_numpy(self.visible[rows]))
