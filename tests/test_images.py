import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from handloom import images
from handloom.errors import DataError
from handloom.geometry import Box


def test_shrink_is_the_mean_of_what_a_pixel_covers() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = [[[10], [20]], [[30], [40]]]
    assert images.shrink(picture, 2)[..., 0].tolist() == [[25, 0], [0, 0]]


def test_a_pixel_is_hand_where_hands_cover_half_of_it() -> None:
    sides = np.array([[1, 1, 0, 0], [1, 2, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
    assert images.shrink_labels(sides, 2).tolist() == [[1, 0], [0, 0]]
    assert images.shrink_labels(np.array([[2, 1], [2, 0]], np.uint8), 1).tolist() == [[2]]


def test_a_crop_of_its_own_size_is_the_picture_itself() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    assert np.array_equal(images.crop(picture, Box(2, 3, 7, 8), 5), picture[3:8, 2:7])


def test_a_crop_beyond_the_border_is_black_there() -> None:
    picture = np.full((4, 4, 3), 200, np.uint8)
    assert images.crop(picture, Box(-2, 0, 2, 4), 4)[..., 0].tolist() == [[0, 0, 200, 200]] * 4


@pytest.mark.parametrize(
    "box", [Box(3.2, 5.7, 20.9, 23.4), Box(-9.3, 4, 22.6, 35.9), Box(9, 0, 40, 31), Box(20, 25.5, 30, 35.5)]
)
def test_a_crop_is_bilinear_in_a_picture_on_black(box: Box) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    x, y = (near + (np.arange(16) + 0.5) * box.width / 16 - 0.5 for near in (box.left, box.top))
    places = np.stack(np.meshgrid(y, x, indexing="ij"))
    true = [ndimage.map_coordinates(picture[..., c] * 1.0, places, order=1, mode="grid-constant") for c in range(3)]
    assert np.abs(images.crop(picture, box, 16) - np.stack(true, axis=-1)).max() < 0.501


@pytest.mark.parametrize("box", [Box(300, 0, 400, 100), Box(-80, -80, -10, -10), Box(0, 500, 900, 1400)])
def test_a_crop_of_nothing_is_black(box: Box) -> None:
    assert not images.crop(np.full((200, 260, 3), 200, np.uint8), box, 32).any()


@pytest.mark.parametrize(
    ("side", "box", "size"), [(320, Box(-180, -90, 320, 410), 160), (640, Box(140, 300, 640, 800), 64)]
)
def test_a_picture_is_seen_to_its_last_pixel(side: int, box: Box, size: int) -> None:
    shown = images.crop(np.full((side, side, 3), 200, np.uint8), box, size)
    inside = box.to_crop(np.array([[0, 0], [side - 1, side - 1]], np.float32), size)
    (left, top), (right, bottom) = np.ceil(inside[0]).astype(int), np.floor(inside[1]).astype(int)
    # a square that ends beyond the picture is the picture's
    assert shown[max(0, top) : bottom + 1, max(0, left) : right + 1].min() > 110


def test_a_picture_narrower_than_a_pixel_is_seen() -> None:
    assert images.crop(np.full((3000, 20, 3), 200, np.uint8), Box(-1490, 0, 1510, 3000), 128).max() > 90


@pytest.mark.parametrize("box", [Box(0, 0, 140, 140), Box(-60, -70, 140, 130), Box(5.3, 2.1, 245.8, 242.6)])
def test_a_large_crop_is_much_the_same(box: Box) -> None:
    x, y = np.meshgrid(np.arange(300), np.arange(260))
    picture = np.dstack([128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), (x + y) / 3]).astype(np.uint8)
    canvas = Image.fromarray(np.pad(picture, [(100, 100), (100, 100), (0, 0)]))
    edges = (box.left + 100, box.top + 100, box.right + 100, box.bottom + 100)
    true = np.asarray(canvas.resize((64, 64), Image.Resampling.BILINEAR, box=edges))
    away = np.abs(images.crop(picture, box, 64).astype(int) - true)
    assert away.mean() < 1.5
    assert np.quantile(away, 0.98) < 20  # the rest is where the picture ends


@pytest.mark.parametrize(("height", "width"), [(40, 30), (30, 40), (7000, 3), (3, 13_000)])
def test_a_square_of_any_picture_holds_it_above_and_left(height: int, width: int) -> None:
    shown = images.shrink_square(np.full((height, width, 3), 200, np.uint8), 20)
    assert shown.shape == (20, 20, 3)
    assert shown[0, 0].min() > 0
    assert (shown[20 * height // max(height, width) + 1 :] == 0).all()
    assert (shown[:, 20 * width // max(height, width) + 1 :] == 0).all()


def test_a_bright_pixel_is_found_where_to_crop_says() -> None:
    picture = np.zeros((40, 40), np.uint8)
    picture[13, 22] = 255
    box = Box(10.5, 4.25, 32.5, 26.25)
    crop = images.crop(np.dstack([picture] * 3), box, 88)[..., 0].astype(float)
    y, x = np.indices(crop.shape)
    found = [(x * crop).sum() / crop.sum(), (y * crop).sum() / crop.sum()]
    np.testing.assert_allclose(found, box.to_crop(np.array([22, 13], np.float32), 88), atol=0.02)


def test_read_turns_a_picture_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.new("L", (8, 4)).save(path, exif=exif)
    assert images.read(path).shape == (8, 4, 3)


@pytest.mark.parametrize("odd", [(0x0110, 5), (0x011A, 2), (0x0128, 5)], ids=["model", "resolution", "unit"])
def test_an_odd_tag_keeps_no_picture_from_being_read_upright(odd: tuple[int, int], tmp_path: Path) -> None:
    """Each tag is of another kind than it should be: Pillow cannot write them anew, viewers do not mind."""
    tag, kind = odd
    entries = [struct.pack("<HHII", 0x0112, 3, 1, 6), struct.pack("<HHII", tag, kind, 1, 38)]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + b"".join(sorted(entries)) + bytes(4)
    exif += struct.pack("<II", 1, 2)
    content = io.BytesIO()
    Image.new("RGB", (8, 4)).save(content, "jpeg")
    length = struct.pack(">H", len(exif) + 2)
    (tmp_path / "odd.jpg").write_bytes(content.getvalue()[:2] + b"\xff\xe1" + length + exif + content.getvalue()[2:])
    assert images.read(tmp_path / "odd.jpg").shape == (8, 4, 3)


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (2, 2), (50, 255)), (50, 50, 50)),
        (Image.fromarray(np.full((2, 2), 0x4D12, np.uint16)), (0x4D, 0x4D, 0x4D)),
        (Image.new("P", (2, 2), 0), (0, 0, 0)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_read_shows_what_a_viewer_shows(image: Image.Image, shown: tuple[int, int, int], tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png")[0, 0].tolist() == list(shown)


def test_read_takes_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = images.read(tmp_path / "a.jpg")[4, 4].astype(int)
    assert red > 230
    assert max(green, blue) < 25


def test_a_picture_beyond_the_limit_is_refused_from_its_header(tmp_path: Path) -> None:
    Image.new("1", (14_000, 12_200)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match=r"huge\.png: too large, got '14000x12200'"):
        images.read(tmp_path / "huge.png")


def test_a_bomb_is_refused_and_a_large_picture_is_not(tmp_path: Path) -> None:
    """Nothing, 64 megapixels of it, is a file of 8 KB; what a camera takes of that size has megabytes."""
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png: too large for so small a file, got '8000x8000'; shrink it first"):
        images.read(tmp_path / "bomb.png")
    noise = np.random.default_rng(1).integers(0, 256, (64, 8000), np.uint8)
    Image.fromarray(np.tile(noise, (101, 1))).save(tmp_path / "large.jpg", quality=20)
    assert images.read(tmp_path / "large.jpg").shape == (6464, 8000, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png: not a readable picture"):
        images.read(path)


@pytest.mark.parametrize("size", [128, 192, 224])
@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (333, 500), (128, 128), (60, 80), (172, 230)])
def test_a_shrunk_picture_is_its_square_averaged(height: int, width: int, size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    square = np.zeros((max(height, width),) * 2 + (3,), np.uint8)
    square[:height, :width] = picture
    step = len(square) / size
    edges = np.arange(size + 1)[:, None] * step
    along = np.arange(len(square))
    covered = np.clip(np.minimum(edges[1:], along + 1) - np.maximum(edges[:-1], along), 0, 1) / step
    true = (covered @ (covered @ square.transpose(2, 0, 1)).transpose(0, 2, 1)).transpose(2, 1, 0)
    if step < 1:
        true = np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(images.shrink_square(picture, size) - true).max() < (0.501 if step >= 1 else 1.001)
