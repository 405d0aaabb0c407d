"""SEGMENT and POSE: all that differs between the two nets, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from handloom import calibration, draw, heatmaps, images, losses, masks, metrics, objectives
from handloom.data.prepared import Keypoints, Mask, PoseSet, SegmentSet
from handloom.data.source import LEFT, RIGHT
from handloom.errors import CheckpointError
from handloom.geometry import to_images
from handloom.heatmaps import Maps
from handloom.images import Picture
from handloom.models.unet import Output
from handloom.params import BEFORE, BEFORE_AUGMENT, PoseParams, SegmentParams, TrainParams
from handloom.protocols import MMPOSE
from handloom.skeleton import NUM_KEYPOINTS

Predictions = dict[str, NDArray[Any]]
"""What a net says of N samples, array by array, each with N rows."""


@dataclass(frozen=True)
class Task:
    """What a net learns. `data` is SegmentSet for one and PoseSet for the other, `target` what its batches hold."""

    name: str
    params: type[TrainParams]
    outputs: Callable[[Any], tuple[int, int]]
    """params -> number of maps, number of numbers."""
    data: Any
    loss: Callable[[Output, Any, Any, int], Tensor]
    """(output, target, params, side of the network input) -> scalar."""
    predict: Callable[[Output, Any, int], Predictions]
    """(output, params, side of the network input) -> arrays."""
    mirror: Callable[[Output, Any], Output]
    """(what was said of a mirrored picture, params) -> what that says of the picture itself."""
    finish: Callable[[nn.Module, Predictions, Any], None]
    """(trained net, its predictions of the validation split, that split): last changes to the net."""
    score: Callable[[Predictions, Any], Mapping[str, float]]
    """(predictions of a whole split, that split) -> named figures."""
    headline: str
    """The figure by which a training is judged; higher is better."""
    fault: Callable[[Mapping[str, float]], str | None]
    """figures of a split -> what shows that the net says nothing, and what to change; None where it says something."""
    show: Callable[[Predictions, Any, int], Picture]
    """(predictions of a whole split, that split, row) -> a picture of prediction against truth."""


def params_of(task: Task, about: Mapping[str, Any]) -> Any:
    """Give the params that a net was trained with; raises CheckpointError where they are another version's."""
    stored = BEFORE | about["params"]
    try:
        return task.params.model_validate(stored | {"augment": BEFORE_AUGMENT | stored.get("augment", {})})
    except ValidationError as error:
        keys = ", ".join(f"{task.name}.{'.'.join(map(str, each['loc']))}" for each in error.errors())
        raise CheckpointError(
            f"{task.name} net: of another version of handloom, got other params '{keys}'; train it again"
        ) from None


def full_size(maps: Tensor, size: int) -> Tensor:
    """Bring maps of a strided net back to the resolution of its input; (B, C, H, W) -> (B, C, S, S)."""
    return functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


_MASK_MAPS: Final = {"hand": (1.0,), "right": (-1.0,), "centre": (-1.0, 1.0)}
"""What the mask net may say in maps, and the sign that a mirror image gives each of them.

hand: against background. right: against left, given a hand; together a softmax over three classes, factored, so the
first is the report's net, whatever the second learns. centre: the way (x, y) to the middle of this pixel's hand, in
sides of the picture.
"""


def mask_maps(params: SegmentParams) -> dict[str, slice]:
    """Give where among the net's maps each thing stands that it is taught."""
    weights = {"hand": 1.0, "right": params.side_weight, "centre": params.centre_weight}
    maps, start = {}, 0
    for name, signs in _MASK_MAPS.items():
        if weights[name]:
            maps[name] = slice(start, start := start + len(signs))
    return maps


def _mask_outputs(params: SegmentParams) -> tuple[int, int]:
    return max(maps.stop for maps in mask_maps(params).values()), 0


def _mask_loss(output: Output, target: Mask, params: SegmentParams, size: int) -> Tensor:
    maps = {name: output.maps[:, place] for name, place in mask_maps(params).items()}
    hand = full_size(maps["hand"], size).squeeze(1)
    loss = losses.mask_cross_entropy(hand, target.hand, target.counted)
    if params.iou_weight:
        loss = loss + params.iou_weight * losses.soft_iou(hand, target.hand, target.counted)
    if params.side_weight:
        right = full_size(maps["right"], size).squeeze(1)
        loss = loss + params.side_weight * losses.binary_cross_entropy(right, target.right, target.sided)
    if params.centre_weight:
        hands = torch.stack([target.sided - target.right, target.right], dim=1)
        if target.others is not None:
            hands = torch.cat([hands, target.others], dim=1)
        hands = functional.adaptive_avg_pool2d(hands, maps["centre"].shape[-1])
        loss = loss + params.centre_weight * losses.centre_distance(maps["centre"], hands)
    return loss


