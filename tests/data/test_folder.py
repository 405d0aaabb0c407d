"""A folder of four small pictures, two with masks, two with keypoints, and every way to get one wrong."""

import json
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handloom import images
from handloom.data.folder import PictureFolder
from handloom.data.rhd import RhdSource
from handloom.data.source import IGNORE, LEFT, RIGHT, UNKNOWN
from handloom.errors import EnvironmentFault
from tests.data.archives import refusal

NAMES = ["a.png", "b.jpg", "c.png", "d.bmp"]
SIZES = [(20, 30), (8, 8), (5, 7), (6, 4)]
KEYPOINTS = [number for k in range(21) for number in (k + 0.25, 2 * k, k % 3)]
MASK = np.array([[0, 1, 2, 128, 255, 0, 1]] * 5, np.uint8)


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode(picture, path.suffix))


def coco() -> dict[str, Any]:
    """Give b.jpg a right and an unknown hand, c.png, which has a mask too, a left one."""
    annotations = [
        {"id": 1, "image_id": 7, "keypoints": KEYPOINTS, "side": "right"},
        {"id": 2, "image_id": "c", "keypoints": KEYPOINTS, "side": "left"},
        {"id": 3, "image_id": 7, "keypoints": KEYPOINTS[::-1][2::-1] + KEYPOINTS[3:]},
    ]
    return {"images": [{"id": 7, "file_name": "b.jpg"}, {"id": "c", "file_name": "c.png"}], "annotations": annotations}


