"""Backgrounds with structure: rooms, desks, landscapes, streets, walls, lights out of focus, and plain surfaces."""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from handloom.data.synthetic.clutter import round_bar, scatter, shaded
from handloom.data.synthetic.kernels import kernel
from handloom.data.synthetic.noise import Rgb, any_colour, clouds, enlarge, skin_like
from handloom.data.synthetic.texture import byte, wood, words

Field = NDArray[np.float32]
Rng = np.random.Generator


def _two_tone(rng: Rng, size: int, one: Rgb, two: Rgb, cells: int, stretch: float = 1.0) -> Image.Image:
    """A cloudy mixture of two colours."""
    return ImageOps.colorize(clouds(rng, size, size, cells, stretch), byte(two), byte(one))


def _defocus(image: Image.Image, factor: float) -> Image.Image:
    """The image shrunk by `factor` and enlarged again: a blur of about that radius in a tenth of a Gaussian's 7 ms."""
    small = image.resize((round(image.width / factor), round(image.height / factor)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _wall(rng: Rng, size: int) -> Image.Image:
    """A plain or papered wall, lit unevenly."""
    rgb = skin_like(rng) if rng.random() < 0.12 else any_colour(rng, 0.5)
    image = Image.new("RGB", (size, size), byte(rgb))
    if rng.random() < 0.35:
        draw, step = ImageDraw.Draw(image), rng.uniform(8, 40)
        other = shaded(rgb, float(rng.uniform(0.75, 1.25)))
        for i in range(int(size / step) + 1):
            draw.rectangle((i * step, 0, i * step + step / 2, size), fill=other)
    return image


def _books(rng: Rng, draw: ImageDraw.ImageDraw, x0: float, x1: float, floor: float, height: float) -> None:
    x = x0
    while x < x1:
        w, h = rng.uniform(3, 11), height * rng.uniform(0.5, 0.95)
        if rng.random() < 0.88:
            draw.rectangle((x, floor - h, min(x + w, x1), floor), fill=byte(any_colour(rng)), outline=(30, 30, 30))
        x += w


def _room(rng: Rng, size: int) -> Image.Image:
    """Wall, floor, skirting, and some of window, door, shelf with books, curtain, sofa."""
    image = _wall(rng, size)
    draw = ImageDraw.Draw(image)
    floor = rng.uniform(0.55, 1.1) * size
    ground = skin_like(rng) if rng.random() < 0.4 else any_colour(rng, 0.4)
    draw.rectangle((0, floor, size, size * 1.2), fill=byte(ground))
    for i in range(14):
        draw.line(
            [(size / 2 + (i - 7) * 30, floor), (size / 2 + (i - 7) * 110, size)], fill=shaded(ground, 0.8), width=1
        )
    draw.rectangle((0, floor - rng.uniform(3, 10), size, floor), fill=byte(any_colour(rng, 0.3)))
    if rng.random() < 0.5:
        x, y, w, h = rng.uniform(-40, 240), rng.uniform(-30, 80), rng.uniform(60, 150), rng.uniform(80, 180)
        sky = any_colour(rng, 0.4)
        draw.rectangle((x, y, x + w, y + h), fill=shaded(sky, 1.5), outline=(235, 232, 225), width=5)
        draw.line([(x + w / 2, y), (x + w / 2, y + h)], fill=(235, 232, 225), width=4)
        draw.line([(x, y + h * 0.4), (x + w, y + h * 0.4)], fill=(235, 232, 225), width=4)
    if rng.random() < 0.5:
        x, w = rng.uniform(-60, 220), rng.uniform(70, 200)
        top, gap = rng.uniform(-20, 120), rng.uniform(30, 60)
        plank = byte(skin_like(rng) if rng.random() < 0.6 else any_colour(rng, 0.3))
        for i in range(int(rng.integers(1, 5))):
            level = top + (i + 1) * gap
            _books(rng, draw, x, x + w, level, gap - 6)
            draw.rectangle((x, level, x + w, level + 5), fill=plank)
    if rng.random() < 0.3:
        x, cloth = rng.uniform(-30, 250), any_colour(rng)
        for i in range(int(rng.integers(4, 10))):
            draw.rectangle((x + i * 9, 0, x + i * 9 + 9, floor), fill=shaded(cloth, float(0.75 + 0.4 * rng.random())))
    if rng.random() < 0.35:
        x, rgb = rng.uniform(-60, 200), skin_like(rng) if rng.random() < 0.15 else any_colour(rng)
        for top, factor in ((0.0, 0.85), (50.0, 1.05)):
            draw.rounded_rectangle((x, floor - 70 + top, x + 190, floor + 40), radius=18, fill=shaded(rgb, factor))
    scatter(rng, image, 4)
    return image


@cache
def _print() -> Image.Image:
    """A grey page of writing, from which sheets are cut: setting type anew took 3 ms a sheet."""
    rng = np.random.default_rng(2019)
    page = Image.new("L", (600, 600))
    draw = ImageDraw.Draw(page)
    for i in range(50):
        draw.text((0, i * 12), words(rng, 110), fill=255)
    return page


def _paper(rng: Rng, size: int) -> Image.Image:
    """A sheet with lines of writing."""
    height = int(size * 1.4)
    sheet = Image.new("RGB", (size, height), byte((0.93, 0.92, rng.uniform(0.8, 0.95))))
    left, top = (int(v) for v in rng.integers(0, (600 - size, 600 - height)))
    ink = _print().crop((left, top, left + size - 14, top + height - 14))
    sheet.paste((60, 60, 70), (7, 7), ink)
    return sheet


def _keyboard(rng: Rng, size: int) -> Image.Image:
    dark = rng.random() < 0.6
    board = Image.new("RGB", (size, int(size * 0.36)), (35, 35, 38) if dark else (205, 205, 205))
    draw = ImageDraw.Draw(board)
    key = size / 15
    for row in range(5):
        for col in range(14):
            x, y = 3 + col * key + row * 2, 3 + row * key
            draw.rectangle((x, y, x + key * 0.82, y + key * 0.82), fill=(62, 62, 66) if dark else (240, 240, 240))
    return board


def _desk(rng: Rng, size: int) -> Image.Image:
    """A desk top seen from above: wood or plain, with papers, keyboard, books, mugs, pens."""
    plain = rng.random() < 0.35
    image = _wall(rng, size) if plain else wood(rng, size)
    for _ in range(int(rng.integers(1, 5))):
        thing = (_paper, _keyboard, _paper)[int(rng.integers(3))](rng, int(rng.uniform(80, 220)))
        turned = thing.convert("RGBA").rotate(float(rng.normal(0, 35)), expand=True, resample=Image.Resampling.NEAREST)
        image.paste(turned, (int(rng.uniform(-80, 260)), int(rng.uniform(-80, 260))), turned)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, size, 2)
        angle, rgb = rng.uniform(0, 2 * np.pi), any_colour(rng)
        round_bar(draw, x, y, x + 90 * np.cos(angle), y + 90 * np.sin(angle), rng.uniform(3, 7), byte(rgb))
    for _ in range(int(rng.integers(0, 3))):
        x, y, r, rgb = *rng.uniform(0, size, 2), rng.uniform(14, 40), any_colour(rng)
        for share, factor in ((1.0, 0.6), (0.95, 1.0), (0.82, 0.45), (0.78, 0.3)):
            draw.ellipse((x - r * share, y - r * share, x + r * share, y + r * share), fill=shaded(rgb, factor))
    scatter(rng, image, 3)
    if rng.random() < 0.5:
        # Seen at a slant: the far edge shrinks.
        lean = rng.uniform(0.1, 0.3) * size
        image = image.transform(
            (size, size),
            Image.Transform.QUAD,
            (lean, 0, 0, size, size, size, size - lean, 0),
            Image.Resampling.BILINEAR,
        )
    return image


def _ridge(rng: Rng, size: int, level: float, rough: float) -> list[tuple[float, float]]:
    line = np.asarray(clouds(rng, 8, size, int(rng.integers(3, 9))), np.float32)[3] / 255
    return [
        (0.0, float(size)),
        *((float(x), float(level + rough * (line[x] - 0.5))) for x in range(0, size, 2)),
        (float(size), float(size)),
    ]


def _landscape(rng: Rng, size: int) -> Image.Image:
    """Sky with clouds, hills, perhaps water, rocks, trees or houses."""
    warm = rng.random() < 0.25
    top: Rgb = (0.85, 0.55, 0.40) if warm else (rng.uniform(0.25, 0.6), rng.uniform(0.45, 0.7), rng.uniform(0.6, 0.95))
    sky = _two_tone(
        rng, size, (0.93, 0.93, 0.95) if rng.random() < 0.7 else (0.5, 0.5, 0.53), top, int(rng.integers(2, 6)), 2.0
    )
    image = sky
    horizon = rng.uniform(0.1, 0.8) * size
    for i in range(int(rng.integers(1, 5))):
        rgb = (
            skin_like(rng)
            if rng.random() < 0.25
            else (rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.5), rng.uniform(0.08, 0.4))
        )
        texture = _two_tone(rng, size, rgb, (rgb[0] * 0.4, rgb[1] * 0.4, rgb[2] * 0.4), int(rng.integers(12, 60)), 2.0)
        cover = Image.new("L", (size, size))
        ImageDraw.Draw(cover).polygon(
            _ridge(rng, size, horizon + i * rng.uniform(15, 60), rng.uniform(10, 90)), fill=255
        )
        image.paste(texture, (0, 0), cover)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            _house(rng, draw, size, horizon)
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(8, 60))):
            x, y, r = rng.uniform(0, size), rng.uniform(horizon, size), rng.uniform(3, 22)
            rgb = skin_like(rng)
            draw.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.6), fill=shaded(rgb, 0.7))
            draw.ellipse((x - r * 0.9, y - r * 0.6, x + r * 0.7, y + r * 0.3), fill=shaded(rgb, 1.0))
    return image