def read_masks(
    maps: NDArray[np.float32], params: SegmentParams, size: int, logits: NDArray[np.float32] | None = None
) -> Predictions:
    """Give `logits` (B, S, S) of hand against background, and `labels` (B, S, S) uint8, each hand by itself.

    `maps` (B, M, h, h) as the net gives them; `logits` where something else than they tells what is a hand.
    """
    small = {name: maps[:, place] for name, place in mask_maps(params).items()}
    if logits is None:
        logits = np.stack([images.enlarge(hand, size) for hand in small["hand"][:, 0]])
    else:
        small["hand"] = np.stack([images.average(own, maps.shape[-1]) for own in logits])[:, None]
    hands, fine = small["hand"][:, 0] > 0, logits > 0
    if "centre" in small:
        centres = small["centre"] + _places(hands.shape[-1])
        right = small["right"][:, 0] if "right" in small else [None] * len(hands)
        labels = [masks.part(*each) for each in zip(hands, centres, right, fine, strict=True)]
    else:
        labels = [masks.regions(*each) for each in zip(hands, fine, strict=True)]
    return {"logits": logits, "labels": np.stack(labels)}


@lru_cache
def _places(side: int) -> NDArray[np.float32]:
    """Give where the pixels of a map lie, (2, side, side), x and y in sides of the picture."""
    along = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.stack(np.meshgrid(along, along))


def _predict_masks(output: Output, params: SegmentParams, size: int) -> Predictions:
    """Give `labels` and `logits` (as float16) of `read_masks`, and `masks` (B, S, S) bool: where logits are above 0.

    Where sides are taught, `sides` (B, S, S) uint8: 1 left, 2 right, else 0.
    """
    said = read_masks(output.maps.float().numpy(force=True), params, size)
    hand, maps = said["logits"] > 0, mask_maps(params)
    if "right" in maps:
        right = full_size(output.maps[:, maps["right"]].float(), size).squeeze(1).cpu().numpy()
        said["sides"] = (np.where(right > 0, RIGHT, LEFT) * hand).astype(np.uint8)
    return {**said, "masks": hand, "logits": said["logits"].astype(np.float16)}


def _mirror_masks(output: Output, params: SegmentParams) -> Output:
    signs = [sign for name in mask_maps(params) for sign in _MASK_MAPS[name]]
    return Output(output.maps.flip(-1) * output.maps.new_tensor(signs)[:, None, None], output.numbers)


def _score_masks(predictions: Predictions, truth: SegmentSet) -> Mapping[str, float]:
    scores = metrics.mask_scores(predictions["masks"] & truth.counted(), truth.hands())
    known = truth.masks[:] <= RIGHT
    if "sides" in predictions:
        for name, side in (("left", LEFT), ("right", RIGHT)):
            intersection, union = metrics.overlap((predictions["sides"] == side) & known, truth.masks[:] == side)
            if union.any():  # a set of hands whose sides nobody said has none
                scores[f"iou_{name}"] = float(metrics.iou(intersection, union)[union > 0].mean())
    return scores


def _mask_fault(scores: Mapping[str, float]) -> str | None:
    """An empty mask and one that covers everything both score below 0.1: hands cover 4 % of a picture."""
    if scores["iou_pooled"] >= 0.1:
        return None
    return (
        f"the masks say nothing, got 'pooled IoU {scores['iou_pooled']:.3f}'; "
        "lower segment.learning_rate or raise segment.iou_weight"
    )


def _show_mask(predictions: Predictions, truth: SegmentSet, row: int) -> Picture:
    return draw.enlarge(draw.mask(truth.images[row], predictions["masks"][row], truth.hands(row)), 2)


POSE_NUMBERS: Final[dict[str, slice | int]] = {
    "visible": slice(0, NUM_KEYPOINTS),
    "right": NUM_KEYPOINTS,
    "hand": NUM_KEYPOINTS + 1,
}
"""Where the pose net says what: each keypoint's visibility, right against left, and whether there is a hand at all."""


def _pose_outputs(params: PoseParams) -> tuple[int, int]:
    """A heatmap per keypoint; the numbers are those of `POSE_NUMBERS`."""
    return NUM_KEYPOINTS, NUM_KEYPOINTS + 2


def _pose_loss(output: Output, target: Keypoints, params: PoseParams, size: int) -> Tensor:
    loss = objectives.map_loss(output.maps, target, params, size)
    marked = target.marked[:, None].expand_as(target.visible)
    for name, weight, truth, counted in (
        ("visible", params.visible_weight, target.visible.float(), marked),
        ("right", params.side_weight, target.right, target.sided),
        ("hand", params.hand_weight, target.hand, torch.ones_like(target.hand)),
    ):
        if weight:
            loss = loss + weight * losses.binary_cross_entropy(output.numbers[:, POSE_NUMBERS[name]], truth, counted)
    return loss


