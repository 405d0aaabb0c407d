"""SEGMENT and POSE: all that differs between the two nets, as data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from handloom import calibration, draw, heatmaps, losses, masks, metrics, objectives
from handloom.data.prepared import LEFT, RIGHT, Keypoints, Mask, PoseSet, SegmentSet
from handloom.geometry import to_images
from handloom.images import Picture
from handloom.models.unet import Output
from handloom.params import PoseParams, SegmentParams, TrainParams
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
    loss = losses.mask_cross_entropy(hand, target.hand)
    if params.iou_weight:
        loss = loss + params.iou_weight * losses.soft_iou(hand, target.hand)
    if params.side_weight:
        right = full_size(maps["right"], size).squeeze(1)
        loss = loss + params.side_weight * losses.binary_cross_entropy(right, target.right, target.hand)
    if params.centre_weight:
        of_hands = torch.stack([target.hand - target.right, target.right], dim=1)
        left, right = functional.adaptive_avg_pool2d(of_hands, maps["centre"].shape[-1]).unbind(dim=1)
        loss = loss + params.centre_weight * losses.centre_distance(maps["centre"], left, right)
    return loss


def _predict_masks(output: Output, params: SegmentParams, size: int) -> Predictions:
    """Give `masks` (B, S, S) bool, hand where that is the likelier, and `labels` (B, S, S) uint8, each hand by itself.

    `logits` (B, S, S) float16 of hand against background; masks are where they are above 0.
    Where sides are taught, `sides` (B, S, S) uint8: 1 left, 2 right, else 0.
    """
    maps = {name: full_size(output.maps[:, place].float(), size) for name, place in mask_maps(params).items()}
    logits = maps["hand"].squeeze(1)
    hand = logits > 0
    said = {"masks": hand.cpu().numpy(), "logits": logits.half().cpu().numpy()}
    right: Sequence[NDArray[Any] | None] = [None] * len(hand)
    if "right" in maps:
        logits_right = maps["right"].squeeze(1).cpu().numpy()
        said["sides"] = (np.where(logits_right > 0, RIGHT, LEFT) * said["masks"]).astype(np.uint8)
        right = list(logits_right)
    if "centre" in maps:
        along = (torch.arange(size, device=hand.device) + 0.5) / size
        centres = (maps["centre"] + torch.stack(torch.meshgrid(along, along, indexing="xy"))).cpu().numpy()
        labels = [masks.part(*each) for each in zip(said["masks"], centres, right, strict=True)]
    else:
        labels = [masks.regions(each) for each in said["masks"]]
    return {**said, "labels": np.stack(labels)}


def _mirror_masks(output: Output, params: SegmentParams) -> Output:
    signs = [sign for name in mask_maps(params) for sign in _MASK_MAPS[name]]
    return Output(output.maps.flip(-1) * output.maps.new_tensor(signs)[:, None, None], output.numbers)


def _score_masks(predictions: Predictions, truth: SegmentSet) -> Mapping[str, float]:
    scores = metrics.mask_scores(predictions["masks"], truth.masks[:] > 0)
    if "sides" in predictions:
        for name, side in (("left", LEFT), ("right", RIGHT)):
            intersection, union = metrics.overlap(predictions["sides"] == side, truth.masks[:] == side)
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
    return draw.enlarge(draw.mask(truth.images[row], predictions["masks"][row], truth.masks[row] > 0), 2)


def _pose_outputs(params: PoseParams) -> tuple[int, int]:
    """A heatmap per keypoint; a number for each one's visibility, and the last for right against left."""
    return NUM_KEYPOINTS, NUM_KEYPOINTS + 1


def _pose_loss(output: Output, target: Keypoints, params: PoseParams, size: int) -> Tensor:
    loss = objectives.map_loss(output.maps, target, params, size)
    if params.visible_weight:
        seen = target.visible.float()
        loss = loss + params.visible_weight * losses.binary_cross_entropy(
            output.numbers[:, :-1], seen, torch.ones_like(seen)
        )
    if params.side_weight:
        right = losses.binary_cross_entropy(output.numbers[:, -1], target.right, torch.ones_like(target.right))
        loss = loss + params.side_weight * right
    return loss


def _predict_keypoints(output: Output, params: PoseParams, size: int) -> Predictions:
    """Give what the net says of B crops.

    `keypoints` (B, 21, 2) pixels of the network input; `visible` (B, 21) and `right` (B,), probabilities; of the maps,
    `peaks` and `entropy` (B, 21) and `response` (B, 4), the box around all that reaches half its map's peak.
    """
    maps = objectives.read(output.maps.float(), params)
    points, peaks = heatmaps.decode(maps, params.decode_radius)
    stride = size / maps.shape[-1]
    said = {
        "keypoints": heatmaps.from_map(points, stride),
        "visible": output.numbers[:, :-1].float().sigmoid(),
        "right": output.numbers[:, -1].float().sigmoid(),
        "peaks": peaks,
        "entropy": heatmaps.entropy(maps),
        "response": heatmaps.response_box(maps) * stride,
    }
    return {name: value.cpu().numpy() for name, value in said.items()}


def _mirror_pose(output: Output, params: PoseParams) -> Output:
    """A mirrored left hand is a right hand with the same 21 keypoints, so no map changes its place."""
    return Output(output.maps.flip(-1), torch.cat([output.numbers[:, :-1], -output.numbers[:, -1:]], dim=1))


def _calibrate(net: nn.Module, predictions: Predictions, truth: PoseSet) -> None:
    """Make the probabilities of `visible` and `right` those of the validation split; both stay in their order."""
    (layer,) = (module for module in net.modules() if isinstance(module, nn.Linear))
    scale = calibration.platt(predictions["visible"].ravel(), truth.visible[:].ravel())
    calibration.rescale(layer, slice(0, NUM_KEYPOINTS), *scale)
    scale = calibration.platt(predictions["right"], truth.sides[:] == RIGHT)
    calibration.rescale(layer, slice(NUM_KEYPOINTS, NUM_KEYPOINTS + 1), *scale)


def _score_keypoints(predictions: Predictions, truth: PoseSet) -> Mapping[str, float]:
    """Give mmpose's figures on these crops, and what tells a net that works from one that says nothing."""
    said, true = (to_images(p, truth.boxes[:], truth.size) for p in (predictions["keypoints"], truth.keypoints[:]))
    errors = MMPOSE.errors_px(said, true, truth.visible[:])
    rows = np.arange(len(truth))
    return {
        **MMPOSE.figures_of(errors, truth.pck_px[:])(rows),
        **metrics.collapse_signs(predictions["keypoints"], truth.keypoints[:], truth.visible[:], truth.size),
        "peak": float(predictions["peaks"].mean()),
        "entropy": float(predictions["entropy"].mean()),
        "side_accuracy": float(((predictions["right"] > 0.5) == (truth.sides[:] == RIGHT)).mean()),
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
    images, _ = truth.batch(np.array([row]))
    crop = images[0].permute(1, 2, 0).to(torch.uint8).numpy()
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
    predict=_predict_keypoints,
    mirror=_mirror_pose,
    finish=_calibrate,
    score=_score_keypoints,
    headline="pck_0.2",
    fault=_pose_fault,
    show=_show_keypoints,
)
TASKS: Final = {task.name: task for task in (SEGMENT, POSE)}
