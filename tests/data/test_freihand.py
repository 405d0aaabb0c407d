"""Small archives of FreiHAND's layout, whole and broken: 21 frames, so that frames 0 and 20 are held out."""

import io
import json
import multiprocessing
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handloom.data.freihand import FreihandArchive
from handloom.data.source import RIGHT
from handloom.errors import EnvironmentFault
from tests.data.archives import refusal, write_zip

FRAMES = 21
CAMERA = [[200.0, 0.0, 112.0], [0.0, 400.0, 100.0], [0.0, 0.0, 1.0]]
AGAIN = "delete the archive and fetch it again"
LEAVE_OUT = "leave this sample out"


def jpeg(array: NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, quality=95)
    return stream.getvalue()


def points(frame: int) -> list[list[float]]:
    """Keypoint k at x = 0.01 k m: 112 + 200 * 0.01 k / 0.5 = 112 + 4 k px; y = 100 px, frame / 10 px lower each."""
    return [[0.01 * k, frame / 8000, 0.5] for k in range(21)]


def grey(sample_id: int) -> NDArray[np.uint8]:
    return np.full((224, 224, 3), 2 * sample_id, np.uint8)


@pytest.fixture
def files() -> dict[str, bytes]:
    """All pictures are grey, twice their id; the hand of each mask is its upper left 100 + frame columns, 50 rows."""
    found = {
        "training_K.json": json.dumps([CAMERA] * FRAMES).encode(),
        "training_xyz.json": json.dumps([points(frame) for frame in range(FRAMES)]).encode(),
    }
    for sample_id in range(4 * FRAMES):
        found[f"training/rgb/{sample_id:08d}.jpg"] = jpeg(grey(sample_id))
    for frame in range(FRAMES):
        mask = np.zeros((224, 224), np.uint8)
        mask[:50, : 100 + frame] = 255
        found[f"training/mask/{frame:08d}.jpg"] = jpeg(mask)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "FreiHAND.zip"


def test_four_backgrounds_of_every_20th_frame_are_held_out(path: Path, files: dict[str, bytes]) -> None:
    source = FreihandArchive(write_zip(path, files))
    assert source.name == "freihand"
    assert source.ids("evaluation") == [0, 20, 21, 41, 42, 62, 63, 83]
    assert source.ids("training") == sorted(set(range(84)) - {0, 20, 21, 41, 42, 62, 63, 83})
    assert [source.group(sample_id) for sample_id in (0, 20, 21, 83)] == [0, 20, 0, 20]


def test_a_sample_has_its_own_picture_and_its_frame_s_mask_and_points(path: Path, files: dict[str, bytes]) -> None:
    source = FreihandArchive(write_zip(path, files))
    sample = source.sample("training", 68)  # frame 5, fourth background
    np.testing.assert_array_equal(sample.picture, np.full((224, 224, 3), 136))
    np.testing.assert_array_equal(source.picture("training", 68), sample.picture)
    assert sample.mask is not None
    assert sample.mask.dtype == np.uint8
    expected = np.zeros((224, 224), np.uint8)
    expected[:50, :105] = RIGHT
    np.testing.assert_array_equal(sample.mask, expected)
    (hand,) = sample.hands
    assert hand.side == RIGHT
    assert hand.keypoints_px is not None
    assert hand.keypoints_px.dtype == np.float32
    np.testing.assert_allclose(hand.keypoints_px, [[112 + 4 * k, 100.5] for k in range(21)], rtol=1e-6)
    assert hand.visible is not None
    assert hand.visible.tolist() == [True] * 21


def test_a_hand_above_127_in_a_mask_of_any_depth(path: Path, files: dict[str, bytes]) -> None:
    values = np.repeat(np.array([127, 128], np.uint8), 112)[None].repeat(224, 0)  # whole JPEG blocks keep their value
    for mask in (values, values[..., None].repeat(3, 2)):
        files["training/mask/00000003.jpg"] = jpeg(mask)
        found = FreihandArchive(write_zip(path, files)).sample("training", 3).mask
        np.testing.assert_array_equal(found, np.where(values == 128, RIGHT, 0))


