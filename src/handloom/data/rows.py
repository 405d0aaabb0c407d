"""One sample to its rows: picture and mask for the mask net, a crop a hand for the pose net, what index.csv says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from handloom import images, masks
from handloom.data.source import LEFT, OTHERS, REFERENCE_PX, RIGHT, UNKNOWN, Hand, Sample, Source
from handloom.errors import DataError
from handloom.geometry import Box, Points
from handloom.images import Picture
from handloom.params import PreprocessParams
from handloom.skeleton import NUM_KEYPOINTS

SIDES: Final = {LEFT: "left", RIGHT: "right", UNKNOWN: "unknown"}
MAX_HAND_SHARE: Final = 0.02
"""Of the pixels of a crop that counts as showing none."""
KEYPOINTS_TO_MASK: Final = 1.2
"""Side of a hand's mask over that of its keypoints: of a hand without a mask."""
PCK_BOX_SCALE: Final = 1.2
"""PCK is normalised by the keypoints' extent x 1.2, the box of mmpose's RHD protocol."""


@dataclass(frozen=True)
class HandRow:
    """One row of index.csv: a hand, and where it went or why it was left out."""

    source: str
    split: str
    sample_id: int
    hand: str
    status: str
    """`kept`, or why there is no crop: `absent`, `too small`, `no visible keypoint`, `unreadable: ...`."""
    mask_pixels: int = 0
    num_visible: int = 0
    left: float = float("nan")
    top: float = float("nan")
    right: float = float("nan")
    bottom: float = float("nan")
    """The crop's box in the source picture, px, xyxy, without the margin."""
    row: int = -1
    """Row of the pose arrays of this split."""


@dataclass(frozen=True)
class PoseRow:
    """One hand's row of the pose arrays; shapes stand at the top of `prepare`."""

    image: Picture
    """The crop with its margin."""
    keypoints: Points
    """Pixels of the network input."""
    visible: np.ndarray
    box: tuple[float, float, float, float]
    """Edges of the crop without its margin, px of the source picture, xyxy."""
    pck_px: float
    side: int
    """1 left, 2 right, 3 one of them, 0 no hand. Keypoints that are not known are strewn, and none is visible."""
    dominant: bool
    """Whether no hand of the picture has more mask pixels; the right one of two equals, as in hand3d."""
    mask: Picture
    """(C, C / 8): the hand in the crop with its margin, eight pixels a byte."""
    picture_px: int
    """Longer side of the source picture."""


@dataclass(frozen=True)
class Prepared:
    """All that one sample gives."""

    source: int
    """Place in the list of sources."""
    sample_id: int
    image: Picture | None
    mask: Picture | None
    index: list[HandRow]
    hands: list[PoseRow] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where samples come from and go."""

    source: Source
    number: int
    """Place in the list of sources."""
    split: str
    part: str
    """Of the source: "training" or "evaluation"."""


def prepare_sample(place: Place, params: PreprocessParams, backgrounds: Sequence[Path], sample_id: int) -> Prepared:
    """Give one sample's rows; an unreadable sample gives index rows that say why, and nothing else."""
    where = partial(HandRow, place.source.name, place.split, sample_id)
    try:
        sample = place.source.sample(place.part, sample_id)
    except DataError as error:
        return Prepared(place.number, sample_id, None, None, [where(SIDES[s], f"unreadable: {error}") for s in (1, 2)])
    draw = np.random.default_rng([params.seed, sample_id])
    picture = sample.picture
    training = place.split == "train"
    if training and sample.person is not None and backgrounds and draw.random() < params.background_share:
        photograph = backgrounds[int(draw.integers(len(backgrounds)))]
        picture = _before_photograph(picture, sample.person, photograph, draw)
    labels = sample.mask
    index: list[HandRow] = []
    hands: list[PoseRow] = []
    for hand, mask in _hands(sample, labels):
        name = SIDES[hand.side]
        pixels = int(np.count_nonzero(mask)) if mask is not None else None
        seen = int(np.count_nonzero(hand.visible)) if hand.visible is not None else None
        least = params.min_hand_pixels * (max(picture.shape[:2]) / REFERENCE_PX) ** 2
        if reason := _reason_to_leave_out(pixels, seen, least, training=training):
            index.append(where(name, reason, pixels or 0, seen or 0))
            continue
        row = _hand_row(picture, labels, hand, mask, params, draw)
        index.append(where(name, "kept", pixels or 0, seen or 0, *row.box))
        hands.append(row)
    index = index or [where("none", "absent")]
    if training and labels is not None:
        hands += _empty_rows(picture, labels, hands, params, draw)
        if sample.person is not None and not labels.any():
            hands += _person_rows(picture, sample.person, params, draw)
    if labels is None:
        return Prepared(place.number, sample_id, None, None, index, hands)
    small = images.shrink_square(picture, params.image_size), images.shrink_labels(labels, params.image_size)
    return Prepared(place.number, sample_id, *small, index, hands)


