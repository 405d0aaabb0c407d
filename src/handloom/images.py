"""Pictures in and out, and the two ways of resampling them. A picture is (H, W, 3) uint8 RGB."""

import io
import math
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from handloom.errors import DataError
from handloom.geometry import Box

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) for a mask."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 170_000_000
"""Larger pictures are refused from their header: 170 megapixels decode to 510 MB, and phones make 108."""
MAX_SIDE = 60_000
_MAX_SQUARE = 6000


def read(source: Path | IO[bytes], name: str = "", max_pixels: int = MAX_PIXELS) -> Picture:
    """Give a picture file as (H, W, 3) RGB, as a viewer shows it: turned upright by its EXIF tag.

    Raises DataError, which calls it `name` or by its path.
    """
    name = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is our own
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
                    raise DataError(f"{name}: too large, got '{image.width}x{image.height}'; shrink it first")
                return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise DataError(f"{name}: too large, got 'over twice Pillow's limit'; shrink it first") from None
    except FileNotFoundError:
        raise DataError(f"{name}: no such picture, got 'nothing'; check the path") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a readable picture, got 'an unknown kind'; replace it") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: not a readable picture, got '{error}'; replace it") from None


def _rgb(image: Image.Image) -> Picture:
    """Give an image of any mode in eight bits: of sixteen the upper eight; what is transparent shows white."""
    if image.mode.startswith("I"):  # Pillow's own conversion saturates all above 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def encode_png(picture: Picture) -> bytes:
    """Give the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def encode(picture: Picture, suffix: str) -> bytes:
    """Give the bytes of a picture file of the kind that a suffix names, `.jpg` for one."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, Image.registered_extensions()[suffix.lower()], quality=90)
    return buffer.getvalue()


def shrink(picture: Picture, size: int) -> Picture:
    """Resize to (size, size) by area averaging: each result pixel is the mean of what it covers."""
    height, width = picture.shape[:2]
    return _averaged(Image.fromarray(picture), (size, size), (width, height))


def _averaged(image: Image.Image, size: tuple[int, int], covered: tuple[float, float]) -> Picture:
    """Give the upper left part of an image, `covered` wide and high and black beyond the image, in this size."""
    right, bottom = map(math.ceil, covered)
    if image.size != (right, bottom):
        image = image.crop((0, 0, right, bottom))
    factor = covered[0] / size[0]
    if factor == covered[1] / size[1] and factor.is_integer():
        return np.asarray(image.reduce(int(factor)))  # the same, three times as fast
    return np.asarray(image.resize(size, Image.Resampling.BOX, box=(0, 0, *covered)))


def shrink_square(picture: Picture, size: int) -> Picture:
    """Shrink a picture, padded right and below with black to a square."""
    if (factor := -(-max(picture.shape[:2]) // _MAX_SQUARE)) > 1:
        picture = np.asarray(Image.fromarray(picture).reduce(factor))  # the square of a panorama may fill the memory
    height, width = picture.shape[:2]
    side = max(height, width)
    rows, columns = -(-height * size // side), -(-width * size // side)  # the others are padding alone
    square = np.zeros((size, size, 3), np.uint8)
    square[:rows, :columns] = _averaged(
        Image.fromarray(picture), (columns, rows), (columns * side / size, rows * side / size)
    )
    return square


def shrink_sides(sides: Picture, size: int) -> Picture:
    """Area-filter a mask of 0 background, 1 left, 2 right to (size, size).

    A pixel is hand where hands cover at least half of it, and takes the side that covers more.
    """
    left, right = (shrink(np.where(sides == side, np.uint8(255), np.uint8(0)), size).astype(int) for side in (1, 2))
    return np.where(left + right >= 128, np.where(right > left, 2, 1), 0).astype(np.uint8)


def crop(picture: Picture, box: Box, size: int) -> Picture:
    """Cut a box out and resample it to (size, size), triangle-filtered; black where the box leaves the picture.

    Of a box at least twice as large, squares of pixels are averaged first: half the time, and much the same picture.
    Follows `Box.to_crop`: Pillow's `box` counts pixel edges just as `Box` does.
    """
    height, width = picture.shape[:2]
    pad = max(0, math.ceil(max(-box.left, -box.top, box.right - width, box.bottom - height)))
    # of a large picture only what the filter reaches; at the border of picture and padding it stops short
    step = max(1.0, box.width / size, box.height / size)
    factor = math.floor(step)
    reach = factor * (math.ceil(step / factor) + 1)
    left, top = max(-pad, math.floor(box.left) - reach), max(-pad, math.floor(box.top) - reach)
    right, bottom = min(width + pad, math.ceil(box.right) + reach), min(height + pad, math.ceil(box.bottom) + reach)
    seen = picture[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if min(seen.shape[:2]) == 0:
        return np.zeros((size, size, *picture.shape[2:]), np.uint8)
    canvas = Image.fromarray(seen).crop((min(0, left), min(0, top), right - max(0, left), bottom - max(0, top)))
    edges = (box.left - left, box.top - top, box.right - left, box.bottom - top)
    if factor > 1:
        canvas = canvas.reduce(factor)
    within = tuple(edge / factor for edge in edges)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR, box=within))
