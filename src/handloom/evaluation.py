"""The test split, scored: masks, and keypoints under both public protocols on the true and on the predicted crop.

The true crop is the one that a perfect mask would give. The predicted crop comes from the mask net: each true hand
takes the found region whose box overlaps its own most. A hand that none does is read where the mask net says a hand is
likeliest beside those it found: no hand is left out of a mean for being missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, special
from tqdm import tqdm

from handloom import images, masks, metrics
from handloom.checkpoint import Model
from handloom.data.prepared import PoseSet, SegmentSet
from handloom.data.source import IGNORE, LEFT, OTHERS, RIGHT, Source
from handloom.errors import DataError
from handloom.geometry import Box, to_images
from handloom.params import EvaluateParams
from handloom.prediction import predictions_of
from handloom.protocols import MMPOSE, PROTOCOLS, Protocol
from handloom.skeleton import NAMES
from handloom.tasks import POSE, SEGMENT, Predictions

CURVE_PX: Final = np.arange(0, 31.0)
"""Thresholds of the PCK curve, px of the source picture."""
MIN_OVERLAP: Final = 0.15
"""IoU with a hand's box below which no found box is its own: the hand is missed."""
LIKELY_SIDE: Final = 0.4
"""Side of the crop in which a missed hand is read, over the picture's: 1.2 times the median of true crops."""
CROPS: Final = ("true_crop", "predicted_crop")


@dataclass(frozen=True)
class Report:
    """What one net does on a test split."""

    predictions: Predictions
    scores: dict[str, Any]
    """Named figures over the whole split, nested by protocol and crop."""
    samples: pd.DataFrame
    """One row per picture or hand."""
    tables: dict[str, pd.DataFrame]
    """Further tables, by name, for plots."""


def evaluate_segment(model: Model, test: SegmentSet, params: EvaluateParams) -> Report:
    """Score masks, hand against background as the 2019 report does and left against right, at the net's input size."""
    looks: dict[str, Any] = {"flip": params.flip_test, "scales": params.mask_scales, "closer": params.closer}
    predictions = predictions_of(model, SEGMENT, test, params.batch_size, **looks)
    true = test.hands()
    intersection, union = metrics.overlap(predictions["masks"] & test.counted(), true)
    samples = pd.DataFrame(
        {
            "source": np.array(test.names)[test.sources],
            "sample_id": test.ids[:],
            "iou": metrics.iou(intersection, union),
            "predicted_pixels": predictions["masks"].sum(axis=(1, 2)),
            "true_pixels": true.sum(axis=(1, 2)),
        }
    )
    boxes = box_scores(predictions["labels"], test)
    spread = spread_of_ious(samples["iou"].to_numpy(), params.resamples)
    scores: dict[str, Any] = {"num_pictures": len(test), **SEGMENT.score(predictions, test), **boxes, **spread}
    if len(test.names) > 1:
        scores["by_source"] = {
            str(name): {
                "num_pictures": len(own),
                "iou_mean": float(own["iou"].mean()),
                "iou_median": float(own["iou"].median()),
                **spread_of_ious(own["iou"].to_numpy(), params.resamples),
            }
            for name, own in samples.groupby("source", sort=False)
        }
    return Report(predictions, scores, samples, {})


def spread_of_ious(ious: NDArray[np.floating], resamples: int) -> dict[str, float]:
    """Give the ends of the 95 % interval of the mean IoU of pictures (N,)."""
    pictures = [np.array([row]) for row in range(len(ious))]
    return _intervals(metrics.bootstrap(lambda rows: {"iou_mean": float(ious[rows].mean())}, pictures, resamples))


def box_scores(labels: NDArray[np.uint8], truth: SegmentSet) -> dict[str, float]:
    """Give how many found boxes are a hand's and how many hands have one, both at an IoU of at least 0.5.

    What lies for the most part where nobody says what is there counts as neither right nor wrong.
    """
    found_overlaps, true_overlaps = [], []
    for said, sides in zip(labels, truth.masks, strict=True):
        of_each = (sides == label for label in (LEFT, RIGHT, *OTHERS))
        hands = [own for own in of_each if own.sum() >= masks.MIN_SHARE * own.size]
        true = np.array([_edges(masks.tight_box(own)) for own in hands]).reshape(-1, 4)
        found = np.array([_edges(box) for box in masks.boxes(said)]).reshape(-1, 4)
        of_none = sides == IGNORE
        overlaps = [metrics.box_iou(true, box).max(initial=0) for box in found]
        ignored = [of_none[said == label].mean() > 0.5 for label in range(1, len(found) + 1)]
        found_overlaps += [o for o, none in zip(overlaps, ignored, strict=True) if o >= 0.5 or not none]
        true_overlaps += [metrics.box_iou(found, box).max(initial=0) for box in true]
    shares = {"box_precision_0.5": found_overlaps, "box_recall_0.5": true_overlaps}
    return {name: float(np.mean(np.array(overlaps) >= 0.5)) if overlaps else 0.0 for name, overlaps in shares.items()}