def test_points_are_visible_inside_the_picture_s_edges(path: Path, files: dict[str, bytes]) -> None:
    corners = [[-112.49, 0, 1], [-112.51, 0, 1], [111.49, 0, 1], [111.51, 0, 1]]
    corners += [[0, -100.49, 1], [0, -100.51, 1], [0, 123.49, 1], [0, 123.51, 1]]
    xyz = [points(frame) for frame in range(FRAMES)]
    xyz[1][:8] = corners
    files["training_xyz.json"] = json.dumps(xyz).encode()
    camera = [[1, 0, 112], [0, 1, 100], [0, 0, 1]]
    files["training_K.json"] = json.dumps([camera] * FRAMES).encode()
    (hand,) = FreihandArchive(write_zip(path, files)).sample("training", 1).hands
    assert hand.visible is not None
    assert hand.visible[:8].tolist() == [True, False] * 4


def _read(source: FreihandArchive, results: Any) -> None:
    results.put([int(source.picture("training", i)[0, 0, 0]) for i in (1, 50) * 20])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_their_own(path: Path, files: dict[str, bytes], method: Literal["fork", "spawn"]) -> None:
    source = FreihandArchive(write_zip(path, files))
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, Python 3.12
        child = context.Process(target=_read, args=(source, results))
        child.start()
    _read(source, queue := multiprocessing.get_context("spawn").SimpleQueue())
    assert queue.get() == [2, 100] * 20
    assert results.get(timeout=30) == [2, 100] * 20
    child.join(30)
    assert child.exitcode == 0


def test_a_process_opens_once_what_it_unpickles_often(path: Path, files: dict[str, bytes]) -> None:
    data = pickle.dumps(FreihandArchive(write_zip(path, files)))
    assert len(data) < 500
    assert pickle.loads(data) is pickle.loads(data)
    assert pickle.loads(data).ids("evaluation")[:2] == [0, 20]


# Faults of the whole archive


def test_no_such_file_and_no_zip(path: Path, files: dict[str, bytes]) -> None:
    expected = f"{path}: must be a zip file, got no such file; fetch it or correct the path"
    assert refusal(lambda: FreihandArchive(path)) == expected
    path.write_bytes(b"<html>")
    expected = f"{path}: is not a whole zip file, got 'BadZipFile: File is not a zip file'; {AGAIN}"
    assert refusal(lambda: FreihandArchive(path)) == expected


