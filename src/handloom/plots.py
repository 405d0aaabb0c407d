"""The figures of an evaluation, as PNG: curves, masks, crops and keypoints. No display, no network."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from handloom import draw, images
from handloom.data.prepared import PoseSet, SegmentSet
from handloom.images import Picture
from handloom.inference import HandFinder
from handloom.tasks import Predictions, Task

LABELS = {"iou_mean": "mean mask IoU", "pck_0.2": "PCK@0.2"}
DPI = 110
NUM_WORST = 20
WAY_PX = 320
"""Side of the pictures that show the way from a picture to a hand."""


def to_png(figure: Figure) -> bytes:
    """Give a figure as a PNG whose bytes depend on nothing but the figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def training_curves(task: Task, validations: pd.DataFrame) -> bytes:
    """Give loss and validation score over the steps (the 2019 report's figure 2.4)."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = validations["step"]
    left.plot(steps, validations["train_loss"], label="training", color="#8a8f98")
    left.plot(steps, validations["val_loss"], label="validation", color="#1f6feb")
    left.set(title=f"{task.name}: loss", xlabel="step", ylabel="loss")
    left.legend(frameon=False)
    right.plot(steps, validations[f"val_{task.headline}"], color="#1f6feb")
    right.set(title=f"{task.name}: validation", xlabel="step", ylabel=LABELS[task.headline], ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return to_png(figure)


def confusion(tables: Mapping[str, NDArray[np.int64]], names: Sequence[str]) -> bytes:
    """Give a panel per table (N, N) of what was true, a row, and what was said, a column: shares of each row."""
    figure = Figure(figsize=(5.2 * len(tables), 5), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    places, labels = range(len(names)), [name.replace("_", " ") for name in names]
    for panel, (name, table) in zip(panels, tables.items(), strict=True):
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(shares >= 0.01), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            panel.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=color, fontsize=6.5)
        panel.set(title=f"{name} keypoints", xlabel="said", xticks=places, yticks=places, yticklabels=labels)
        panel.set_xticklabels(labels, rotation=60, ha="right")
    panels[0].set_ylabel("is")
    return to_png(figure)


def pck_curve(curve: pd.DataFrame, keypoints: pd.DataFrame) -> bytes:
    """Give the share of keypoints below each error on both crops, and each keypoint's median error on the true one."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for crop, style in (("true_crop", "-"), ("predicted_crop", "--")):
        left.plot(curve["threshold_px"], curve[crop], style, color="#1f6feb", label=crop.replace("_", " "))
    left.legend(frameon=False)
    left.set(title="Keypoints nearer than a threshold", xlabel="px of the 320 px picture", ylabel="share", ylim=(0, 1))
    left.grid(alpha=0.25)
    right.barh(keypoints["keypoint"], keypoints["epe_median_px"], color="#1f6feb")
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize=7)
    right.set(title="Median error", xlabel="px of the 320 px picture")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return to_png(figure)


def reliability(curve: pd.DataFrame) -> bytes:
    """Give what the visibility of a keypoint was said to be against how often it was."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#8a8f98", linewidth=1)
    axes.plot(curve["said"], curve["was"], "o-", color="#1f6feb")
    for said, was, count in zip(curve["said"], curve["was"], curve["count"], strict=True):
        if count:
            axes.annotate(f"{count:,.0f}", (said, was), (4, -10), textcoords="offset points", fontsize=7)
    axes.set(title="Visible keypoints", xlabel="said probability", ylabel="share that was", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return to_png(figure)


def spread(total: int, count: int) -> list[int]:
    """Give `count` rows spread evenly over `total`: no choice of the good ones."""
    return [int(row) for row in np.linspace(0, total - 1, min(count, total)).round()]


def mask_pictures(predictions: Predictions, test: SegmentSet, count: int) -> bytes:
    """Give predicted against true masks (figure 2.5): agreement green, false hand orange, missed hand blue."""
    pictures: list[Picture] = []
    for row in spread(len(test), count):
        shown = test.images[row], draw.mask(test.images[row], predictions["masks"][row], test.hands(row))
        pictures += [draw.enlarge(np.asarray(picture), 2) for picture in shown]
    return images.encode_png(draw.grid(pictures, columns=6))


def worst_masks(predictions: Predictions, test: SegmentSet, ious: NDArray[np.floating]) -> bytes:
    """Give the twenty worst masks, as many of each source, in the colours of `mask_pictures`."""
    present = np.unique(test.sources)
    chosen: list[int] = []
    for source in present:
        own = np.flatnonzero(test.sources == source)
        chosen += own[np.argsort(ious[own], kind="stable")][: NUM_WORST // len(present)].tolist()
    figure = Figure(figsize=(10, 2.2 * -(-len(chosen) // 5)), layout="constrained")
    for place, row in enumerate(chosen, start=1):
        axes = figure.add_subplot(-(-len(chosen) // 5), 5, place)
        shown = draw.mask(test.images[row], predictions["masks"][row], test.hands(row))
        axes.imshow(draw.enlarge(shown, 2))
        axes.set_title(f"{test.names[test.sources[row]]} {test.ids[row]}, IoU {ious[row]:.2f}", fontsize=8)
        axes.axis("off")
    return to_png(figure)


def keypoint_pictures(task: Task, predictions: Predictions, test: PoseSet, count: int) -> bytes:
    """Give predicted keypoints in color over the true ones in white (figures 2.7 and 2.8), visible ones only."""
    shown = [task.show(predictions, test, row) for row in spread(len(test), count)]
    return images.encode_png(draw.grid(shown, columns=6))


def crop_pictures(finder: HandFinder, shown: Iterable[Picture]) -> bytes:
    """Give the way from a picture to a hand (figure 2.3): mask and box, the box's crop, keypoints in the picture."""
    pictures: list[Picture] = []
    for picture in shown:
        pictures += _way(finder, picture)
    return images.encode_png(draw.grid(pictures, columns=6))


def _way(finder: HandFinder, picture: Picture) -> list[Picture]:
    """Give three pictures (WAY_PX, WAY_PX): the mask with its boxes, the first crop, all keypoints."""
    masked, overlay = picture, picture
    crop: Any = np.zeros((WAY_PX, WAY_PX, 3), np.uint8)
    for number, hand in enumerate(finder(picture)):
        masked = draw.box(draw.mask(masked, hand.mask), hand.box)
        overlay = draw.skeleton(overlay, hand.keypoints_px)
        if number == 0:
            crop = images.crop(picture, hand.box.square(finder.crop_scale), WAY_PX)
    return [images.shrink_square(masked, WAY_PX), crop, images.shrink_square(overlay, WAY_PX)]