def _hands(sample: Sample, labels: Picture | None) -> Iterator[tuple[Hand, NDArray[np.bool_] | None]]:
    """Give each hand and where it is, None where no mask tells; then each label of a hand that nobody marked."""
    unmarked = set() if labels is None else set(OTHERS) & set(np.unique(labels).tolist())
    for hand in sample.hands:
        label = 0 if labels is None else _label_of(labels, hand)
        unmarked.discard(label)
        if labels is not None and (label or hand.side != UNKNOWN):
            yield hand, np.equal(labels, label or hand.side)
        elif hand.keypoints_px is not None:
            yield hand, None
    for label in sorted(unmarked):
        yield Hand(UNKNOWN, None, None), np.equal(labels if labels is not None else 0, label)


def _label_of(labels: Picture, hand: Hand) -> int:
    """Give the label of a hand: its side's or, of unknown side, the one on which most of its keypoints lie; 0: none."""
    if hand.side != UNKNOWN and (labels == hand.side).any():
        return hand.side
    if hand.keypoints_px is None:
        return 0
    column, row = np.rint(hand.keypoints_px).astype(int).T
    inside = (row >= 0) & (row < labels.shape[0]) & (column >= 0) & (column < labels.shape[1])
    found = np.bincount(labels[row[inside], column[inside]], minlength=max(OTHERS) + 1)[list(OTHERS)]
    return OTHERS[int(found.argmax())] if found.any() else 0


def _hand_row(
    picture: Picture,
    labels: Picture | None,
    hand: Hand,
    mask: NDArray[np.bool_] | None,
    params: PreprocessParams,
    draw: np.random.Generator,
) -> PoseRow:
    """Give a hand's crop, about its mask or, without one, about its visible keypoints."""
    stored = stored_size(params)
    if mask is not None:
        box = masks.tight_box(mask).square(params.crop_scale)
    else:
        assert hand.keypoints_px is not None
        box = Box.around(hand.keypoints_px[hand.visible]).square(params.crop_scale * KEYPOINTS_TO_MASK)
    whole = box.square(stored / params.crop_size)
    visible = np.zeros(NUM_KEYPOINTS, bool) if hand.visible is None else hand.visible
    if hand.keypoints_px is None:
        keypoints, pck_px = _strewn(params, draw), box.side
    else:
        keypoints = box.to_crop(hand.keypoints_px, params.crop_size)
        pck_px = PCK_BOX_SCALE * float(np.ptp(hand.keypoints_px, axis=0).max())
    shown = np.zeros(picture.shape[:2], bool) if mask is None else mask
    return PoseRow(
        image=images.crop(picture, whole, stored),
        keypoints=keypoints,
        visible=visible,
        box=(box.left, box.top, box.right, box.bottom),
        pck_px=pck_px,
        side=hand.side,
        dominant=_dominant(labels, hand.side, shown),
        mask=np.packbits(images.crop(shown * np.uint8(255), whole, stored) >= 128, axis=-1),
        picture_px=max(picture.shape[:2]),
    )


def _dominant(labels: Picture | None, side: int, mask: NDArray[np.bool_]) -> bool:
    """Give whether no other hand of the picture has more pixels; the right one of two equals, as in hand3d."""
    if labels is None:
        return True
    pixels = int(np.count_nonzero(mask))
    others = (int(np.count_nonzero((labels == label) & ~mask)) for label in (LEFT, RIGHT, *OTHERS))
    most = max(others)
    return pixels > most or (pixels == most and side == RIGHT)


def _before_photograph(
    picture: Picture, person: NDArray[np.bool_], photograph: Path, draw: np.random.Generator
) -> Picture:
    """Put the person of a square picture before a part of a photograph."""
    behind = _part(images.read(photograph), picture.shape[0], draw)
    share = ndimage.gaussian_filter(person.astype(np.float32), 0.7)[..., None]
    mixed: Picture = (share * picture + (1 - share) * behind).round().astype(np.uint8)
    return mixed


def _part(photograph: Picture, size: int, draw: np.random.Generator) -> Picture:
    """Give a random square of a photograph, at least two fifths as wide as fits, as (size, size)."""
    height, width = photograph.shape[:2]
    side = min(height, width) * draw.uniform(0.4, 1.0)
    left, top = draw.uniform(0, (width - side, height - side))
    return images.crop(photograph, Box(left, top, left + side, top + side), size)


