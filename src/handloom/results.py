"""Found hands as plain data and as pictures: a line of JSON per picture, COCO's keypoint format, overlays, masks."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handloom import draw, images
from handloom.gestures import MIN_CONFIDENCE
from handloom.images import Picture
from handloom.inference import Hand, Reading
from handloom.skeleton import BONES, NAMES
from handloom.video import TrackedHand

Row = dict[str, Any]

CATEGORY: Final = {
    "id": 1,
    "name": "hand",
    "supercategory": "person",
    "keypoints": list(NAMES),
    "skeleton": [[a + 1, b + 1] for a, b in BONES],  # COCO counts from 1
}


def row(name: str, picture: Picture, hands: Iterable[Hand | TrackedHand], **more: Any) -> Row:
    """Give what was found in one picture; `more` stands before the hands (a video's frame and seconds)."""
    height, width = picture.shape[:2]
    return {"file": name, "width": width, "height": height, **more, "hands": [_hand(hand) for hand in hands]}


def answer(picture: Picture, hands: Iterable[Hand]) -> Row:
    """Give what was found in a picture that came without a name; `mask` is `mask_picture` as a PNG in base64."""
    found = list(hands)
    mask = base64.b64encode(images.encode_png(mask_picture(picture, found))).decode()
    return {**row("picture", picture, found), "mask": mask}


def _hand(hand: Hand | TrackedHand) -> Row:
    edges = [hand.box.left, hand.box.top, hand.box.right, hand.box.bottom]
    gesture, places = hand.gesture, hand.keypoints_3d
    own = {"id": hand.id} if isinstance(hand, TrackedHand) else {}
    return {
        **own,
        "box": [round(edge, 2) for edge in edges],
        "score": round(hand.score, 4),
        "handedness": hand.handedness,
        "right": round(hand.right, 4),
        "gesture": gesture.name,
        "gesture_confidence": round(gesture.confidence, 4),
        "keypoints": _keypoints(hand),
        **({} if places is None else {"keypoints_3d": places.astype(float).round(3).tolist()}),
    }


def _keypoints(hand: Reading) -> list[list[float]]:
    """Give [x, y, probability of being visible] in `skeleton.NAMES` order."""
    rows = np.column_stack([hand.keypoints_px, hand.keypoint_confidence]).astype(float)
    return [[round(x, 2), round(y, 2), round(p, 4)] for x, y, p in rows]


def coco(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Give rows of pictures as one COCO keypoint file; a keypoint's v is 2 where likelier visible than not, else 1."""
    pictures: list[Row] = []
    annotations: list[Row] = []
    for number, each in enumerate(rows, start=1):
        pictures.append({"id": number, "file_name": each["file"], "width": each["width"], "height": each["height"]})
        for hand in each["hands"]:
            left, top, right, bottom = hand["box"]
            seen = [2 if p > 0.5 else 1 for _, _, p in hand["keypoints"]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CATEGORY["id"],
                    "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                    "area": round((right - left) * (bottom - top), 2),
                    "iscrowd": 0,
                    "score": hand["score"],
                    "keypoints": [
                        value for (x, y, _), v in zip(hand["keypoints"], seen, strict=True) for value in (x, y, v)
                    ],
                    "num_keypoints": len(seen),
                    "handedness": hand["handedness"],
                }
            )
    return {"images": pictures, "annotations": annotations, "categories": [CATEGORY]}


def overlay(picture: Picture, hands: Iterable[Hand | TrackedHand]) -> Picture:
    """Give the picture with masks tinted, boxes labelled and bones drawn, as wide as the picture's size asks for."""
    width = max(2, round(max(picture.shape[:2]) / 250))
    for hand in hands:
        if isinstance(hand, Hand):
            picture = draw.mask(picture, hand.mask, opacity=0.35)
        number = f"{hand.id} " if isinstance(hand, TrackedHand) else ""
        gesture = hand.gesture
        says = f" {gesture.name}" if gesture.name != "none" and gesture.confidence >= MIN_CONFIDENCE else ""
        picture = draw.box(picture, hand.box, f"{number}{hand.handedness} {hand.score:.3f}{says}", width=width)
        picture = draw.skeleton(picture, hand.keypoints_px, hand.visible, width=width)
    return picture


def mask_picture(picture: Picture, hands: Iterable[Hand]) -> NDArray[np.uint8]:
    """Give (H, W): 0 no hand, 1 the first hand, 2 the next, and so on."""
    shown = np.zeros(picture.shape[:2], np.uint8)
    for number, hand in enumerate(hands, start=1):
        shown[hand.mask] = min(number, 255)
    return shown
