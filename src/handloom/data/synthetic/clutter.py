"""Things that stand in backgrounds, above all things of the colour or shape of skin that are not hands."""

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handloom.data.synthetic.noise import Rgb, any_colour, skin_colour, skin_like
from handloom.data.synthetic.texture import byte, words

Draw = ImageDraw.ImageDraw
Fill = tuple[int, int, int]

_SIZES: Final = (9, 13, 20, 34)
_FONTS: Final = tuple(ImageFont.load_default(size) for size in _SIZES)


def shaded(rgb: Rgb, factor: float) -> Fill:
    """A colour made darker or lighter, as bytes."""
    return byte((rgb[0] * factor, rgb[1] * factor, rgb[2] * factor))


def round_bar(draw: Draw, x0: float, y0: float, x1: float, y1: float, width: float, fill: Fill) -> None:
    """A straight bar with round ends."""
    half = width / 2
    draw.line([(x0, y0), (x1, y1)], fill=fill, width=max(round(width), 1))
    draw.ellipse((x0 - half, y0 - half, x0 + half, y0 + half), fill=fill)
    draw.ellipse((x1 - half, y1 - half, x1 + half, y1 + half), fill=fill)


def _bars(rng: np.random.Generator, draw: Draw, size: int, _: bool) -> None:
    """Parallel or fanned bars, like fingers or a fence."""
    rgb = skin_like(rng) if rng.random() < 0.6 else any_colour(rng)
    x, y, angle = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0, 2 * np.pi)
    width, length, fan = rng.uniform(4, 18), rng.uniform(20, 110), rng.normal(0, 0.12)
    for i in range(int(rng.integers(1, 7))):
        turn = angle + i * fan
        px, py = x - np.sin(angle) * i * width * 1.4, y + np.cos(angle) * i * width * 1.4
        reach = length * rng.uniform(0.7, 1.1)
        for share, factor in ((1.0, 0.72), (0.72, 1.0), (0.3, 1.12)):
            round_bar(
                draw, px, py, px + np.cos(turn) * reach, py + np.sin(turn) * reach, width * share, shaded(rgb, factor)
            )


def _balls(rng: np.random.Generator, draw: Draw, size: int, skin: bool) -> None:
    """Ellipses shaded like balls: fruit, knees, pots, lamps."""
    rgb = skin_like(rng) if skin and rng.random() < 0.65 else any_colour(rng)
    x, y = rng.uniform(0, size, 2)
    a, b = rng.uniform(6, 50, 2)
    dx, dy = rng.uniform(-0.4, 0.4, 2)
    for share in np.linspace(1.0, 0.15, 7):
        shift = 1 - share
        cx, cy, w, h = x + dx * a * shift, y + dy * b * shift, a * share, b * share
        draw.ellipse((cx - w, cy - h, cx + w, cy + h), fill=shaded(rgb, 0.6 + 0.55 * shift))


def _bystander(rng: np.random.Generator, draw: Draw, size: int, _: bool) -> None:
    """A flat far-off person: head, hair, shirt, bare arms without hands."""
    skin, shirt, hair = skin_colour(rng), any_colour(rng), any_colour(rng, 0.4)
    x, y, h = rng.uniform(0, size), rng.uniform(0.2, 0.8) * size, rng.uniform(9, 36)
    body, sleeve = byte(shirt), byte(skin)
    draw.rounded_rectangle((x - 1.5 * h, y + 1.25 * h, x + 1.5 * h, y + 6 * h), radius=h * 0.7, fill=body)
    for side in (-1, 1):
        elbow = (x + side * rng.uniform(1.6, 2.6) * h, y + rng.uniform(2.5, 4.2) * h)
        wrist = (elbow[0] - side * rng.uniform(-0.6, 1.8) * h, elbow[1] + rng.uniform(-1.5, 2.2) * h)
        round_bar(draw, x + side * 1.35 * h, y + 1.8 * h, *elbow, 0.75 * h, body)
        round_bar(draw, *elbow, *wrist, 0.55 * h, sleeve if rng.random() < 0.5 else body)
    draw.rectangle((x - 0.35 * h, y + 0.7 * h, x + 0.35 * h, y + 1.4 * h), fill=shaded(skin, 0.8))
    draw.ellipse((x - 0.85 * h, y - 1.2 * h, x + 0.85 * h, y + 0.5 * h), fill=byte(hair))
    draw.ellipse((x - 0.7 * h, y - 0.85 * h, x + 0.7 * h, y + h), fill=sleeve)
    if rng.random() < 0.75:
        for side in (-1, 1):
            ex, ey = x + side * 0.28 * h, y - 0.02 * h
            draw.ellipse((ex - 0.13 * h, ey - 0.07 * h, ex + 0.13 * h, ey + 0.07 * h), fill=(25, 20, 20))
        draw.line(
            [(x - 0.25 * h, y + 0.58 * h), (x + 0.25 * h, y + 0.58 * h)],
            fill=shaded(skin, 0.55),
            width=max(int(h / 10), 1),
        )
        draw.line([(x, y + 0.05 * h), (x, y + 0.32 * h)], fill=shaded(skin, 0.75), width=max(int(h / 9), 1))