def prepare_background(photographs: Sequence[Path], params: PreprocessParams, source: int, number: int) -> Prepared:
    """Give a random part of one of the photographs, which show no hand, for the mask net, and two for the pose net.

    They count as rows of `source`.
    """
    draw = np.random.default_rng([params.seed, number])
    picture = images.read(photographs[number % len(photographs)])
    height, width = picture.shape[:2]
    part = _part(picture, params.image_size, draw)
    crops = [
        _square(draw, picture, max(height, width) * math.exp(draw.uniform(math.log(0.08), math.log(0.8)))) for _ in "ab"
    ]
    mask = np.zeros((params.image_size, params.image_size), np.uint8)
    hands = [_empty_row(picture, crop, params, draw) for crop in crops]
    return Prepared(source, -1 - number, part, mask, [], hands)


def _empty_rows(
    picture: Picture, labels: Picture, hands: list[PoseRow], params: PreprocessParams, draw: np.random.Generator
) -> list[PoseRow]:
    """Give crops of a picture that show no hand: for each of its hands one or none, about as large as that hand's."""
    rows = []
    for like in hands:
        side = (like.box[2] - like.box[0]) * draw.uniform(0.5, 1.5)
        if draw.random() < params.empty_crops and (box := _empty_box(labels, side, draw)):
            rows.append(_empty_row(picture, box, params, draw))
    return rows


def _person_rows(
    picture: Picture, person: NDArray[np.bool_], params: PreprocessParams, draw: np.random.Generator
) -> list[PoseRow]:
    """Give two crops about places of a person who shows no hand."""
    rows, columns = np.nonzero(person)
    boxes = []
    for place in draw.integers(len(rows), size=2) if len(rows) else ():
        half = max(picture.shape[:2]) * math.exp(draw.uniform(math.log(0.1), math.log(0.6))) / 2
        x, y = float(columns[place]), float(rows[place])
        boxes.append(Box(x - half, y - half, x + half, y + half))
    return [_empty_row(picture, box, params, draw) for box in boxes]


def _empty_row(picture: Picture, box: Box, params: PreprocessParams, draw: np.random.Generator) -> PoseRow:
    """Give a crop without a hand; its keypoints are strewn, so that augmentation turns it as any reading may."""
    stored = stored_size(params)
    strewn = _strewn(params, draw)
    return PoseRow(
        image=images.crop(picture, box.square(stored / params.crop_size), stored),
        keypoints=strewn,
        visible=np.zeros(NUM_KEYPOINTS, bool),
        box=(box.left, box.top, box.right, box.bottom),
        pck_px=box.side,
        side=0,
        dominant=False,
        mask=np.zeros((stored, -(-stored // 8)), np.uint8),
        picture_px=max(picture.shape[:2]),
    )


def _strewn(params: PreprocessParams, draw: np.random.Generator) -> Points:
    """Give keypoints anywhere in a crop, (21, 2)."""
    return draw.uniform(0, params.crop_size, (NUM_KEYPOINTS, 2)).astype(np.float32)


def _square(draw: np.random.Generator, picture: Picture, side: float) -> Box:
    """Give a square about a random place of a picture."""
    x, y = draw.uniform(0, (picture.shape[1], picture.shape[0]))
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def _empty_box(labels: Picture, side: float, draw: np.random.Generator) -> Box | None:
    """Give a square about a random place that shows no hand; None where ten places are a hand's."""
    for _ in range(10):
        box = _square(draw, labels, side)
        rows, columns = (
            slice(max(0, round(low)), round(high)) for low, high in ((box.top, box.bottom), (box.left, box.right))
        )
        if np.count_nonzero(labels[rows, columns]) <= MAX_HAND_SHARE * side**2:
            return box
    return None


def _reason_to_leave_out(pixels: int | None, visible: int | None, min_pixels: float, *, training: bool) -> str | None:
    """Say why a hand of so many pixels and visible keypoints gives no crop; None: nobody marked them."""
    if pixels == 0:
        return "absent"
    if pixels is not None and pixels < min_pixels:
        return "too small"
    if visible is None:  # teaches that there is a hand, but cannot be scored
        return None if training else "no keypoints"
    return None if visible else "no visible keypoint"


def stored_size(params: PreprocessParams) -> int:
    """Give the side of a stored pose crop, px: the net's input and the margin, rounded to even."""
    return 2 * round(params.crop_size * (1 + params.crop_margin) / 2)
