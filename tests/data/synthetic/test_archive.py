import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handloom.data.synthetic.archive import encode_depth, encode_png, write_archive
from handloom.errors import EnvironmentFault, ParamsError
from tests.data.synthetic.conftest import COUNTS, Sample


def test_names_and_order(archive: Path) -> None:
    expected = []
    for split, count in COUNTS.items():
        for index in range(count):
            expected += [f"RHD_published_v2/{split}/{kind}/{index:05d}.png" for kind in ("color", "mask", "depth")]
        expected.append(f"RHD_published_v2/{split}/anno_{split}.pickle")
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == expected
        assert opened.testzip() is None


def test_annotations_are_rhd_s(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        data = opened.read("RHD_published_v2/evaluation/anno_evaluation.pickle")
    assert data[:2] == b"\x80\x02"
    annotations = pickle.loads(data)
    assert list(annotations) == list(range(COUNTS["evaluation"]))
    shapes = {"K": (3, 3), "uv_vis": (42, 3), "xyz": (42, 3)}
    for annotation in annotations.values():
        assert {name: array.shape for name, array in annotation.items()} == shapes
        assert all(array.dtype == np.float32 for array in annotation.values())


def test_images_are_rhd_s(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.color.shape == sample.depth_png.shape == (320, 320, 3)
        assert sample.mask.shape == (320, 320)
        assert sample.color.dtype == sample.mask.dtype == sample.depth_png.dtype == np.uint8
        assert sample.mask.max() <= 33
        assert not sample.depth_png[..., 2].any()


def test_a_color_png_is_small(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        sizes = [info.file_size for info in opened.infolist() if "/color/" in info.filename]
    assert np.mean(sizes) < 200_000


def test_one_worker_and_two_write_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_archive(tmp_path / f"{workers}.zip", seed=3, num_training=5, num_evaluation=2, workers=workers)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_a_sample_does_not_know_how_many_there_are(archive: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "few.zip", seed=7, num_training=2, num_evaluation=1, workers=1)
    with zipfile.ZipFile(archive) as many, zipfile.ZipFile(tmp_path / "few.zip") as few:
        for name in few.namelist():
            if name.endswith(".png"):
                assert few.read(name) == many.read(name)


def test_a_broken_run_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(EnvironmentFault, match="cannot write the rendered archive"):
        write_archive(tmp_path / "taken" / "rhd.zip", seed=0, num_training=1, num_evaluation=0, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_archive(tmp_path / "rhd.zip", seed=0, num_training=1, num_evaluation=0, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"must not be negative, got '\(0, -1, 0\)'"):
        write_archive(tmp_path / "rhd.zip", seed=0, num_training=-1, num_evaluation=0)


def test_depth_encoding() -> None:
    encoded = encode_depth(np.array([[0.0, 5.0, 0.5]], np.float32))
    # 0.5 m = 6553.5 steps, rounded to even 6554 = 25 * 256 + 154.
    assert encoded.tolist() == [[[0, 0, 0], [255, 255, 0], [25, 154, 0]]]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (320, 320, 3)])
def test_png_round_trip(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "x.png").write_bytes(encode_png(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)
