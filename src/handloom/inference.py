"""From a picture to hands: the mask net finds regions, each region becomes a crop, the pose net reads it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from handloom import gestures, images, lift, masks, tracking
from handloom.checkpoint import Model, load_model
from handloom.closer import look_closer
from handloom.edges import follow_edges
from handloom.errors import CheckpointError, ParamsError
from handloom.geometry import Box, Points
from handloom.gestures import Gesture
from handloom.images import Picture
from handloom.models.upright import Upright, lean, lean_of, single
from handloom.onnx_net import OnnxNet, load_onnx
from handloom.params import PoseParams, SegmentParams
from handloom.perceptron import Floats, Perceptron
from handloom.prediction import device_of
from handloom.skeleton import MIDDLE_MCP, WRIST
from handloom.tasks import POSE, POSE_NUMBERS, SEGMENT, params_of, read_masks, read_pose
from handloom.views import VIEWS, together

MIN_SCORE: Final = 0.99
"""Hands with a lower score are not reported: of 765 photographs without one the bundled nets then see 3.7 in 100, with
two views 2.7."""
BUNDLED: Final = Path(__file__).parent / "weights"
"""Nets that come with the package; `python -m pipeline.bundle` puts others in their place."""
SAME_HAND: Final = 0.2
"""Mean distance of keypoints, over the hand's extent, below which two regions are parts of one hand."""
CLOSER: Final = 2.0
"""Side of the square in which `--closer` shows a hand again, over its box; of 1.3 to 2.5 the best for the bundled."""
MAX_SIZE: Final = 1024
"""Side of the largest picture that the mask net is shown, px."""
NO_HAND: Final = 10.0
"""Logit of what is surely none."""
HAND: Final = POSE_NUMBERS["hand"]
"""Place of the pose net's logit of a hand."""


@dataclass(frozen=True)
class Regions:
    """What the mask net says of one picture, at the size at which the net sees it, padded to a square."""

    logits: NDArray[np.float32]
    """(S, S) of hand against background."""
    labels: masks.Labels
    """(S, S) each hand by itself, largest first."""
    height: int
    """Of the picture, px."""
    width: int
    picture: Picture | None = field(default=None, repr=False, kw_only=True)
    """The one whose edges masks follow; None: they follow none."""

    @property
    def step(self) -> float:
        """Pixels of the picture that one of these covers."""
        return max(self.height, self.width) / len(self.labels)

    def box(self, hand: int) -> Box:
        """Give the box of a hand by its label, px of the picture."""
        box = masks.tight_box(self.labels == hand).times(self.step)
        return replace(box, right=min(float(self.width), box.right), bottom=min(float(self.height), box.bottom))

    def boxes(self) -> list[Box]:
        """Give one box per hand."""
        return [self.box(hand) for hand in range(1, int(self.labels.max()) + 1)]

    def numbered(self, numbers: NDArray[np.integer]) -> Self:
        """Give each hand another label; (N,) of hands 1 to N. Equal ones make one of several."""
        return replace(self, labels=np.concatenate([[0], numbers]).astype(np.uint8)[self.labels])

    def mask(self, hand: int) -> NDArray[np.bool_]:
        """Give the pixels (H, W) of the picture that belong to a hand, by its label.

        What is another hand's or none's is as surely not this one's, so touching hands part in the middle.
        """
        own = np.where(self.labels == hand, self.logits, -np.abs(self.logits))
        if self.picture is not None:
            return follow_edges(own, self.picture) > 0
        edges = (0, 0, self.width / self.step, self.height / self.step)
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(own).resize(size, Image.Resampling.BILINEAR, box=edges)) > 0


@dataclass(frozen=True)
class KeypointNets:
    """What tells more from keypoints alone: a folder's own nets, and the bundled ones in place of those that it lacks.

    Each is opened when first asked for, which raises CheckpointError.
    """

    folder: Path = BUNDLED

    @cached_property
    def gestures(self) -> Perceptron:
        """What names gestures."""
        return self._own(gestures)

    @cached_property
    def lift(self) -> Perceptron:
        """What lifts; without layers where lifting is switched off."""
        return self._own(lift)

    def _own(self, kind: Any) -> Perceptron:
        path: Path = self.folder / kind.BUNDLED.name
        net: Perceptron = kind.read(path) if path.exists() else kind.bundled()
        return net


