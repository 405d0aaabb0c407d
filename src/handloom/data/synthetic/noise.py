"""Smooth random fields and colours, the raw material of textures and backgrounds."""

import colorsys
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
Rgb = tuple[float, float, float]

_BANK: Final = 512
_GRAIN: Final = 448
_BICUBIC: Final = Image.Resampling.BICUBIC
_BILINEAR: Final = Image.Resampling.BILINEAR


def enlarge(grid: Field, height: int, width: int, *, wrap: bool = False, smooth: bool = True) -> Field:
    """A (rows, cols) float grid made (height, width), bicubic or (not `smooth`) bilinear; `wrap` makes it tileable."""
    if not wrap:
        image = Image.fromarray(np.ascontiguousarray(grid, np.float32))
        return np.asarray(image.resize((width, height), _BICUBIC if smooth else _BILINEAR))
    rows, cols = grid.shape
    padded = np.pad(grid, 2, mode="wrap")
    up, across = round(height / rows), round(width / cols)
    image = Image.fromarray(np.ascontiguousarray(padded, np.float32))
    full = np.asarray(image.resize((padded.shape[1] * across, padded.shape[0] * up), _BICUBIC))
    return full[2 * up : 2 * up + height, 2 * across : 2 * across + width]


@cache
def _bank(base: int) -> Image.Image:
    """A (512, 512) grey image with `base` cells across and every finer octave; made once per process."""
    rng = np.random.default_rng([2019, base])
    total = np.zeros((_BANK, _BANK), np.float32)
    weight, cells = 1.0, base
    while cells <= _BANK:
        total += weight * enlarge(rng.random((cells, cells), np.float32), _BANK, _BANK, wrap=True)
        weight, cells = weight * 0.56, cells * 2
    total -= total.mean()
    return Image.fromarray((np.clip(0.5 + total * (0.21 / float(total.std())), 0.0, 1.0) * 255).astype(np.uint8))


def clouds(rng: np.random.Generator, height: int, width: int, cells: int, stretch: float = 1.0) -> Image.Image:
    """A grey image, some `cells` cells across, `stretch` times as many down.

    A random piece of a bank, enlarged: drawing every octave anew took 10 ms, this takes 0.3.
    """
    base = 8 if cells <= 8 else 32 if cells <= 32 else 128
    cols = int(min(cells * _BANK / base, _BANK))
    rows = int(np.clip(cols * stretch * height / width, 2, _BANK))
    left, top = rng.integers(0, (_BANK - cols + 1, _BANK - rows + 1))
    image = _bank(base).resize((width, height), _BILINEAR, box=(int(left), int(top), int(left) + cols, int(top) + rows))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


@cache
def _tiles(size: int, cells: tuple[int, ...]) -> tuple[Field, ...]:
    """Six tileable (size, size, 3) fields of 0..1; `cells` (divisors of size) are the octaves."""
    rng = np.random.default_rng([2019, size, *cells])
    fields = []
    for _ in range(6):
        total = np.zeros((3, size, size), np.float32)
        for octave, count in enumerate(cells):
            for plane in total:
                plane += 0.6**octave * enlarge(rng.random((count, count), np.float32), size, size, wrap=True)
        low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
        fields.append(np.moveaxis((total - low) / (high - low), 0, -1))
    return tuple(fields)


def tile_noise(rng: np.random.Generator, size: int, cells: tuple[int, ...]) -> Field:
    """A tileable (size, size, 3) field of 0..1: one of six, shifted at random."""
    chosen, down, right = (int(v) for v in rng.integers(0, (6, size, size)))
    return np.roll(_tiles(size, cells)[chosen], (down, right), axis=(0, 1))


@cache
def _grain_bank(turned: bool) -> Field:
    bank = np.random.default_rng([2019, 7]).standard_normal((_GRAIN, _GRAIN, 3), np.float32)
    return np.ascontiguousarray(bank[:, ::-1]) if turned else bank


def grain(rng: np.random.Generator, height: int, width: int) -> Field:
    """A (height, width, 3) field of unit normal noise: a random piece of a bank, as drawing it anew is slow."""
    top, left, turned, flipped = (int(v) for v in rng.integers(0, (_GRAIN - height + 1, _GRAIN - width + 1, 2, 2)))
    left = _GRAIN - width - left if turned else left
    piece = _grain_bank(bool(turned))[top : top + height, left : left + width]
    return np.ascontiguousarray(piece[::-1] if flipped else piece)


_LIGHT: Final = np.array([(level / 255) ** 2.2 for level in range(256)], np.float32)
"""By Python's power: the last bits of numpy's depend on the processor's vector instructions."""


def to_light(display: NDArray[np.uint8]) -> Field:
    """Display bytes of any shape to linear light, 0..1."""
    return np.asarray(_LIGHT[display])


def linear(rgb: Rgb) -> Rgb:
    """Display (gamma 2.2) colour to linear light."""
    return (rgb[0] ** 2.2, rgb[1] ** 2.2, rgb[2] ** 2.2)


def any_colour(rng: np.random.Generator, saturation: float = 0.9) -> Rgb:
    """A random display colour, as often dull as bright."""
    return colorsys.hsv_to_rgb(
        float(rng.random()), float(rng.random() ** 1.3 * saturation), float(0.08 + 0.9 * rng.random())
    )


def skin_colour(rng: np.random.Generator) -> Rgb:
    """A random display skin colour, from very dark to very pale, with its own redness."""
    stops = np.array(
        [
            [0.20, 0.13, 0.10],
            [0.37, 0.24, 0.18],
            [0.56, 0.38, 0.28],
            [0.74, 0.55, 0.43],
            [0.87, 0.70, 0.60],
            [0.94, 0.81, 0.74],
        ]
    )
    at = float(rng.beta(1.35, 1.0)) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    colour = stops[low] + (stops[low + 1] - stops[low]) * (at - low)
    colour = colour * (1 + rng.normal(0, 1, 3) * np.array([0.012, 0.022, 0.032])) * (1 + rng.normal(0, 0.03))
    r, g, b = np.clip(colour, 0.05, 0.98)
    return (float(r), float(g), float(b))


def skin_like(rng: np.random.Generator) -> Rgb:
    """A colour that could be skin and is not: wood, leather, sand, brick, terracotta."""
    r, g, b = np.clip(np.array(skin_colour(rng)) * (1 + rng.normal(0, 0.08, 3)), 0.04, 1.0)
    return (float(r), float(g), float(b))
