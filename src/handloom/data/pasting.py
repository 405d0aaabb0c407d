"""How a hand cut out of a photograph is dressed and pasted: arm or sleeve, skin, light, place, and its keypoints.

Dwibedi et al. 2017 found that a detector learns the seams of a single way of blending, hence feathers of several
widths.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from handloom.data.source import UNKNOWN, Hand
from handloom.data.synthetic.noise import any_colour, clouds, linear, skin_colour, to_light
from handloom.geometry import Points
from handloom.images import Picture

Field = NDArray[np.float32]
Rng = np.random.Generator

SIZE: Final = 320
"""Side of a composed picture, px: RHD's."""
EXTENT: Final = (36.0, 300.0)
"""Least and most of a hand's longer side, px; drawn evenly in its logarithm."""


class Marks(NamedTuple):
    """A hand's keypoints. Of its side nothing is known: cut-outs are mirrored at random."""

    points: Points
    """(21, 2) in `skeleton.NAMES` order."""
    visible: NDArray[np.bool_]
    """(21,)."""


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A thing to be pasted, in a frame of its own."""

    light: Field
    """(H, W, 3) linear."""
    alpha: NDArray[np.uint8]
    """(H, W): all that covers what is behind."""
    hand: NDArray[np.uint8]
    """(H, W): of it the hand, 255."""
    marks: Marks | None
    """Its keypoints, px of this frame; None where nobody has marked them."""


def dress(
    rng: Rng, picture: Picture, hand: NDArray[np.uint8], corner: tuple[int, int], marks: Marks | None, relit: float
) -> Layer:
    """Give a cut-out another skin, light from one side, and an arm or a sleeve below its wrist.

    Marks are in pixels of the photograph, in which the cut-out begins at `corner`; `relit` is the chance of another
    light than the photograph's.
    """
    height, width = hand.shape
    arm = round(height * rng.uniform(0.5, 3.5)) if rng.random() < 0.85 else 0
    room = round(arm * 0.4)
    frame = height + arm, width + 2 * room
    layer = Layer(np.zeros((*frame, 3), np.float32), np.zeros(frame, np.uint8), np.zeros(frame, np.uint8), None)
    inside = slice(0, height), slice(room, room + width)
    bled = _bled(picture, hand)
    light = to_light(bled) * _relit(rng, bled, hand) if rng.random() < relit else to_light(bled)
    layer.light[inside] = _recoloured(rng, light, hand)
    layer.alpha[inside] = layer.hand[inside] = hand
    sleeve = _add_arm(rng, layer, height) if arm else math.inf
    slope = rng.normal(0, 0.6, 2) / max(height, width)
    rows, columns = (np.arange(n, dtype=np.float32) - n / 2 for n in frame)
    side = np.clip(1 + slope[0] * rows[:, None] + slope[1] * columns, 0.35, 1.8).astype(np.float32)
    np.multiply(layer.light, side[..., None], out=layer.light)
    if marks is None:
        return layer
    points = marks.points + np.array([room - corner[0], -corner[1]], np.float32)
    return replace(layer, marks=Marks(points, marks.visible & (points[:, 1] < sleeve - 0.5)))


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


def _relit(rng: Rng, picture: Picture, hand: NDArray[np.uint8]) -> Field:
    """Give how much more light falls on each pixel, (H, W, 1): harder or softer light, and more from one side.

    What is brighter than what is around it stands out, and its slope towards the light is lit: shape from shading, made
    linear. Neighbours are summed in whole numbers, so that all processors give the same bits.
    """
    length = max(hand.shape)
    # both in 1/64 of a level of 255
    levels, body = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 64, hand.astype(np.uint16) * 64
    broad, folds, limbs = (length * rng.uniform(*each) for each in ((0.04, 0.12), (0.015, 0.04), (0.05, 0.15)))
    towards = rng.uniform(-math.pi, math.pi)
    grey, low = levels.astype(np.float32), cv2.GaussianBlur(levels, (0, 0), broad).astype(np.float32)
    mean = int(levels[hand > 0].sum()) / np.count_nonzero(hand)
    shown = mean + rng.uniform(0.6, 1.4) * (low - mean) + rng.uniform(0.6, 2.2) * (grey - low)
    shown += rng.uniform(0, 2.5) * _slope(levels, folds, towards) + rng.uniform(0, 0.5) * _slope(body, limbs, towards)
    ratio = np.clip(shown / np.maximum(grey, 8 * 64), 0.25, 1.8).astype(np.float32)
    return np.asarray((ratio * ratio)[..., None], np.float32)  # of coded values; of light about its square


def _slope(heights: NDArray[np.uint16], sigma: float, towards: float) -> Field:
    """Give how much heights (H, W), smoothed, fall towards a direction, rad, over `sigma` px, in their own unit."""
    smooth = cv2.GaussianBlur(heights, (0, 0), sigma)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis) for axis in (0, 1))
    return np.asarray((math.cos(towards) * across + math.sin(towards) * down) * np.float32(-sigma / 8), np.float32)


def _recoloured(rng: Rng, light: Field, hand: NDArray[np.uint8]) -> Field:
    """Give a hand's light (H, W, 3) in another skin's mean colour and brightness, flushed and pale in places."""
    mean = light[hand > 0].mean(axis=0)
    share = rng.uniform(0.0, 1.0)
    target = np.asarray(linear(skin_colour(rng)), np.float32)
    # Python's powers, sines and exponentials are the same on all processors; numpy's differ in their last bits
    ratio = np.maximum(target, 0.01) / np.maximum(mean, 0.01)
    gain = np.array([float(each) ** share for each in ratio], np.float32)
    gain *= np.asarray(rng.uniform((0.95, 0.88, 0.85), (1.25, 1.08, 1.15)), np.float32)
    height, width = hand.shape
    flushed = np.asarray(clouds(rng, height, width, int(rng.integers(2, 7))), np.float32)[..., None] / 127.5 - 1
    blood = 1 + flushed * (np.array([0.5, -0.6, -0.4]) * rng.uniform(0, 0.5)).astype(np.float32)
    return np.asarray(light * blood * (gain * rng.uniform(0.7, 1.3)).astype(np.float32))


def _add_arm(rng: Rng, layer: Layer, height: int) -> float:
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


def paste(rng: Rng, layer: Layer, light: Field) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Marks | None]:
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


def _followed(marks: Marks, frame: tuple[int, ...], shrunk: tuple[int, ...], affine: NDArray[np.floating]) -> Marks:
    """Give keypoints by the way from a layer's frame, shrunk from (height, width) to another, to the picture."""
    points = (marks.points + 0.5) * np.divide(shrunk[::-1], frame[::-1]) - 0.5
    return Marks((points @ affine[:, :2].T + affine[:, 2]).astype(np.float32), marks.visible)


def _averaged(values: Any, factor: int) -> Any:
    height, width = (max(1, length // factor) for length in values.shape[:2])
    return values if factor == 1 else cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)


def _shadow(rng: Rng, covers: Any) -> Field:
    """Give how much of the light a thing takes from what is behind it, (SIZE, SIZE) 0..1."""
    shift = np.array([[1.0, 0.0, rng.normal(0, 14)], [0.0, 1.0, rng.normal(4, 14)]])
    moved = cv2.warpAffine(covers, shift, (SIZE, SIZE))
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(2, 12))
    return np.asarray(soft, np.float32) * np.float32(rng.uniform(0.2, 0.7) / 255)


def seen(marks: Marks, label: int, mask: NDArray[np.uint8], foremost: NDArray[np.uint8]) -> Hand | None:
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