@dataclass(frozen=True)
class Reading:
    """What the pose net says of the hand in one crop."""

    keypoints_px: Points
    """(21, 2), px of the picture, in `skeleton.NAMES` order."""
    keypoint_confidence: NDArray[np.float32]
    """(21,) probability that each keypoint is visible, calibrated on validation data."""
    right: float
    """Probability that it is a right hand, calibrated likewise. A mirrored picture shows a right hand as a left one."""
    score: float
    """How sure the net is that the crop shows a hand at all, 0 to 1: by both of its looks in each view, or by the one
    that a hand followed from before needs. 1 of a net that was not taught it (`pose.hand_weight` 0)."""
    nets: KeypointNets = field(repr=False, kw_only=True)
    chances: Floats | None = field(default=None, repr=False, kw_only=True)
    """(len(gestures.NAMES),) of each gesture where several views were asked; None: the keypoints tell."""

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(21,) whether each keypoint is likelier visible than not."""
        return self.keypoint_confidence > 0.5

    @property
    def handedness(self) -> str:
        """The likelier of `left` and `right`."""
        return "right" if self.right > 0.5 else "left"

    @property
    def gesture(self) -> Gesture:
        """What it says, and how sure that is."""
        if self.chances is None:
            return gestures.gesture_of(self.keypoints_px, self.nets.gestures)
        return gestures.likeliest(self.chances)

    @property
    def keypoints_3d(self) -> NDArray[np.float32] | None:
        """(21, 3) from the wrist, in lengths of `lift.UNIT`, x right, y down, z away; None where it is switched off."""
        if not self.nets.lift.layers:
            return None
        return lift.lifted(self.keypoints_px[None], np.array([self.right > 0.5]), self.nets.lift).squeeze(0)


@dataclass(frozen=True)
class Hand(Reading):
    """One found hand."""

    box: Box
    """Around its mask, px of the picture."""
    regions: Regions = field(repr=False)
    label: int
    """Its number in `regions`."""

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) of the picture: its pixels. Made when first asked for."""
        return self.regions.mask(self.label)