def _house(rng: Rng, draw: ImageDraw.ImageDraw, size: int, horizon: float) -> None:
    x, w, h = rng.uniform(-40, size), rng.uniform(40, 170), rng.uniform(40, 200)
    base, rgb = horizon + rng.uniform(0, 60), any_colour(rng, 0.4)
    draw.rectangle((x, base - h, x + w, base), fill=byte(rgb))
    if rng.random() < 0.6:
        draw.polygon(
            [(x - 8, base - h), (x + w / 2, base - h - w * 0.4), (x + w + 8, base - h)], fill=shaded(rgb, 0.45)
        )
    step = rng.uniform(14, 34)
    glass = shaded(any_colour(rng, 0.4), 0.6)
    for row in range(int(h / step)):
        for col in range(int(w / step)):
            wx, wy = x + (col + 0.25) * step, base - h + (row + 0.25) * step
            draw.rectangle((wx, wy, wx + step * 0.5, wy + step * 0.6), fill=glass)


def _foliage(rng: Rng, size: int) -> Image.Image:
    """Leaves upon leaves, or gravel, or litter: many small overlapping shapes."""
    base = any_colour(rng, 0.5) if rng.random() < 0.4 else (rng.uniform(0.1, 0.35), rng.uniform(0.25, 0.5), 0.12)
    image = _two_tone(rng, size, base, (base[0] * 0.2, base[1] * 0.2, base[2] * 0.2), 10)
    draw = ImageDraw.Draw(image)
    scale = rng.uniform(3, 16)
    for x, y, a, b, f in rng.random((int(rng.integers(80, 420)), 5)) * [size, size, 1, 1, 1]:
        w, h = scale * (0.3 + a), scale * (0.3 + b)
        draw.ellipse((x - w, y - h, x + w, y + h), fill=shaded(base, 0.35 + 1.2 * f))
    return image