def _intervals(spread: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Give 95 % intervals as figures of their own beside what they belong to."""
    return {
        f"{name}.{end}": value
        for name, ends in spread.items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }


@dataclass(frozen=True)
class FoundHands:
    """Where the mask net sees each hand of a pose set."""

    crops: list[Box]
    """M squares, px of the source picture."""
    iou: NDArray[np.float64]
    """(M,) of the best found box with the box of the hand's true mask; below MIN_OVERLAP the hand is missed."""


def find_hands(said: Predictions, truth: SegmentSet, hands: PoseSet) -> FoundHands:
    """Give the crop of every hand of `hands` by predicted `labels` and `logits` (N, S, S) of the same pictures."""
    rows = {sample: row for row, sample in enumerate(_samples(truth))}
    crops, ious = [], np.zeros(len(hands))
    for hand, (sample, side) in enumerate(zip(_samples(hands), hands.sides, strict=True)):
        if (row := rows.get(sample)) is None:
            raise DataError(
                f"{truth.names[sample[0]]}: picture {sample[1]} has keypoints and no mask to compare with; "
                "add its mask, or leave it out of evaluation.txt"
            )
        scale = float(hands.picture_px[hand]) / truth.size
        true = _true_box(truth.masks[row], [side] if side <= RIGHT else OTHERS, _unscaled(hands, hand), scale)
        found = np.array([_edges(box) for box in masks.boxes(said["labels"][row])]).reshape(-1, 4) * scale
        overlaps = metrics.box_iou(found, true)
        ious[hand] = overlaps.max(initial=0)
        if ious[hand] < MIN_OVERLAP:
            crops.append(_likeliest(said["logits"][row], said["labels"][row], float(hands.picture_px[hand])))
        else:
            crops.append(Box(*map(float, found[overlaps.argmax()])).square(hands.crop_scale))
    return FoundHands(crops, ious)


def _true_box(
    mask: NDArray[np.uint8], labels: Sequence[int], crop: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Give the box of that of these labels of a mask that lies best in a crop's square; px of the source picture, xyxy.

    A mask of a few pixels may vanish at the net's size: then the square tells where it was.
    """
    owns = (mask == label for label in labels)
    boxes = [_edges(masks.tight_box(own)) * scale for own in owns if own.any()]
    return max(boxes, key=lambda box: float(metrics.box_iou(box[None], crop)[0]), default=crop)


def _samples(of: SegmentSet | PoseSet) -> list[tuple[int, int]]:
    """Give of which sample each row is: source and id."""
    return list(zip(of.sources.tolist(), of.ids.tolist(), strict=True))


def _likeliest(logits: NDArray[np.floating], labels: masks.Labels, side_px: float) -> Box:
    """Give the square where most speaks for a hand beside the found ones, px of a picture `side_px` wide or high."""
    size = len(labels)
    found = ndimage.binary_dilation(labels > 0, iterations=size // 32)
    near = ndimage.gaussian_filter(np.where(found, 0, special.expit(logits)), size / 24)
    row, column = np.unravel_index(near.argmax(), near.shape)
    x, y, half = (column + 0.5) / size, (row + 0.5) / size, LIKELY_SIDE / 2
    return Box(*(float(edge) * side_px for edge in (x - half, y - half, x + half, y + half)))


def _edges(box: Box) -> NDArray[np.float64]:
    return np.array([box.left, box.top, box.right, box.bottom])


def _unscaled(hands: PoseSet, row: int) -> NDArray[np.float64]:
    return _edges(hands.box(row).square(1 / hands.crop_scale))


def recrop(hands: PoseSet, found: FoundHands, sources: Sequence[Source]) -> PoseSet:
    """Give the same hands on the crops of their found boxes; `sources` have their pictures in the evaluation split."""
    crops, boxes, keypoints = [], [], []
    latest: tuple[tuple[int, int], Any] = ((-1, -1), None)
    for row, sample in enumerate(tqdm(_samples(hands), desc="predicted crops", unit="hand", leave=False)):
        if sample != latest[0]:
            latest = sample, sources[sample[0]].picture("evaluation", sample[1])
        box = found.crops[row]
        crops.append(images.crop(latest[1], box, hands.size))
        boxes.append(_edges(box))
        true_px = hands.box(row).to_image(hands.keypoints[row], hands.size)
        keypoints.append(box.to_crop(true_px, hands.size))
    return hands.moved(np.stack(crops), np.stack(boxes).astype(np.float32), np.stack(keypoints))


def evaluate_pose(
    model: Model, test: PoseSet, found: FoundHands, sources: Sequence[Source], batch_size: int, resamples: int
) -> Report:
    """Score keypoints under both protocols and on both crops, with the gap between the crops."""
    sets = {"true_crop": test, "predicted_crop": recrop(test, found, sources)}
    scale = test.to_reference
    true_px = to_images(test.keypoints[:], test.boxes[:] * scale[:, None], test.size)
    box_px = test.pck_px[:] * scale
    said = {
        (crop, flip): predictions_of(model, POSE, samples, batch_size, flip=flip)
        for crop, samples in sets.items()
        for flip in {protocol.flip_test for protocol in PROTOCOLS}
    }
    errors: dict[tuple[str, str], NDArray[np.float64]] = {}
    scores: dict[str, Any] = {"num_hands": len(test), "box_iou_mean": float(found.iou.mean())}
    scores |= {"found_at_0.5": float((found.iou >= 0.5).mean()), "missed": float((found.iou < MIN_OVERLAP).mean())}
    for protocol in PROTOCOLS:
        for crop, samples in sets.items():
            keypoints = said[crop, protocol.flip_test]["keypoints"]
            said_px = to_images(keypoints, samples.boxes[:] * scale[:, None], samples.size)
            errors[protocol.name, crop] = protocol.errors_px(said_px, true_px, test.visible[:])
        scores[protocol.name] = _score(
            protocol, [errors[protocol.name, crop] for crop in CROPS], test, box_px, resamples
        )
    if len(test.names) > 1:
        scores["by_source"] = _by_source(errors, test, box_px)
    headline = said["true_crop", True]
    reliability = metrics.calibration_table(headline["visible"].ravel(), test.visible[:].ravel())
    scores |= _heads(headline, test, reliability)
    response = heatmap_box_iou(headline["response"], test, float(model.about["params"]["sigma_px"]))
    scores["heatmap_box_iou"] = float(response.mean())
    signs = POSE.score(headline, test)
    scores["says_something"] = int(POSE.fault(signs) is None)
    scores |= {name: signs[name] for name in ("skill", "peak", "entropy", "corner_rate")}
    shown = errors["mmpose", "true_crop"]
    tables = {
        "keypoints": _per_keypoint(shown, box_px),
        "pck": _curve(errors),
        "reliability": pd.DataFrame(reliability, columns=["said", "was", "count"]),
        "protocols": protocol_table(scores),
    }
    return Report(headline, scores, _hands(test, found, headline, errors), tables)


def _score(
    protocol: Protocol,
    errors: list[NDArray[np.float64]],
    test: PoseSet,
    box_px: NDArray[np.float32],
    resamples: int,
) -> dict[str, dict[str, float]]:
    """Give a protocol's figures on both crops, with intervals, and the gap: predicted over true crop's mean error."""
    counted = test.dominant[:] if protocol.dominant_only else np.ones(len(test), bool)
    rows = np.flatnonzero(counted)
    ids = test.sources[counted].astype(np.int64) * 2**32 + test.ids[counted]
    pictures = [rows[ids == sample] for sample in np.unique(ids)]
    of = [protocol.figures_of(each, box_px) for each in errors]

    def figures(chosen: NDArray[np.int64]) -> dict[str, float]:
        on = dict(zip(CROPS, (crop(chosen) for crop in of), strict=True))
        flat = {f"{crop}/{name}": value for crop, values in on.items() for name, value in values.items()}
        return flat | {"gap/epe_ratio": on["predicted_crop"]["epe_mean_px"] / on["true_crop"]["epe_mean_px"]}

    flat = figures(rows) | _intervals(metrics.bootstrap(figures, pictures, resamples))
    result: dict[str, dict[str, float]] = {}
    for name, value in flat.items():
        crop, _, figure = name.partition("/")
        result.setdefault(crop, {})[figure] = value
    result["true_crop"]["num_hands"] = len(rows)
    return result


def _by_source(
    errors: dict[tuple[str, str], NDArray[np.float64]], test: PoseSet, box_px: NDArray[np.float32]
) -> dict[str, Any]:
    """Give mmpose's figures on both crops for the hands of each source that has any."""
    rows = {name: np.flatnonzero(test.sources == place) for place, name in enumerate(test.names)}
    return {
        name: {"num_hands": len(own)} | {crop: MMPOSE.figures_of(errors["mmpose", crop], box_px)(own) for crop in CROPS}
        for name, own in rows.items()
        if len(own)
    }


def _heads(said: Predictions, test: PoseSet, reliability: NDArray[np.float64]) -> dict[str, float]:
    """Give how good the pose net is at what it says beside keypoints: the side, the visibility, and that it is one."""
    right, known = test.sides[:] == RIGHT, test.sides[:] <= RIGHT
    return {
        "side_accuracy": float(((said["right"] > 0.5) == right)[known].mean()),
        "hand_recall_0.5": float((said["hand"] >= 0.5).mean()),
        "visible_calibration_error": metrics.calibration_error(reliability),
        "visible_brier": float(((said["visible"] - test.visible[:]) ** 2).mean()),
    }


def heatmap_box_iou(response: NDArray[np.floating], test: PoseSet, sigma_px: float) -> NDArray[np.float64]:
    """Give the 2019 report's figure per hand: IoU of the boxes around all predicted and all true heatmaps, (M,).

    `response` (M, 4) xyxy and `sigma_px` of the targets in pixels of the network input; a box holds half peaks.

    It cannot see its own failure. A crop is cut around its hand, so the box around 21 true heatmaps is most of the
    crop; flat maps, or keypoints strewn into the corners, respond everywhere, and their box is all of it.
    """
    centres = np.where(test.visible[:][..., None], test.keypoints[:], np.nan)
    reach = sigma_px * np.sqrt(2 * np.log(2))  # where a Gaussian has fallen to half its peak
    low, high = np.nanmin(centres, axis=1) - reach, np.nanmax(centres, axis=1) + 1 + reach
    true = np.concatenate([low, high], axis=1).clip(0, test.size).astype(np.float64)
    return metrics.box_iou(response.astype(np.float64), true)


def _hands(
    test: PoseSet, found: FoundHands, said: Predictions, errors: dict[tuple[str, str], NDArray[np.float64]]
) -> pd.DataFrame:
    """Give one row per hand of the test split."""
    shown = errors["mmpose", "true_crop"]
    columns = {f"error_px.{name}": shown[:, i] for i, name in enumerate(NAMES)}
    return pd.DataFrame(
        {
            "source": np.array(test.names)[test.sources],
            "sample_id": test.ids[:],
            "hand": np.array(("none", "left", "right", "unknown"))[test.sides],
            "dominant": test.dominant[:],
            "num_visible": test.visible.sum(axis=1),
            "pck_box_px": test.pck_px[:],
            "box_iou": found.iou,
            "right_probability": said["right"],
            "epe_px": np.nanmean(shown, axis=1),
            "epe_px.predicted_crop": np.nanmean(errors["mmpose", "predicted_crop"], axis=1),
            **columns,
        }
    )


def protocol_table(scores: dict[str, Any]) -> pd.DataFrame:
    """Give every figure of both protocols as a row: protocol, crop, figure, value, low, high."""
    rows = [
        {"protocol": protocol.name, "crop": crop, "figure": name, "value": values[name]}
        | {end: values[f"{name}.{end}"] for end in ("low", "high")}
        for protocol in PROTOCOLS
        for crop, values in scores[protocol.name].items()
        for name in values
        if f"{name}.low" in values
    ]
    return pd.DataFrame(rows)


def _per_keypoint(errors: NDArray[np.float64], box_px: NDArray[np.float32]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "keypoint": NAMES,
            "pck_0.2": metrics.mean_per_keypoint(metrics.below(errors, metrics.PCK_THRESHOLD * box_px[:, None])),
            "epe_mean_px": metrics.mean_per_keypoint(errors),
            "epe_median_px": metrics.median_per_keypoint(errors),
            "auc_30px": metrics.mean_per_keypoint(metrics.auc_mmpose(errors)),
            "num_visible": (~np.isnan(errors)).sum(axis=0),
        }
    )


def _curve(errors: dict[tuple[str, str], NDArray[np.float64]]) -> pd.DataFrame:
    """Give the share of keypoints nearer than a threshold, every hand, wrist, on both crops."""
    curves = {crop: metrics.pck_curve(errors["mmpose", crop], CURVE_PX) for crop in CROPS}
    return pd.DataFrame({"threshold_px": CURVE_PX, **curves})