class HandFinder:
    """Both nets as one function of a picture.

    The mask net sees the whole picture, padded with black to a square.
    """

    def __init__(
        self,
        segment: Model,
        pose: Model,
        nets: KeypointNets | None = None,
        size: int | None = None,
        *,
        closer: float = 0,
        edges: bool = False,
        views: int = 1,
    ) -> None:
        """Take both nets; the others as in `load`. Raises ParamsError for views, and a size, that there are not."""
        if not 1 <= views <= len(VIEWS):
            raise ParamsError(f"views: must be 1 to {len(VIEWS)}, got '{views}'; take 2, or 1 for speed")
        self.segment, self.pose, self.nets, self.closer = segment, pose, nets or KeypointNets(), closer
        self.edges, self.views = edges, VIEWS[:views]
        self._mask_params: SegmentParams = params_of(SEGMENT, segment.about)
        self._pose_params: PoseParams = params_of(POSE, pose.about)
        self.size = int(segment.about["facts"]["image_size"])
        if size is not None:
            self._check(size)
            self.size = size
        self.crop_size, self.crop_scale = (pose.about["facts"][name] for name in ("image_size", "crop_scale"))

    @classmethod
    def load(
        cls,
        where: Path | str | None = None,
        *,
        int8: bool = False,
        threads: int = 0,
        size: int | None = None,
        closer: float = 0,
        edges: bool = False,
        views: int = 1,
    ) -> Self:
        """Open both nets: the bundled ones, those of a folder, or of an MLflow model (`models:/handloom@current`).

        A folder's exported nets (`segment.onnx`) go before trained ones (`segment.safetensors`); `int8` takes the
        exported ones of half the time, as the bundled ones are. `gestures.safetensors` and `lift.safetensors` are taken
        where the folder has them, else the bundled ones. `threads` for exported nets; 0 takes all cores. `size` is the
        side, px, at which the mask net sees a picture, that of its training unless given: more finds smaller hands
        and more that are none, less is faster. `closer` shows it each hand again, in a square of so many times the
        hand's box (`CLOSER`), for a finer mask; 0 does not. `edges` lets masks follow those of the picture, which each
        hand then keeps. `views`, 1 to 32, shows the pose net each region in so many ways: 2 mirrored too, 8 closer and
        from farther too, then upside down and turned by quarters. Raises CheckpointError, and ParamsError for other
        views and a size that the net cannot take.
        """
        if where is None:
            where, int8 = BUNDLED, True
        elif str(where).startswith(tracking.SCHEMES):
            where = tracking.fetched(str(where))
        if not (folder := Path(where)).is_dir():
            what = f"{where}: must be a folder of nets, got no such folder"
            raise CheckpointError(f"{what}; correct the path, or leave it out for the bundled nets")
        exported = int8 or (folder / f"{SEGMENT.name}.onnx").exists()
        suffix = "int8.onnx" if int8 else "onnx"
        segment, pose = (
            load_onnx(folder / f"{task.name}.{suffix}", task.name, threads)
            if exported
            else load_model(folder / f"{task.name}.safetensors", task.name)
            for task in (SEGMENT, POSE)
        )
        return cls(segment, pose, KeypointNets(folder), size, closer=closer, edges=edges, views=views)

    def _check(self, size: int) -> None:
        stride, net = self._mask_params.model.stride, self.segment.net
        if size % stride or not 0 < size <= MAX_SIZE:
            what = f"size: must divide by {stride} and be at most {MAX_SIZE}, got '{size}'"
            raise ParamsError(f"{what}; take {min(MAX_SIZE // stride, max(1, round(size / stride))) * stride}")
        if isinstance(net, OnnxNet) and net.side not in (None, size):
            raise ParamsError(f"size: this mask net takes {net.side} alone, got '{size}'; run `dvc repro export` again")

    def __call__(self, picture: Picture, min_score: float = MIN_SCORE) -> list[Hand]:
        """Give the hands of a (H, W, 3) uint8 RGB picture, largest region first; none gives an empty list.

        One that several regions show stands where its surest one does.
        """
        return self.hands(picture, self.regions(picture), min_score)

    def hands(self, picture: Picture, regions: Regions, min_score: float) -> list[Hand]:
        """Give the hands of a picture in which the mask net saw these regions."""
        boxes = regions.boxes()
        readings = self.read(picture, [box.square(self.crop_scale) for box in boxes])
        if not readings:
            return []
        scores = np.array([reading.score for reading in readings])
        owners = _owners(readings, scores) if len(readings) > 1 else np.zeros(1, np.intp)
        if (owners != np.arange(len(owners))).any():
            regions = regions.numbered(owners + 1)
            boxes = [regions.box(i + 1) if i in owners else box for i, box in enumerate(boxes)]
        return [
            Hand(**vars(readings[i]), box=boxes[i], regions=regions, label=i + 1)
            for i in np.unique(owners)
            if scores[i] >= min_score
        ]

    def regions(self, picture: Picture) -> Regions:
        """Give what the mask net says of the picture padded right and below to a square."""
        height, width = picture.shape[:2]
        maps, _ = said_by(self.segment.net, [images.shrink_square(picture, self.size)])
        without_padding(maps, height, width)
        said = read_masks(maps, self._mask_params, self.size)
        if self.closer:
            first, boxes = said["logits"][0], masks.boxes(said["labels"][0])
            logits = look_closer(picture, first, boxes, self._look, self.closer, self.size)
            said = read_masks(maps, self._mask_params, self.size, logits[None])
        followed = picture if self.edges else None
        return Regions(said["logits"][0], said["labels"][0], height, width, picture=followed)

    def _look(self, crops: list[Picture]) -> NDArray[np.float32]:
        """Give the mask net's logits of hand against background of crops (S, S, 3), (N, S, S)."""
        return np.stack([images.enlarge(hand, self.size) for hand in said_by(self.segment.net, crops)[0][:, 0]])

    def read(self, picture: Picture, crops: list[Box], before: list[Reading] | None = None) -> list[Reading]:
        """Give what the pose net says of the hand in each square crop.

        Earlier readings of the same hands spare each crop the other views, and a net that reads twice its first look.
        """
        if not crops:
            return []
        views, leans = (self.views, None) if before is None else (VIEWS[:1], _leans(before))
        cut = {side: self._cut(picture, crops, side) for side in {view.side for view in views}}
        said = self._read([view.show(each) for view in views for each in cut[view.side]], leans)
        if len(views) > 1:
            said = together(said, views, self.crop_size, self._named)
        names = ("keypoints", "visible", "right", "hand")
        rows = zip(crops, *(said[name] for name in names), said.get("chances", [None] * len(crops)), strict=True)
        return [
            Reading(c.to_image(k, self.crop_size), seen, float(r), float(h), nets=self.nets, chances=chances)
            for c, k, seen, r, h, chances in rows
        ]

    def _cut(self, picture: Picture, crops: list[Box], side: float) -> list[Picture]:
        """Give the pictures (S, S, 3) of squares about these crops' centres, `side` times as large."""
        return [images.crop(picture, crop if side == 1 else crop.square(side), self.crop_size) for crop in crops]

    def _named(self, keypoints: Points) -> Floats:
        return gestures.probabilities(keypoints, self.nets.gestures)

    def _read(self, crops: list[Picture], leans: NDArray[np.float32] | None) -> dict[str, NDArray[np.float32]]:
        """Give `tasks.read_pose` of crops (S, S, 3).

        A net that reads twice is asked in the turned crops' own frame, and its points turned back: to turn maps back
        costs as much as a reading. `leans` (B,), where known, spare it the first.
        """
        net, size = single(self.pose.net), self.crop_size
        if not isinstance(self.pose.net, Upright):
            return read_pose(*said_by(net, crops), self._pose_params, size)
        first = said_by(net, crops) if leans is None else None
        leans = leans if first is None else lean_of(first[0])
        assert leans is not None
        rotations, centre, lying = _rotations(leans), (size - 1) / 2, np.flatnonzero(leans)
        shown = list(crops)
        for i in lying:
            about_centre = np.column_stack([rotations[i], centre - rotations[i].sum(axis=1) * centre])
            shown[i] = images.warp(crops[i], about_centre, size, images.MIRRORED)
        if first is None:
            first = said_by(net, shown)
        elif len(lying):
            maps, numbers = said_by(net, [shown[i] for i in lying])
            numbers[:, HAND] = (numbers[:, HAND] + first[1][lying, HAND]) / 2  # two looks tell hands from clutter best
            first[0][lying], first[1][lying] = maps, numbers
        said = read_pose(*first, self._pose_params, size)
        return {**said, "keypoints": (said["keypoints"] - centre) @ rotations.swapaxes(1, 2) + centre}