def _bokeh(rng: Rng, size: int) -> Image.Image:
    """Lights out of focus on a dark or bright ground."""
    ground = any_colour(rng, 0.7)
    image = _two_tone(rng, size, ground, (ground[0] * 0.3, ground[1] * 0.3, ground[2] * 0.3), 2)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 60))):
        x, y, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(3, 26)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=byte(any_colour(rng)))
    return _defocus(image, float(rng.uniform(1, 9)))


def _bricks(rng: Rng, size: int) -> Image.Image:
    """Bricks or tiles with joints, each of its own shade."""
    rgb = skin_like(rng) if rng.random() < 0.3 else any_colour(rng, 0.5)
    image = Image.new("RGB", (size, size), shaded(any_colour(rng, 0.1), 0.9))
    draw = ImageDraw.Draw(image)
    w, shift = rng.uniform(18, 80), rng.choice([0.0, 0.5])
    h = w * rng.uniform(0.3, 1.0)
    for row in range(int(size / h) + 1):
        for col in range(-1, int(size / w) + 1):
            x = (col + shift * (row % 2)) * w
            draw.rectangle((x, row * h, x + w - 3, row * h + h - 3), fill=shaded(rgb, float(0.75 + 0.4 * rng.random())))
    turned = image.rotate(float(rng.normal(0, 8)), resample=Image.Resampling.BILINEAR) if rng.random() < 0.5 else image
    scatter(rng, turned, 3)
    return turned