def _poster(rng: np.random.Generator, draw: Draw, size: int, skin: bool) -> None:
    """A framed picture or notice, with text or blobs."""
    x, y = rng.uniform(-20, size), rng.uniform(-20, size)
    w, h = rng.uniform(25, 130, 2)
    draw.rectangle(
        (x, y, x + w, y + h),
        fill=byte(any_colour(rng)),
        outline=byte(any_colour(rng, 0.4)),
        width=int(rng.integers(1, 6)),
    )
    ink = byte(any_colour(rng))
    if rng.random() < 0.5:
        chosen = int(rng.integers(3))
        font, step = _FONTS[chosen], _SIZES[chosen]
        for i in range(int(rng.integers(1, 8))):
            draw.text((x + 5, y + 4 + i * step * 1.2), words(rng, max(int(w / step * 1.6), 2)), fill=ink, font=font)
    else:
        for _ in range(int(rng.integers(2, 7))):
            cx, cy, r = x + rng.uniform(0.2, 0.8) * w, y + rng.uniform(0.2, 0.8) * h, rng.uniform(0.05, 0.2) * w
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=byte(skin_like(rng) if skin else any_colour(rng)))


def _writing(rng: np.random.Generator, draw: Draw, size: int, _: bool) -> None:
    font = _FONTS[int(rng.integers(4))]
    draw.text(
        (rng.uniform(-20, size * 0.7), rng.uniform(0, size)),
        words(rng, int(rng.integers(3, 30))),
        fill=byte(any_colour(rng)),
        font=font,
    )


def _slab(rng: np.random.Generator, draw: Draw, size: int, skin: bool) -> None:
    """A four-cornered thing: box, screen, cushion, furniture."""
    cx, cy = rng.uniform(0, size, 2)
    turn = rng.uniform(0, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.05)
    a, b = rng.uniform(8, 80, 2)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = np.array([[-a, -b], [a, -b], [a, b], [-a, b]]) * rng.uniform(0.8, 1.1, (4, 2)) @ axes + [cx, cy]
    rgb = skin_like(rng) if skin and rng.random() < 0.3 else any_colour(rng)
    side = [(float(x), float(y)) for x, y in corners]
    draw.polygon([(x + a * 0.15, y + b * 0.2) for x, y in side], fill=shaded(rgb, 0.5))
    draw.polygon(side, fill=byte(rgb), outline=shaded(rgb, 0.7))


_Thing = Callable[[np.random.Generator, Draw, int, bool], None]
_THINGS: Final[tuple[_Thing, ...]] = (_balls, _poster, _writing, _slab, _slab)
_RARE: Final[tuple[tuple[_Thing, float, int], ...]] = ((_bystander, 0.09, 3), (_bars, 0.03, 2))
"""What looks most like people and hands, with its chance and highest number in a picture that has things in it."""

_SKIN_SHARE: Final = 0.15
"""Share of pictures whose things may have the colour of skin: more of them taught the net to distrust hands."""


def scatter(rng: np.random.Generator, image: Image.Image, most: int) -> None:
    """Draw up to `most` random things into the (square) image, now and then a far-off person or a bunch of bars."""
    draw = ImageDraw.Draw(image)
    skin = bool(rng.random() < _SKIN_SHARE)
    for _ in range(int(rng.integers(0, most + 1))):
        _THINGS[int(rng.integers(len(_THINGS)))](rng, draw, image.width, skin)
    for thing, chance, number in _RARE:
        if rng.random() < chance:
            for _ in range(int(rng.integers(1, number + 1))):
                thing(rng, draw, image.width, skin)