def said_by(net: nn.Module, pictures: list[Picture]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give a net's maps and numbers of pictures of its size, as arrays of one's own."""
    batch = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32, order="C")
    if isinstance(net, OnnxNet):
        return net.run(batch)
    with torch.inference_mode():
        said = net(torch.from_numpy(batch).to(device_of(net)))
    return said.maps.float().numpy(force=True), said.numbers.float().numpy(force=True)


def _leans(readings: list[Reading]) -> NDArray[np.float32]:
    """Give how far read hands lean, (B,) radians."""
    points = np.stack([reading.keypoints_px for reading in readings])
    return lean(points[:, WRIST], points[:, MIDDLE_MCP])


def _rotations(angles: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give what turns a vector by each angle, (B,) radians -> (B, 2, 2); picture axes: to the right is positive."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2).astype(np.float32)


def _owners(readings: list[Reading], scores: NDArray[np.floating]) -> NDArray[np.integer]:
    """Give of each reading the index of the surest one of the same hand: parts of a hand are read alike."""
    points = np.stack([reading.keypoints_px for reading in readings])
    apart = np.linalg.norm(points[:, None] - points, axis=-1).mean(axis=-1)
    owners: NDArray[np.integer] = np.where(
        apart <= SAME_HAND * np.ptp(points, axis=1).max(axis=1), scores, -np.inf
    ).argmax(axis=1)
    while (owners != owners[owners]).any():  # the owner's own owner; scores rise, so this ends
        owners = owners[owners]
    return owners


def without_padding(maps: NDArray[np.float32], height: int, width: int) -> None:
    """Let no hand be where a picture of this size was padded to a square; maps (B, M, h, h), the first of hands."""
    rows, columns = (-(-length * maps.shape[-1] // max(height, width)) for length in (height, width))
    for beyond in (maps[:, 0, rows:], maps[:, 0, :, columns:]):
        beyond.clip(max=-NO_HAND, out=beyond)
