"""Small painted textures: cloth patterns, prints, wood, paper, and the face that goes on the front of a head."""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from handloom.data.synthetic.noise import Rgb, any_colour, clouds, skin_like, tile_noise, to_light

Field = NDArray[np.float32]

SIZE: Final = 96
_FONT: Final = ImageFont.load_default()


def byte(rgb: Rgb) -> tuple[int, int, int]:
    """A display colour 0..1 as bytes."""
    r, g, b = (round(255 * min(max(c, 0.0), 1.0)) for c in rgb)
    return (r, g, b)


def words(rng: np.random.Generator, length: int) -> str:
    """Text-like random letters and spaces."""
    letters = "eeeetttaaooiinnsshhrrdlucmwfgypbvk     .,"
    return "".join(letters[i] for i in rng.integers(0, len(letters), length))


def _stripes(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    count = int(rng.choice([2, 3, 4, 6, 8]))
    step, thick = SIZE / count, SIZE / count * rng.uniform(0.2, 0.7)
    across = rng.random() < 0.5
    for i in range(count):
        low = i * step
        box = (0, low, SIZE, low + thick - 1) if across else (low, 0, low + thick - 1, SIZE)
        draw.rectangle(box, fill=colours[i % len(colours)])


def _checks(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    count = int(rng.choice([2, 3, 4, 6]))
    step, thick = SIZE / count, SIZE / count * rng.uniform(0.15, 0.5)
    for i in range(count):
        draw.rectangle((0, i * step, SIZE, i * step + thick), fill=colours[0])
        draw.rectangle((i * step, 0, i * step + thick, SIZE), fill=colours[-1])
        draw.rectangle((i * step, i * step, i * step + thick, i * step + thick), fill=colours[len(colours) // 2])


def _dots(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    count = int(rng.choice([2, 3, 4, 6]))
    step, radius = SIZE / count, SIZE / count * rng.uniform(0.12, 0.4)
    for i in range(count):
        for j in range(count):
            x, y = (i + 0.5) * step, (j + 0.5) * step
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colours[(i + j) % len(colours)])


def _flowers(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    for _ in range(int(rng.integers(6, 22))):
        x, y, radius = rng.uniform(8, SIZE - 8), rng.uniform(8, SIZE - 8), rng.uniform(3, 9)
        colour = colours[int(rng.integers(len(colours)))]
        for petal in np.linspace(0, 2 * np.pi, 6)[:-1]:
            px, py = x + radius * 0.7 * np.cos(petal), y + radius * 0.7 * np.sin(petal)
            draw.ellipse((px - radius / 2, py - radius / 2, px + radius / 2, py + radius / 2), fill=colour)


def _letters(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    for i in range(int(rng.integers(2, 7))):
        draw.text((rng.uniform(-10, 60), i * 15), words(rng, 9).upper(), fill=colours[i % len(colours)], font=_FONT)


def _plain(rng: np.random.Generator, draw: ImageDraw.ImageDraw, colours: list[tuple[int, int, int]]) -> None:
    return


_PATTERNS: Final[tuple[Callable[..., None], ...]] = (
    _plain,
    _plain,
    _plain,
    _plain,
    _stripes,
    _stripes,
    _checks,
    _dots,
    _flowers,
    _letters,
)


def cloth(rng: np.random.Generator) -> Field:
    """A tileable (SIZE, SIZE, 3) cloth: plain, striped, checked, dotted, flowered, lettered; one in 16 near skin."""
    ground = skin_like(rng) if rng.random() < 0.06 else any_colour(rng)
    image = Image.new("RGB", (SIZE, SIZE), byte(ground))
    colours = [byte(skin_like(rng) if rng.random() < 0.08 else any_colour(rng)) for _ in range(int(rng.integers(1, 4)))]
    _PATTERNS[int(rng.integers(len(_PATTERNS)))](rng, ImageDraw.Draw(image), colours)
    return to_light(np.asarray(image)) * (0.8 + 0.4 * tile_noise(rng, SIZE, (6, 24))[..., :1])


def face(rng: np.random.Generator, skin: Rgb, hair: Rgb) -> Field:
    """A (SIZE, SIZE, 3) face from the front, 0.24 m wide: eyes, brows, nose shade, mouth, cheeks, often a beard."""
    over = 2 * SIZE
    image = Image.new("RGB", (over, over), byte(skin))
    draw = ImageDraw.Draw(image)
    r, g, b = skin
    lips = byte((min(r * rng.uniform(0.85, 1.1), 1), g * rng.uniform(0.5, 0.8), b * rng.uniform(0.55, 0.85)))
    dark = byte((r * 0.6, g * 0.5, b * 0.48))

    def spot(u: float, v: float, w: float, h: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse(((u - w) * over, (v - h) * over, (u + w) * over, (v + h) * over), fill=fill)

    for side in (-1, 1):
        spot(0.5 + side * 0.20, 0.56, 0.09, 0.07, byte((min(r * 1.04, 1), g * 0.93, b * 0.92)))
        spot(0.5 + side * 0.135, 0.385, 0.085, 0.055, byte((r * 0.86, g * 0.80, b * 0.80)))
    if rng.random() < 0.3:
        beard = byte((0.45 * r + 0.45 * hair[0], 0.45 * g + 0.45 * hair[1], 0.45 * b + 0.45 * hair[2]))
        spot(0.5, 0.80, 0.30, 0.22, beard)
        spot(0.5, 0.655, 0.14, 0.045, beard)
    open_eye = rng.uniform(0.006, 0.026)
    iris = byte(any_colour(rng, 0.6) if rng.random() < 0.3 else (0.25, 0.15, 0.08))
    gaze = rng.uniform(-0.02, 0.02)
    brow = byte((hair[0] * 0.8, hair[1] * 0.8, hair[2] * 0.8))
    lift, tilt = rng.uniform(-0.02, 0.015), rng.uniform(-0.02, 0.02)
    for side in (-1, 1):
        x = 0.5 + side * 0.135
        spot(x, 0.378, 0.062, open_eye + 0.012, dark)
        spot(x, 0.382, 0.055, open_eye, (235, 232, 228))
        spot(x + gaze, 0.381, 0.021, min(0.021, open_eye), iris)
        spot(x + gaze, 0.381, 0.010, min(0.010, open_eye), (10, 8, 8))
        ends = [((x - side * 0.06) * over, (0.318 + lift + tilt) * over), (x * over, (0.298 + lift) * over),
                ((x + side * 0.07) * over, (0.318 + lift - tilt) * over)]  # fmt: skip
        draw.line(ends, fill=brow, width=int(rng.integers(3, 7)))
    for side in (-1, 1):
        spot(0.5 + side * 0.028, 0.585, 0.016, 0.010, dark)
    spot(0.5, 0.625, 0.02, 0.03, byte((r * 0.9, g * 0.85, b * 0.85)))
    wide, tall = rng.uniform(0.075, 0.12), rng.uniform(0.012, 0.03)
    spot(0.5, 0.70, wide, tall, lips)
    if rng.random() < 0.3:
        spot(0.5, 0.70, wide * 0.8, tall * 0.6, (230, 225, 215))
    else:
        draw.line([((0.5 - wide) * over, 0.70 * over), ((0.5 + wide) * over, 0.70 * over)], fill=dark, width=2)
    if rng.random() < 0.22:
        frame = byte(any_colour(rng, 0.7))
        for side in (-1, 1):
            x = 0.5 + side * 0.135
            draw.ellipse(((x - 0.10) * over, 0.31 * over, (x + 0.10) * over, 0.46 * over), outline=frame, width=4)
        draw.line([(0.46 * over, 0.37 * over), (0.54 * over, 0.37 * over)], fill=frame, width=4)
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    return to_light(np.asarray(small))


@cache
def _grain_curve(waves: int) -> list[int]:
    """Lookup table that turns a smooth grey into wood rings."""
    level = np.arange(256) / 255
    return [int(v) for v in 255 * np.clip(0.15 + 0.6 * level + 0.12 * np.sin(level * waves), 0, 1)]


def wood(rng: np.random.Generator, size: int) -> Image.Image:
    """A (size, size) wood grain in skin-like browns."""
    base = skin_like(rng)
    rings = clouds(rng, size, size, 3, float(rng.uniform(8, 20))).point(_grain_curve(int(rng.integers(10, 60))))
    dark = byte((base[0] * 0.6, base[1] * 0.55, base[2] * 0.5))
    return ImageOps.colorize(rings, dark, byte((base[0] * 1.15, base[1] * 1.15, base[2] * 1.15)))
