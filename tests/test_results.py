import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from handloom import results
from handloom.geometry import Box
from handloom.inference import Hand, KeypointNets, Regions
from handloom.perceptron import Perceptron
from handloom.skeleton import NAMES

PICTURE = np.zeros((4, 8, 3), np.uint8)
REGIONS = Regions(np.full((8, 8), 4.0, np.float32), np.repeat([[1] * 4 + [2] * 4], 8, axis=0).astype(np.uint8), 4, 8)
POINTS = np.arange(42, dtype=np.float32).reshape(21, 2) / 10
SEEN = np.array([0.9] * 20 + [0.1], np.float32)
HANDS = [
    Hand(POINTS, SEEN, 0.75, 0.875, box, REGIONS, n, nets=KeypointNets())
    for n, box in ((1, Box(0, 0, 4, 4)), (2, Box(4, 0, 8, 4)))
]


def test_a_row_says_all_in_plain_json() -> None:
    row = json.loads(json.dumps(results.row("a.png", PICTURE, HANDS[:1], frame=3)))
    (hand,) = row.pop("hands")
    assert row == {"file": "a.png", "width": 8, "height": 4, "frame": 3}
    assert (hand["box"], hand["score"], hand["handedness"], hand["right"]) == ([0, 0, 4, 4], 0.875, "right", 0.75)
    assert hand["keypoints"][1] == [0.2, 0.3, 0.9]
    assert len(hand["keypoints"]) == 21
    assert hand["keypoints_3d"][0] == [0, 0, 0]
    assert len(hand["keypoints_3d"]) == 21


def test_a_row_is_without_what_is_switched_off(tmp_path: Path) -> None:
    Perceptron(()).write(tmp_path / "lift.safetensors")
    (hand,) = results.row("a.png", PICTURE, [replace(HANDS[0], nets=KeypointNets(tmp_path))])["hands"]
    assert "keypoints_3d" not in hand
    assert "gesture" in hand


def test_coco_counts_from_one_and_tells_seen_from_hidden() -> None:
    empty, full = results.row("none.png", PICTURE, []), results.row("two.png", PICTURE, HANDS)
    said = results.coco([empty, full])
    assert [picture["id"] for picture in said["images"]] == [1, 2]
    first, second = said["annotations"]
    assert (first["image_id"], second["id"], second["bbox"], second["area"]) == (2, 2, [4, 0, 4, 4], 16)
    assert first["keypoints"][3:6] == [0.2, 0.3, 2]
    assert first["keypoints"][-1] == 1
    category = said["categories"][0]
    assert category["keypoints"] == list(NAMES)
    assert category["skeleton"][0] == [1, 2]


def test_a_mask_picture_numbers_the_hands() -> None:
    assert results.mask_picture(PICTURE, HANDS).tolist() == [[1] * 4 + [2] * 4] * 4


def test_an_overlay_changes_a_picture_of_its_own() -> None:
    shown = results.overlay(PICTURE, HANDS)
    assert shown.shape == PICTURE.shape
    assert shown.any()
    assert not PICTURE.any()