def test_a_member_twice(path: Path, files: dict[str, bytes]) -> None:
    write_zip(path, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("training_K.json", b"[]")
    assert refusal(lambda: FreihandArchive(path)) == f"{path}: a member is there twice, got 'training_K.json'; {AGAIN}"


@pytest.mark.parametrize("name", ["training_K.json", "training_xyz.json"])
def test_a_missing_json(path: Path, files: dict[str, bytes], name: str) -> None:
    del files[name]
    expected = f"{path}: {name} must be in the archive, got no such member; {AGAIN}"
    assert refusal(lambda: FreihandArchive(write_zip(path, files))) == expected


SHAPE = "must be numbers of shape ('N', 3, 3), got "
EVEN = "must be JSON of evenly long lists, got "
BAD_JSON = {
    "cut": (b"[[[1, 2", EVEN + "'JSONDecodeError: Expecting ',' delimiter: line 1 column 8 (char 7)'"),
    "not text": (b"\xff\xfe\xfd", EVEN + "'UnicodeDecodeError: "),
    "too deep": (b"[" * 100_000, EVEN + "'RecursionError: "),
    "ragged": (b"[[[1, 2, 3], [4, 5]]]", EVEN + "'ValueError: "),
    "an object": (b"{}", SHAPE + "'object of shape ()'"),
    "a number": (b"3", SHAPE + "'int64 of shape ()'"),
    "none": (b"[]", SHAPE + "'float64 of shape (0,)'"),
    "another shape": (json.dumps([[[0.0] * 3] * 2]).encode(), SHAPE + "'float64 of shape (1, 2, 3)'"),
    "text": (json.dumps([[["1"] * 3] * 3]).encode(), SHAPE + "'str32 of shape (1, 3, 3)'"),
    "nothing": (json.dumps([[[None] * 3] * 3]).encode(), SHAPE + "'object of shape (1, 3, 3)'"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(path: Path, files: dict[str, bytes], case: str) -> None:
    files["training_K.json"], expected = BAD_JSON[case]
    message = refusal(lambda: FreihandArchive(write_zip(path, files)))
    assert message.startswith(f"{path}: training_K.json: {expected}")
    assert message.endswith(f"; {AGAIN}")


def test_jsons_of_different_lengths(path: Path, files: dict[str, bytes]) -> None:
    files["training_K.json"] = json.dumps([CAMERA] * 20).encode()
    what = "training_K.json and training_xyz.json must have as many frames, got '20 and 21'"
    assert refusal(lambda: FreihandArchive(write_zip(path, files))) == f"{path}: {what}; {AGAIN}"


def test_a_json_that_claims_too_much(path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(files["training_xyz.json"])
    monkeypatch.setattr("handloom.data.freihand._MAX_JSON_BYTES", size)
    FreihandArchive(write_zip(path, files))
    monkeypatch.setattr("handloom.data.freihand._MAX_JSON_BYTES", size - 1)
    expected = f"{path}: training_xyz.json must have at most {size - 1} bytes, got '{size}'; {AGAIN}"
    assert refusal(lambda: FreihandArchive(path)) == expected


# Faults of one sample


def test_a_frame_that_cannot_be_projected_stops_no_other(path: Path, files: dict[str, bytes]) -> None:
    xyz = [points(frame) for frame in range(FRAMES)]
    xyz[1][3][2], xyz[2][3][2], xyz[3][0][0], xyz[4][0][2] = 0.0, -0.25, float("nan"), float("nan")
    cameras = np.array([CAMERA] * FRAMES)
    cameras[5, 0, 0], cameras[6, 0, 0] = np.inf, 1e300
    files["training_xyz.json"] = json.dumps(xyz).encode()
    files["training_K.json"] = json.dumps(cameras.tolist()).encode()
    source = FreihandArchive(write_zip(path, files))
    for sample_id, got in ((1, "[0.0]"), (22, "[0.0]"), (2, "[-0.25]"), (4, "[nan]")):
        expected = f"{path}: {sample_id:08d}: z must be above 0 m, got '{got}'; {LEAVE_OUT}"
        assert refusal(lambda i=sample_id: source.sample("training", i)) == expected  # type: ignore[misc]
    for sample_id, got in ((3, "[nan, nan]"), (5, "[nan, inf, "), (6, "[inf, ")):
        message = refusal(lambda i=sample_id: source.sample("training", i))  # type: ignore[misc]
        assert message.startswith(f"{path}: {sample_id:08d}: K xyz / z must be finite, got '{got}")
        assert message.endswith(f"; {LEAVE_OUT}")
    assert source.sample("training", 7).hands


BLACK = np.zeros((224, 224, 3), np.uint8)
BAD_PICTURES = {
    "missing": (None, " must be in the archive, got no such member"),
    "empty": (b"", ": is not a whole JPEG, got 'UnidentifiedImageError: "),
    "a PNG": (jpeg(BLACK, "PNG"), ": is not a whole JPEG, got 'UnidentifiedImageError: "),
    "cut": (jpeg(BLACK)[:700], ": is not a whole JPEG, got 'OSError: image file is truncated"),
    "smaller": (jpeg(BLACK[:100]), ": must be 224 x 224 pixels, got '224 x 100'"),
    "larger": (jpeg(BLACK.repeat(2, 1)), ": must be 224 x 224 pixels, got '448 x 224'"),
    "too many bytes": (bytes((1 << 20) + 1), " must have at most 1048576 bytes, got '1048577'"),
}


@pytest.mark.parametrize("kind", ["rgb", "mask"])
@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_bad_picture_stops_no_other(path: Path, files: dict[str, bytes], kind: str, case: str) -> None:
    data, expected = BAD_PICTURES[case]
    name = f"training/{kind}/00000002.jpg"
    del files[name]
    if data is not None:
        files[name] = data
    source = FreihandArchive(write_zip(path, files))
    message = refusal(lambda: source.sample("training", 2))
    assert message.startswith(f"{path}: {name}{expected}")
    assert message.endswith(f"; {LEAVE_OUT}")
    assert source.sample("training", 1).mask is not None


def test_a_flipped_bit_in_a_picture_is_found(path: Path, files: dict[str, bytes]) -> None:
    write_zip(path, files, zipfile.ZIP_STORED)
    name = "training/rgb/00000001.jpg"
    data = bytearray(path.read_bytes())
    data[data.index(files[name]) + 650] ^= 1
    path.write_bytes(data)
    source = FreihandArchive(path)
    assert f"{path}: {name} is not readable, got 'BadZipFile: Bad CRC-32" in refusal(
        lambda: source.sample("training", 1)
    )


def test_what_the_disk_refuses_is_no_fault_of_the_data(
    path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zip(path, files)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(EnvironmentFault, match=r"zip: cannot be read, got 'OSError: .*'; check the disk"):
        FreihandArchive(path)
