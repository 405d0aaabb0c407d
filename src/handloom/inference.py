"""From a picture to hands: the mask net finds regions, each region becomes a crop, the pose net reads it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handloom import images, masks
from handloom.checkpoint import Model, load_model
from handloom.geometry import Box, Points
from handloom.images import Picture
from handloom.tasks import POSE, SEGMENT


@dataclass(frozen=True)
class Hand:
    """One found hand."""

    box: Box
    """Around its mask, px of the picture."""
    keypoints_px: Points
    """(21, 2), px of the picture, in `skeleton.NAMES` order."""
    visible: NDArray[np.float32]
    """(21,) probability that each keypoint is visible, calibrated on validation data."""
    right: float
    """Probability that it is a right hand."""


class HandFinder:
    """Both nets as one function of a picture.

    The mask net sees the whole picture, padded with black to a square.
    """

    def __init__(self, segment: Model, pose: Model) -> None:
        self.segment, self.pose = segment, pose
        self._params = tuple(t.params.model_validate(m.about["params"]) for t, m in ((SEGMENT, segment), (POSE, pose)))
        self.size = int(segment.about["facts"]["image_size"])
        self.crop_size, self.crop_scale = (pose.about["facts"][name] for name in ("image_size", "crop_scale"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open `segment.safetensors` and `pose.safetensors` of a folder; raises CheckpointError."""
        return cls(*(load_model(folder / f"{task.name}.safetensors", task.name) for task in (SEGMENT, POSE)))

    def __call__(self, picture: Picture) -> list[Hand]:
        """Give the hands of a (H, W, 3) uint8 RGB picture, largest region first; none gives an empty list."""
        labels = self.square_labels(picture)
        step = max(picture.shape[:2]) / self.size
        boxes = [Box(b.left * step, b.top * step, b.right * step, b.bottom * step) for b in masks.boxes(labels)]
        return [self.read_hand(picture, box) for box in boxes]

    @torch.inference_mode()
    def square_labels(self, picture: Picture) -> masks.Labels:
        """Give each hand's pixels (size, size) in the picture padded right and below to a square."""
        height, width = picture.shape[:2]
        side = max(height, width)
        square = np.zeros((side, side, 3), np.uint8)
        square[:height, :width] = picture
        output = self.segment.net(_batch(images.shrink(square, self.size), self.segment))
        labels: masks.Labels = SEGMENT.predict(output, self._params[0], self.size)["labels"][0]
        return labels

    @torch.inference_mode()
    def read_hand(self, picture: Picture, box: Box) -> Hand:
        """Give the keypoints of the hand in a box around its mask."""
        around = box.square(self.crop_scale)
        output = self.pose.net(_batch(images.crop(picture, around, self.crop_size), self.pose))
        said = POSE.predict(output, self._params[1], self.crop_size)
        keypoints_px = around.to_image(said["keypoints"][0], self.crop_size)
        return Hand(box, keypoints_px, said["visible"][0], float(said["right"][0]))


def _batch(picture: Picture, model: Model) -> Tensor:
    """Give a picture as a batch of one where the model is."""
    where = next(model.net.parameters()).device
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).unsqueeze(0).float().to(where)
