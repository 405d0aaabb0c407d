"""Keypoints that people marked, a file of them in COCO's layout.

    {"images": [{"id": ..., "file_name": ...}],
     "annotations": [{"image_id": ..., "side": ..., "keypoints": [x, y, v] * 21}]}

x and y follow `geometry`: integers are pixel centres, nothing is shifted. v is 0 not marked, 1 hidden, 2 visible.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from handloom.data.numpickle import quote
from handloom.data.reading import faults
from handloom.data.source import LEFT, RIGHT, UNKNOWN, Hand
from handloom.errors import DataError
from handloom.skeleton import NUM_KEYPOINTS

SIDES: Final = {"left": LEFT, "right": RIGHT, None: UNKNOWN}


def read(path: Path, names: list[str]) -> dict[str, tuple[Hand, ...]]:
    """Give the hands of each of these pictures that has some marked; none where there is no such file.

    Raises DataError, which names what is wrong.
    """
    hands: dict[str, tuple[Hand, ...]] = {}
    if not path.exists():
        return hands
    with faults(str(path), "must be JSON of COCO's layout", "correct it"):
        content = json.loads(path.read_bytes())
        file_names = _file_names(path, content["images"], set(names))
        for record in content["annotations"]:
            if (image_id := record["image_id"]) not in file_names:
                raise DataError(f"{path}: image_id must be the id of an image, got {quote(image_id)}; correct it")
            name = file_names[image_id]
            hands[name] = (*hands.get(name, ()), _hand(f"{path}: {name}", record["keypoints"], record.get("side")))
    return hands


def _file_names(path: Path, records: Any, unseen: set[str]) -> dict[int | str, str]:
    """Give the pictures' names by their ids."""
    found: dict[int | str, str] = {}
    for record in records:
        image_id, name = record["id"], record["file_name"]
        if name not in unseen:
            raise DataError(f"{path}: each file_name must be in images/ and here once, got {quote(name)}; correct it")
        if image_id in found:
            raise DataError(f"{path}: each image must have an id of its own, got {quote(image_id)}; correct it")
        unseen.remove(name)
        found[image_id] = name
    return found


def _hand(where: str, values: Any, side: Any) -> Hand:
    """Give a hand of 63 numbers [x, y, v] * 21 and its side."""
    with faults(where, f"keypoints must be {3 * NUM_KEYPOINTS} numbers", "correct them"):
        numbers = np.array(values)
    if numbers.shape != (3 * NUM_KEYPOINTS,) or numbers.dtype.kind not in "iuf":
        raise DataError(f"{where}: keypoints must be {3 * NUM_KEYPOINTS} numbers, got {quote(values)}; correct them")
    with np.errstate(over="ignore"):
        rows = numbers.astype(np.float32).reshape(NUM_KEYPOINTS, 3)
    points, marked = rows[:, :2].copy(), rows[:, 2]
    if not (finite := np.isfinite(points)).all():
        raise DataError(f"{where}: x and y must be finite, got {quote(points[~finite].tolist())}; correct them")
    if not (known := np.isin(marked, (0, 1, 2))).all():
        raise DataError(f"{where}: v must be 0, 1 or 2, got {quote(marked[~known].tolist())}; correct it")
    if side not in ("left", "right", None):
        raise DataError(f"{where}: side must be left or right, got {quote(side)}; correct or omit it")
    if marked.any():  # what nobody marked must not widen the hand
        points[marked == 0] = points[marked > 0].mean(axis=0)
    return Hand(SIDES[side], points, marked == 2)
