"""Overlays: masks, boxes and skeletons on pictures, and grids of pictures. A picture is (H, W, 3) uint8 RGB."""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handloom.geometry import Box, Points
from handloom.images import Picture
from handloom.skeleton import BONES

FINGER_COLORS = [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(h, 0.85, 1.0)) for h in (0.0, 0.11, 0.3, 0.53, 0.83)]
"""Thumb red, index orange, middle green, ring blue, little finger pink."""
PREDICTED = (255, 176, 0)
MISSED = (30, 110, 255)


def enlarge(picture: Picture, factor: int) -> Picture:
    """Repeat every pixel `factor` times in both directions."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def mask(
    picture: Picture, predicted: NDArray[np.bool_], true: NDArray[np.bool_] | None = None, *, opacity: float = 0.55
) -> Picture:
    """Tint a predicted mask orange; with the truth: agreement green, false hand orange, missed hand blue."""
    both = predicted & true if true is not None else np.zeros_like(predicted)
    missed = true & ~predicted if true is not None else np.zeros_like(predicted)
    result = picture.astype(np.float32)
    for where, color in ((both, (40, 220, 90)), (predicted & ~both, PREDICTED), (missed, MISSED)):
        result[where] = (1 - opacity) * result[where] + opacity * np.array(color, np.float32)
    return result.astype(np.uint8)


def skeleton(
    picture: Picture,
    points: Points,
    shown: NDArray[np.bool_] | None = None,
    *,
    scale: int = 1,
    dashed: bool = False,
    width: int = 2,
) -> Picture:
    """Draw a hand's bones, one color a finger; (21, 2) px of the picture before it is enlarged `scale` times.

    Bones with an end that is not `shown` are left out. `dashed` draws thin white bones: the truth under a prediction.
    """
    image = Image.fromarray(enlarge(picture, scale))
    pen = ImageDraw.Draw(image)
    places = (points + 0.5) * scale - 0.5
    shown = np.ones(len(points), bool) if shown is None else shown
    for number, (a, b) in enumerate(BONES):
        if shown[a] and shown[b]:
            color = (255, 255, 255) if dashed else FINGER_COLORS[number // 4]
            pen.line([*map(float, places[a]), *map(float, places[b])], fill=color, width=1 if dashed else width)
    for point, (x, y) in enumerate(places):
        if shown[point] and not dashed:
            color = FINGER_COLORS[(point - 1) // 4] if point else (255, 255, 255)
            radius = 1.25 * width
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color, outline=(0, 0, 0))
    return np.asarray(image)


def box(picture: Picture, place: Box, label: str = "", *, width: int = 2) -> Picture:
    """Outline a box, and write a label above it, or within where there is no room above."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    far = max(place.left, place.right - 1), max(place.top, place.bottom - 1)
    pen.rectangle((place.left, place.top, *far), outline=PREDICTED, width=width)
    if label:
        font = ImageFont.load_default(6.0 * width)
        room = picture.shape[1] - pen.textlength(label, font)
        corner = (max(0.0, min(place.left, room)), max(0.0, place.top - 8 * width))
        pen.rectangle(pen.textbbox(corner, label, font), fill=PREDICTED)
        pen.text(corner, label, (0, 0, 0), font)
    return np.asarray(image)


def grid(pictures: Sequence[Picture], columns: int, gap: int = 4) -> Picture:
    """Put equally large pictures side by side on white, row by row."""
    height, width = pictures[0].shape[:2]
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