def _jumble(rng: Rng, size: int) -> Image.Image:
    """A crowd of things before a cloudy ground."""
    image = _two_tone(rng, size, any_colour(rng, 0.6), any_colour(rng, 0.6), int(rng.integers(2, 12)))
    scatter(rng, image, 26)
    return image


def _surface(rng: Rng, size: int) -> Image.Image:
    """Wood, leather, stone or cloth, filling the view."""
    if rng.random() < 0.5:
        return wood(rng, size)
    one, two = (skin_like(rng), skin_like(rng)) if rng.random() < 0.15 else (any_colour(rng, 0.6), any_colour(rng, 0.6))
    return _two_tone(rng, size, one, two, int(rng.integers(2, 40)))


def _plain(rng: Rng, size: int) -> Image.Image:
    image = _wall(rng, size)
    scatter(rng, image, 3)
    return image


_KINDS: Final[tuple[tuple[Callable[[Rng, int], Image.Image], float], ...]] = (
    (_room, 0.26), (_desk, 0.12), (_landscape, 0.24), (_foliage, 0.07), (_bokeh, 0.05), (_bricks, 0.06),
    (_jumble, 0.05), (_surface, 0.05), (_plain, 0.10),
)  # fmt: skip
_TO_LINEAR: Final = ((np.arange(256) / 255) ** 2).astype(np.float32)
_CHANCES: Final = np.array([chance for _, chance in _KINDS])


def draw_desk(rng: Rng, size: int) -> Image.Image:
    """A (size, size) table top with things on it, seen from above."""
    return (_desk if rng.random() < 0.75 else _surface)(rng, size)


def draw_wall(rng: Rng, size: int) -> Image.Image:
    """A (size, size) wall seen from the front."""
    return (_bricks, _plain, _surface)[int(rng.integers(3))](rng, size)


@kernel()
def _lit(pixels, linear, shade, out):  # type: ignore[no-untyped-def]
    """Bytes (H, W, 3) in linear light, by a table, times `shade` (H, W): an eighth of the time of numpy's indexing."""
    height, width, _ = pixels.shape
    for r in range(height):
        for c in range(width):
            level = max(shade[r, c], np.float32(0.0))
            for k in range(3):
                out[r, c, k] = linear[pixels[r, c, k]] * level


def draw_background(rng: np.random.Generator, size: int) -> Field:
    """A (size, size, 3) picture in linear light, float32, about 0..1, unevenly lit and often out of focus."""
    image = _KINDS[rng.choice(len(_KINDS), p=_CHANCES)][0](rng, size)
    if rng.random() < 0.5:
        image = _defocus(image, float(rng.choice([1.6, 2.0, 4.0, 8.0])))
    shade = 0.6 + 0.8 * enlarge(rng.random((3, 3), np.float32), size, size)
    out = np.empty((size, size, 3), np.float32)
    _lit(np.asarray(image), _TO_LINEAR, shade, out)
    return out