def read_pose(maps: Maps, numbers: Maps, params: PoseParams, size: int) -> dict[str, Maps]:
    """Give what the net says of B crops in its maps (B, 21, h, h) and numbers, tensors or arrays.

    `keypoints` (B, 21, 2) pixels of the network input; `peaks` (B, 21) of their maps; `visible` (B, 21), `right` and
    `hand` (B,), probabilities.
    """
    points, peaks = heatmaps.decode(objectives.read(maps, params), params.decode_radius)
    said = heatmaps.sigmoid(numbers)
    if not params.hand_weight:  # never taught: the mask net alone says where hands are
        said[:, POSE_NUMBERS["hand"]] = 1.0
    keypoints = heatmaps.from_map(points, size / maps.shape[-1])
    return {"keypoints": keypoints, "peaks": peaks, **{name: said[:, place] for name, place in POSE_NUMBERS.items()}}


def _predict_pose(output: Output, params: PoseParams, size: int) -> Predictions:
    """Give `read_pose` and, of the maps, `entropy` (B, 21) and `response` (B, 4).

    The last is the box around all that reaches half its map's peak.
    """
    maps = objectives.read(output.maps.float(), params)
    stride = size / maps.shape[-1]
    said = {
        **read_pose(output.maps.float(), output.numbers.float(), params, size),
        "entropy": heatmaps.entropy(maps),
        "response": heatmaps.response_box(maps) * stride,
    }
    return {name: value.cpu().numpy() for name, value in said.items()}


def _mirror_pose(output: Output, params: PoseParams) -> Output:
    """A mirrored left hand is a right hand with the same 21 keypoints, so no map changes its place."""
    signs = torch.ones_like(output.numbers)
    signs[:, POSE_NUMBERS["right"]] = -1
    return Output(output.maps.flip(-1), output.numbers * signs)


def _calibrate(net: nn.Module, predictions: Predictions, truth: PoseSet) -> None:
    """Make the probabilities of `visible` and `right` those of the validation split; both stay in their order."""
    (layer,) = (module for module in net.modules() if isinstance(module, nn.Linear))
    scale = calibration.platt(predictions["visible"].ravel(), truth.visible[:].ravel())
    calibration.rescale(layer, slice(0, NUM_KEYPOINTS), *scale)
    known = truth.sides[:] <= RIGHT
    scale = calibration.platt(predictions["right"][known], truth.sides[:][known] == RIGHT)
    calibration.rescale(layer, slice(NUM_KEYPOINTS, NUM_KEYPOINTS + 1), *scale)


def _score_keypoints(predictions: Predictions, truth: PoseSet) -> Mapping[str, float]:
    """Give mmpose's figures on these crops, and what tells a net that works from one that says nothing."""
    boxes = truth.boxes[:] * truth.to_reference[:, None]
    said, true = (to_images(p, boxes, truth.size) for p in (predictions["keypoints"], truth.keypoints[:]))
    errors = MMPOSE.errors_px(said, true, truth.visible[:])
    rows, known = np.arange(len(truth)), truth.sides[:] <= RIGHT
    return {
        **MMPOSE.figures_of(errors, truth.pck_px[:] * truth.to_reference)(rows),
        **metrics.collapse_signs(predictions["keypoints"], truth.keypoints[:], truth.visible[:], truth.size),
        "peak": float(predictions["peaks"].mean()),
        "entropy": float(predictions["entropy"].mean()),
        "side_accuracy": float(((predictions["right"] > 0.5) == (truth.sides[:] == RIGHT))[known].mean()),
    }


def _pose_fault(scores: Mapping[str, float]) -> str | None:
    if scores["skill"] >= metrics.MIN_SKILL:
        return None
    return (
        "the heatmaps say nothing: keypoints as far off as a constant answer's, "
        f"got 'skill {scores['skill']:.2f}, peak {scores['peak']:.4f}, entropy {scores['entropy']:.2f}, "
        f"{scores['corner_rate']:.0%} in corners'; "
        "set pose.loss to cross_entropy, or lower pose.learning_rate"
    )


def _show_keypoints(predictions: Predictions, truth: PoseSet, row: int) -> Picture:
    pictures, _ = truth.batch(np.array([row]))
    crop = pictures[0].permute(1, 2, 0).to(torch.uint8).numpy()
    true = draw.skeleton(crop, truth.keypoints[row], truth.visible[row], scale=2, dashed=True)
    return draw.skeleton(true, predictions["keypoints"][row] * 2 + 0.5, truth.visible[row])


SEGMENT: Final = Task(
    name="segment",
    params=SegmentParams,
    outputs=_mask_outputs,
    data=SegmentSet,
    loss=_mask_loss,
    predict=_predict_masks,
    mirror=_mirror_masks,
    finish=lambda net, predictions, truth: None,
    score=_score_masks,
    headline="iou_mean",
    fault=_mask_fault,
    show=_show_mask,
)
POSE: Final = Task(
    name="pose",
    params=PoseParams,
    outputs=_pose_outputs,
    data=PoseSet,
    loss=_pose_loss,
    predict=_predict_pose,
    mirror=_mirror_pose,
    finish=_calibrate,
    score=_score_keypoints,
    headline="pck_0.2",
    fault=_pose_fault,
    show=_show_keypoints,
)
TASKS: Final = {task.name: task for task in (SEGMENT, POSE)}
