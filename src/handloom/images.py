"""Pictures in and out, shrunk, cut and warped. A picture is (H, W, 3) uint8 RGB."""

import io
import math
import struct
import warnings
from pathlib import Path
from typing import IO, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from handloom.errors import DataError
from handloom.geometry import Box

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) for a mask."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 170_000_000
"""Larger pictures are refused from their header: 170 megapixels decode to 510 MB, and phones make 108."""
MAX_SIDE = 60_000
LARGE_PIXELS = 40_000_000
"""Beyond, where decoding takes over 300 MB, a file must have a byte for each MAX_PER_BYTE pixels, as photographs do."""
MAX_PER_BYTE = 50
MAX_BYTES = 2**29
_MAX_SQUARE = 6000
_TURNS: Final[dict[Any, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation."""

MIRRORED = cv2.BORDER_REFLECT
"""Beyond a picture's border stands its mirror image."""


def read(source: Path | IO[bytes], name: str = "", max_pixels: int = MAX_PIXELS) -> Picture:
    """Give a picture file as (H, W, 3) RGB, as a viewer shows it: turned upright by its EXIF tag.

    Raises DataError, which calls it `name` or by its path.
    """
    name = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit of size is our own, and what is odd but readable is read
            content = _content(source)
            # from memory: a chunk that says it has 4 GB makes a file's `read` ask for 4 GB
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
                    raise DataError(f"{name}: too large, got '{image.width}x{image.height}'; shrink it first")
                if image.width * image.height > max(LARGE_PIXELS, MAX_PER_BYTE * len(content)):
                    what = "too large for so small a file"
                    raise DataError(f"{name}: {what}, got '{image.width}x{image.height}'; shrink it first")
                image.load()
                return _rgb(image if (turn := _turn(image)) is None else image.transpose(turn))
    except Image.DecompressionBombError:
        raise DataError(f"{name}: too large, got 'over twice Pillow's limit'; shrink it first") from None
    except FileNotFoundError:
        raise DataError(f"{name}: no such picture, got 'nothing'; check the path") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a readable picture, got 'an unknown kind'; replace it") from None
    except (OSError, OverflowError, SyntaxError, TypeError, ValueError, struct.error) as error:
        raise DataError(f"{name}: not a readable picture, got '{error}'; replace it") from None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Give what shows an image upright by its EXIF tag; None where it stands so, or where its tags cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # whatever Pillow makes of odd tags, which viewers pass over
        return None


def _content(source: Path | IO[bytes]) -> bytes:
    if isinstance(source, Path) and source.stat().st_size > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES} bytes")
    return source.read_bytes() if isinstance(source, Path) else source.read()


def _rgb(image: Image.Image) -> Picture:
    """Give an image of any mode in eight bits: of sixteen the upper eight; what is transparent shows white."""
    if image.mode.startswith("I"):  # Pillow's own conversion saturates all above 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def encode_png(picture: Picture) -> bytes:
    """Give the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def encode(picture: Picture, suffix: str) -> bytes:
    """Give the bytes of a picture file of the kind that a suffix names, `.jpg` for one.

    Raises DataError where that kind holds no such picture.
    """
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, Image.registered_extensions()[suffix.lower()], quality=90)
    except (OSError, ValueError) as error:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DataError(f"picture: {suffix} cannot hold it, got '{size}', {error}; take another kind") from None
    return buffer.getvalue()


def shrink(picture: Picture, size: int) -> Picture:
    """Resize a square to (size, size) by area averaging: each result pixel is the mean of what it covers.

    A smaller one is enlarged bilinearly.
    """
    if len(picture) >= size:
        return _averaged(picture, size, size)
    step = len(picture) / size
    return warp(picture, np.array([[step, 0, step / 2 - 0.5], [0, step, step / 2 - 0.5]]), size, cv2.BORDER_REPLICATE)


def _averaged(picture: Picture, height: int, width: int) -> Picture:
    factor = picture.shape[0] // height
    if picture.shape[:2] == (height * factor, width * factor) and factor % 2:  # the same, in two thirds of the time
        return np.asarray(cv2.boxFilter(picture, -1, (factor, factor), anchor=(0, 0))[::factor, ::factor], np.uint8)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def enlarge(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize a square of values to (size, size), at least as large, bilinearly."""
    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def average(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize a square of values to (size, size), at most as large, by area averaging."""
    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def shrink_square(picture: Picture, size: int) -> Picture:
    """Shrink a picture, padded right and below with black to a square."""
    if (factor := -(-max(picture.shape[:2]) // _MAX_SQUARE)) > 1:
        picture = np.asarray(Image.fromarray(picture).reduce(factor))  # the square of a panorama may fill the memory
    height, width = picture.shape[:2]
    side = max(height, width)
    # no more of the padding than makes whole pixels of the result: the rest need not be averaged
    unit = size // math.gcd(side, size) if side > size else size
    rows, columns = (-(-length * size // (side * unit)) * unit for length in (height, width))
    below, right = rows * side // size - height, columns * side // size - width
    if below or right:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)))
    if rows == columns:
        return shrink(picture, size)
    square = np.zeros((size, size, *picture.shape[2:]), np.uint8)
    square[:rows, :columns] = _averaged(picture, rows, columns)
    return square


def shrink_labels(labels: Picture, size: int) -> Picture:
    """Area-filter a mask (H, W) of labels, 0 background, padded right and below with it to a square, to (size, size).

    A pixel is labelled where labels cover at least half of it; it takes what covers most, the lowest of equals.
    """
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]).astype(np.uint8) + 1
    if not len(found):
        return np.zeros((size, size), np.uint8)
    shares = np.stack([shrink_square((labels == label) * np.uint8(255), size) for label in found]).astype(np.int16)
    return np.where(shares.sum(axis=0) >= 128, found[shares.argmax(axis=0)], 0).astype(np.uint8)


def crop(picture: Picture, box: Box, size: int) -> Picture:
    """Cut a box out and resample it to (size, size), bilinearly; black where the box leaves the picture.

    Of a box at least twice as large, squares of the picture's pixels are averaged first, so that each counts. Follows
    `Box.to_crop`.
    """
    factor = max(1, math.floor(max(box.width, box.height) / size))
    left, top = (max(0, math.floor(near / factor) - 1) for near in (box.left, box.top))
    right, bottom = (
        min(-(-length // factor), math.ceil(far / factor) + 1)
        for far, length in ((box.right, picture.shape[1]), (box.bottom, picture.shape[0]))
    )
    if right <= left or bottom <= top:
        return np.zeros((size, size, *picture.shape[2:]), np.uint8)
    seen = picture[top * factor : bottom * factor, left * factor : right * factor]
    if factor > 1:
        below, beside = (bottom - top) * factor - seen.shape[0], (right - left) * factor - seen.shape[1]
        if below or beside:  # the picture ends within a square: its last pixels fill it
            seen = np.asarray(cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_REPLICATE))
        seen = _averaged(seen, bottom - top, right - left)
    across, down = (length / (size * factor) for length in (box.width, box.height))
    x, y = box.left / factor - left + across / 2 - 0.5, box.top / factor - top + down / 2 - 0.5
    return warp(seen, np.array([[across, 0.0, x], [0.0, down, y]]), size)


def warp(picture: Picture, affine: NDArray[np.floating], size: int, border: int = cv2.BORDER_CONSTANT) -> Picture:
    """Sample a picture at the centres of (size, size) pixels; `affine` (2, 3) maps those to the picture's, (x, y)."""
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, affine, (size, size), flags=how, borderMode=border), np.uint8)


def look_up(picture: Picture, table: NDArray[np.uint8]) -> Picture:
    """Give each value of a picture what a table says of it: (256,) for all channels, (256, C) for each its own."""
    return np.asarray(cv2.LUT(picture, table[None] if table.ndim == 2 else table), np.uint8)