def write_coco(folder: Path, content: object) -> None:
    (folder / "keypoints.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kitchen"
    for number, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        save(folder / "images" / name, np.full((*size, 3), 10 * number + 10, np.uint8))
    (folder / "images" / ".hidden").write_text("no picture")
    save(folder / "masks" / "a.png", np.zeros((20, 30), np.uint8))
    save(folder / "masks" / "c.png", MASK)
    save(folder / "masks" / "d.png", np.full((6, 4), 255, np.uint8))
    write_coco(folder, coco())
    return folder


def test_ids_are_places_among_the_sorted_names(folder: Path) -> None:
    source = PictureFolder(folder)
    assert source.name == "kitchen"
    assert source.names == NAMES
    assert source.ids("training") + source.ids("evaluation") == [0, 1, 2, 3]
    assert [source.group(number) for number in range(4)] == [0, 1, 2, 3]
    for number, size in enumerate(SIZES):
        np.testing.assert_array_equal(source.picture("training", number), np.full((*size, 3), 10 * number + 10))


def test_a_mask_says_side_unknown_and_ignored(folder: Path) -> None:
    (folder / "keypoints.json").unlink()
    save(folder / "masks" / "b.png", np.full((8, 8), 128, np.uint8))
    source = PictureFolder(folder)
    sample = source.sample("training", 2)
    assert sample.mask is not None
    assert sample.mask.dtype == np.uint8
    np.testing.assert_array_equal(sample.mask, [[0, LEFT, RIGHT, IGNORE, UNKNOWN, 0, LEFT]] * 5)
    hands = [[hand.side for hand in source.sample("training", number).hands] for number in range(4)]
    assert hands == [[], [], [LEFT, RIGHT, UNKNOWN], [UNKNOWN]]
    assert all(hand.keypoints_px is None and hand.visible is None for hand in sample.hands)


def test_the_example_of_the_page_makes_a_folder(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = Path("docs/own-pictures.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "synthetic.zip").symlink_to(archive)
    exec(compile(code, "own-pictures.md", "exec"), {})
    source, rendered = PictureFolder(tmp_path / "data" / "own" / "example"), RhdSource("synthetic", archive)
    assert source.ids("evaluation") == [1, 11]
    for number in (0, 1):
        said, true = source.sample("training", number), rendered.sample("training", number)
        np.testing.assert_array_equal(said.picture, true.picture)
        assert (said.mask is None) == (number == 0)
    np.testing.assert_array_equal(source.sample("evaluation", 1).mask, rendered.sample("training", 1).mask)
    shown = [hand for hand in rendered.sample("training", 0).hands if hand.visible is not None and hand.visible.any()]
    for mine, theirs in zip(source.sample("training", 0).hands, shown, strict=True):
        np.testing.assert_array_equal(mine.keypoints_px, theirs.keypoints_px)
        np.testing.assert_array_equal(mine.visible, theirs.visible)


def test_keypoints_come_unshifted_and_without_a_mask(folder: Path) -> None:
    sample = PictureFolder(folder).sample("training", 1)
    assert sample.mask is None
    assert [hand.side for hand in sample.hands] == [RIGHT, UNKNOWN]
    first, second = sample.hands
    assert first.keypoints_px is not None
    assert first.keypoints_px.dtype == np.float32
    # every third one is not marked: it stands amidst the others
    expected = [[k + 0.25, 2 * k] if k % 3 else [10.75, 21] for k in range(21)]
    np.testing.assert_array_equal(first.keypoints_px, expected)
    assert first.visible is not None
    assert first.visible.tolist() == [False, False, True] * 7
    assert second.keypoints_px is not None
    np.testing.assert_array_equal(second.keypoints_px[:2], [[20.25, 40], [1.25, 2]])


def test_marked_hands_take_the_place_of_the_mask_s(folder: Path) -> None:
    sample = PictureFolder(folder).sample("training", 2)
    assert [hand.side for hand in sample.hands] == [LEFT]
    np.testing.assert_array_equal(np.unique(sample.mask), [0, LEFT, RIGHT, UNKNOWN, IGNORE])


def test_without_a_list_the_name_decides_and_new_pictures_move_none(folder: Path) -> None:
    for number in range(12):
        save(folder / "images" / f"x{number:02d}.png", np.zeros((4, 4, 3), np.uint8))
        save(folder / "masks" / f"x{number:02d}.png", np.zeros((4, 4), np.uint8))
    source = PictureFolder(folder)
    held_out = [source.names[number] for number in source.ids("evaluation")]
    assert held_out == ["x00.png", "x09.png", "x10.png"]  # whose sha256 ends in 0 in decimal
    assert sorted(source.ids("training") + source.ids("evaluation")) == list(range(16))
    save(folder / "images" / "0.png", np.zeros((4, 4, 3), np.uint8))
    save(folder / "masks" / "0.png", np.zeros((4, 4), np.uint8))
    source = PictureFolder(folder)
    assert [source.names[number] for number in source.ids("evaluation") if source.names[number] != "0.png"] == held_out


def test_a_list_names_what_is_held_out(folder: Path) -> None:
    (folder / "evaluation.txt").write_text("# those of the second day\n\n [ab].*  \n#c.png\nd.b?p\n")
    source = PictureFolder(folder)
    assert source.ids("evaluation") == [0, 1, 3]
    assert source.ids("training") == [2]
    (folder / "evaluation.txt").write_text("")
    assert PictureFolder(folder).ids("evaluation") == []


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_read_their_own(folder: Path, method: str) -> None:
    source = PictureFolder(folder)
    assert len(pickle.dumps(source)) < 500
    assert pickle.loads(pickle.dumps(source)) is pickle.loads(pickle.dumps(source))
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        np.testing.assert_array_equal(
            pool.submit(source.sample, "training", 2).result(60).mask, source.sample("training", 2).mask
        )


def test_a_picture_is_taken_upright(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (5, 7)).save(folder / "images" / "c.png", exif=exif)
    sample = PictureFolder(folder).sample("training", 2)
    assert sample.mask is not None
    assert sample.picture.shape[:2] == sample.mask.shape == (5, 7)


# Faults of the folder


def test_no_pictures(tmp_path: Path) -> None:
    expected = f"{tmp_path}/none/images: must hold pictures, got none; put some there or correct the path"
    assert refusal(lambda: PictureFolder(tmp_path / "none")) == expected


def test_two_pictures_for_one_mask(folder: Path) -> None:
    save(folder / "images" / "c.bmp", np.zeros((5, 7, 3), np.uint8))
    what = "names must differ in more than their endings, for masks are found by the rest, got '['c.bmp', 'c.png']'"
    assert refusal(lambda: PictureFolder(folder)) == f"{folder}/images: {what}; rename"


def test_the_first_picture_with_neither_is_named(folder: Path) -> None:
    for name in ("a.png", "d.png"):
        (folder / "masks" / name).unlink()
    what = f"must have a mask or keypoints, got no {folder}/masks/a.png and no annotation"
    expected = f"{folder}/images/a.png: {what}; add one or remove the picture"
    assert refusal(lambda: PictureFolder(folder)) == expected


def test_a_picture_listed_without_annotation_still_needs_a_mask(folder: Path) -> None:
    content = coco()
    content["annotations"] = content["annotations"][1:2]
    write_coco(folder, content)
    assert "/images/b.jpg: must have a mask or keypoints" in refusal(lambda: PictureFolder(folder))


def test_a_list_that_names_nothing(folder: Path) -> None:
    path = folder / "evaluation.txt"
    path.write_text("a.png\nA.png\n")
    expected = f"{path}: each line must name pictures, got 'A.png'; correct or remove it"
    assert refusal(lambda: PictureFolder(folder)) == expected
    path.write_bytes(b"\xff\xfe")
    message = refusal(lambda: PictureFolder(folder))
    assert message.startswith(f"{path}: is not readable text, got 'UnicodeDecodeError: ")
    assert message.endswith("; save it as UTF-8")


LAYOUT = "must be JSON of COCO's layout, got "
BAD_FILES = {
    "cut": (b'{"images": [', f"{LAYOUT}'JSONDecodeError: Expecting value: line 1 column 13 (char 12)'"),
    "not text": (b"\xff\xfe\xfd", f"{LAYOUT}'UnicodeDecodeError: "),
    "too deep": (b"[" * 100_000, f"{LAYOUT}'RecursionError: "),
    "a list": (b"[]", f"{LAYOUT}'TypeError: "),
    "no images": (b'{"annotations": []}', f"{LAYOUT}'KeyError: 'images''"),
    "no annotations": (b'{"images": []}', f"{LAYOUT}'KeyError: 'annotations''"),
    "no id": (b'{"images": [{"file_name": "b.jpg"}], "annotations": []}', f"{LAYOUT}'KeyError: 'id''"),
    "a list as id": (b'{"images": [{"id": [], "file_name": "b.jpg"}]}', f"{LAYOUT}'TypeError: "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_json(folder: Path, case: str) -> None:
    data, expected = BAD_FILES[case]
    (folder / "keypoints.json").write_bytes(data)
    message = refusal(lambda: PictureFolder(folder))
    assert message.startswith(f"{folder}/keypoints.json: {expected}")
    assert message.endswith("; correct it")


ONCE = ": each file_name must be in images/ and here once, got "
BAD_RECORDS: dict[str, tuple[str, int, dict[str, Any], str]] = {
    "unknown name": ("images", 0, {"file_name": "e.png"}, f"{ONCE}'e.png'; correct it"),
    "name of a hidden file": ("images", 0, {"file_name": ".hidden"}, f"{ONCE}'.hidden'; correct it"),
    "one name twice": ("images", 1, {"file_name": "b.jpg"}, f"{ONCE}'b.jpg'; correct it"),
    "one id twice": ("images", 1, {"id": 7}, ": each image must have an id of its own, got '7'; correct it"),
    "unknown image": ("annotations", 0, {"image_id": 8}, ": image_id must be the id of an image, got '8'; correct it"),
    "62 numbers": (
        "annotations",
        0,
        {"keypoints": [0] * 62},
        ": b.jpg: keypoints must be 63 numbers, got '[0, 0, 0, 0, 0, 0, ...]'; correct them",
    ),
    "text": ("annotations", 0, {"keypoints": "x"}, ": b.jpg: keypoints must be 63 numbers, got 'x'; correct them"),
    "nothing": ("annotations", 0, {"keypoints": None}, ": b.jpg: keypoints must be 63 numbers, got 'None'; correct t"),
    "truths": ("annotations", 0, {"keypoints": [True] * 63}, ": b.jpg: keypoints must be 63 numbers, got '[True, "),
    "ragged": ("annotations", 0, {"keypoints": [[1], [1, 2]]}, ": b.jpg: keypoints must be 63 numbers, got 'ValueEr"),
    "nan": (
        "annotations",
        1,
        {"keypoints": [float("nan"), *KEYPOINTS[1:]]},
        ": c.png: x and y must be finite, got '[nan]'; correct them",
    ),
    "too large": (
        "annotations",
        1,
        {"keypoints": [0, 1e300, *KEYPOINTS[2:]]},
        ": c.png: x and y must be finite, got '[inf]'; correct them",
    ),
    "half seen": (
        "annotations",
        1,
        {"keypoints": [0, 0, 0.5, *KEYPOINTS[3:]]},
        ": c.png: v must be 0, 1 or 2, got '[0.5]'; correct it",
    ),
    "another side": (
        "annotations",
        1,
        {"side": ["left"]},
        ": c.png: side must be left or right, got '['left']'; correct or omit it",
    ),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_records(folder: Path, case: str) -> None:
    kind, number, change, expected = BAD_RECORDS[case]
    content = coco()
    content[kind][number] |= change
    write_coco(folder, content)
    message = refusal(lambda: PictureFolder(folder))
    assert message.startswith(f"{folder}/keypoints.json{expected}")
    assert "; correct" in message


def test_what_the_disk_refuses_is_no_fault_of_the_data(folder: Path) -> None:
    (folder / "keypoints.json").unlink()
    (folder / "keypoints.json").mkdir()
    with pytest.raises(EnvironmentFault, match=r"keypoints\.json: cannot be read, got 'IsADirectoryError"):
        PictureFolder(folder)


# Faults of one sample


def test_bad_masks_stop_no_other(folder: Path) -> None:
    path, source = folder / "masks" / "a.png", PictureFolder(folder)
    mask = np.zeros((20, 30), np.uint8)
    mask[3, 3], mask[4, 4] = 254, 3
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[..., 0] = 255
    for wrong, expected in (
        (mask, "values must be 0, 1, 2, 128, 255, got '3'; correct it"),
        (colours, "must be grey, got 'colours'; save it without a palette"),
        (mask[:, 1:], "must be as large as its picture, 30 x 20, got '29 x 20'; correct it"),
    ):
        save(path, wrong)
        assert refusal(lambda: source.sample("training", 0)) == f"{path}: {expected}"
    path.write_bytes(os.urandom(20))
    assert refusal(lambda: source.sample("training", 0)).startswith(f"{path}: not a readable picture, got ")
    assert source.sample("training", 2).hands


def test_bad_pictures_stop_no_other(folder: Path) -> None:
    path, source = folder / "images" / "b.jpg", PictureFolder(folder)
    path.write_text("no picture")
    expected = f"{path}: not a readable picture, got 'an unknown kind'; replace it"
    assert refusal(lambda: source.sample("training", 1)) == expected
    path.unlink()
    assert refusal(lambda: source.sample("training", 1)).startswith(f"{path}: no such picture")
    assert source.sample("training", 2).hands
