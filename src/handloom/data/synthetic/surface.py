"""The colour of a point of a solid before any light: paint, texture, and what makes skin look like skin.

All of it is inlined by force into `shade`: handing a dozen arrays from call to call took a quarter of its time.
"""

import numpy as np

from handloom.data.synthetic.kernels import inlined
from handloom.data.synthetic.raymarch import LENGTH, RADIUS_A, RADIUS_B
from handloom.data.synthetic.solids import CLOTH, FACE, FINGER, HAIR, NAILED, PALM, SKIN, Solids

# Columns of the paint table after red, green and blue.
GLOSS, REPEATS, OFFSET_U, OFFSET_V, EXTRA = range(3, 8)


def paint_tables(solids: Solids) -> tuple[np.ndarray, np.ndarray]:
    """The paints of all solids as (N, 8) float32 and (N, 2) int32 (rule, texture)."""
    floats = [[*p.rgb, p.gloss, p.repeats, *p.offset, p.extra] for p in solids.paints]
    ints = [[p.rule, p.texture] for p in solids.paints]
    return np.array(floats, np.float32), np.array(ints, np.int32)


@inlined()
def _bilinear(texture, c, x0, x1, y0, y1, fx, fy):  # type: ignore[no-untyped-def]
    top = texture[y0, x0, c] * (1 - fx) + texture[y0, x1, c] * fx
    low = texture[y1, x0, c] * (1 - fx) + texture[y1, x1, c] * fx
    return top * (1 - fy) + low * fy


@inlined()
def _sample(texture, u, v):  # type: ignore[no-untyped-def]
    """The colour of `texture` (S, S, 3) at u, v in repeats: bilinear, wrapping."""
    size = texture.shape[0]
    x, y = (u - np.floor(u)) * size - 0.5, (v - np.floor(v)) * size - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    # Comparisons instead of remainders: x0 and y0 lie between -1 and size - 1.
    x1, y1 = x0 + 1 if x0 + 1 < size else 0, y0 + 1 if y0 + 1 < size else 0
    x0, y0 = x0 if x0 >= 0 else size - 1, y0 if y0 >= 0 else size - 1
    return (
        _bilinear(texture, 0, x0, x1, y0, y1, fx, fy),
        _bilinear(texture, 1, x0, x1, y0, y1, fx, fy),
        _bilinear(texture, 2, x0, x1, y0, y1, fx, fy),
    )


@inlined()
def _bump(x, width):  # type: ignore[no-untyped-def]
    """1 at x = 0, falling smoothly to 0 at |x| = width."""
    t = 1.0 - min(abs(x) / width, 1.0)
    return t * t * (3.0 - 2.0 * t)


@inlined()
def _blend(tint, share, red, green, blue):  # type: ignore[no-untyped-def]
    return (
        tint[0] + share * (red - tint[0]),
        tint[1] + share * (green - tint[1]),
        tint[2] + share * (blue - tint[2]),
    )


@inlined()
def _texture(paint, solid, rule, texture, ax, ay, az, palmar, tint):  # type: ignore[no-untyped-def]
    """The painted texture: projected from the front on a face, wrapped round the axis on all else."""
    if rule != FACE:
        turn = np.arctan2(ax, az) * (solid[RADIUS_A] + solid[RADIUS_B]) * 0.5
        return _sample(texture, (turn + paint[OFFSET_U]) * paint[REPEATS], (paint[OFFSET_V] - ay) * paint[REPEATS])
    u = (ax + paint[OFFSET_U]) * paint[REPEATS] + 0.5
    v = 0.5 - (ay + paint[OFFSET_V]) * paint[REPEATS]
    if palmar > 0.0 and 0.0 < u < 1.0 and 0.0 < v < 1.0:
        return _sample(texture, u, v)
    return tint


@inlined()
def _nail(paint, solid, ax, ay, palmar, tint, gloss):  # type: ignore[no-untyped-def]
    """The nail, pale or varnished, on the back of a fingertip: colour and gloss."""
    across = ax / (solid[RADIUS_B] * 0.82)
    down = (ay - solid[LENGTH] * 0.92) / (solid[RADIUS_B] * 1.05)
    if palmar >= -0.25 or across * across + down * down >= 1.0:
        return tint, gloss
    if paint[EXTRA] > 0.0:
        return (float(paint[OFFSET_U]), float(paint[OFFSET_V]), float(paint[EXTRA])), 0.55
    return _blend(tint, 0.75 if down > 0.62 else 0.30, 0.88, 0.70, 0.64), 0.55


@inlined()
def _skin(paint, solid, rule, noise, ax, ay, palmar, tint, gloss):  # type: ignore[no-untyped-def]
    """The plain colour `tint` as skin, with its gloss: mottled, pale inside, red at joints and tips, with creases."""
    tone = 0.86 + 0.28 * noise[0]
    red = 0.05 * (noise[1] - 0.5)
    if rule in (FINGER, NAILED, PALM):
        # Palms and finger pads are lighter, most of all on dark skin.
        bright = (tint[0] + tint[1] + tint[2]) / 3.0
        tint = _blend(tint, max(palmar, 0.0) * (0.42 - 0.42 * min(bright * 1.6, 1.0)), 0.80, 0.52, 0.42)
    if rule in (FINGER, NAILED):
        joint = _bump(ay, solid[RADIUS_A] * 0.9)
        red += 0.10 * joint
        tone *= 1.0 - 0.16 * _bump(ay, 0.0016) * max(palmar, 0.0)
        tone *= 1.0 - 0.10 * joint * max(-palmar, 0.0) * noise[2]
    if rule == PALM:
        vein = abs(np.sin(ax * 250.0 + 2.5 * noise[2] + np.sin(ay * 80.0)))
        vein = paint[EXTRA] * max(-palmar - 0.2, 0.0) * _bump(vein, 0.3)
        tone *= 1.0 - 0.10 * vein
        red -= 0.08 * vein
        line = abs(np.sin((ay * 60.0 + ax * 28.0) + 1.5 * noise[2]))
        tone *= 1.0 - 0.10 * max(palmar - 0.5, 0.0) * _bump(line, 0.10)
    if rule == NAILED:
        red += 0.07 * _bump(ay - solid[LENGTH], solid[LENGTH])
        tint, gloss = _nail(paint, solid, ax, ay, palmar, tint, gloss)
    return (tint[0] * (tone + red), tint[1] * (tone - 0.35 * red), tint[2] * (tone - 0.35 * red)), gloss


@inlined()
def colour(solid, paint, rule, texture, textures, s, dx, dy, dz, nx, ny, nz):  # type: ignore[no-untyped-def]
    """The linear colour of a point of solid number `s`, three numbers, and its gloss.

    (dx, dy, dz) is the point from the solid's origin, metres; (nx, ny, nz) the normal.
    """
    ax = solid[0] * dx + solid[1] * dy + solid[2] * dz
    ay = solid[3] * dx + solid[4] * dy + solid[5] * dz
    az = solid[6] * dx + solid[7] * dy + solid[8] * dz
    palmar = solid[6] * nx + solid[7] * ny + solid[8] * nz
    tint = (float(paint[0]), float(paint[1]), float(paint[2]))
    if texture >= 0:
        tint = _texture(paint, solid, rule, textures[texture], ax, ay, az, palmar, tint)
    gloss = float(paint[GLOSS])
    if rule in (SKIN, FINGER, NAILED, PALM, FACE):
        noise = _sample(textures[0], (ax + 0.7 * az) * 7.0 + s * 0.37, (ay - 0.4 * az) * 7.0 + s * 0.21)
        return _skin(paint, solid, rule, noise, ax, ay, palmar, tint, gloss)
    if rule == CLOTH:
        tone = 0.75 + 0.5 * _sample(textures[1], (ax + az) * 5.0, (ay - 0.5 * az) * 5.0)[0]
    elif rule == HAIR:
        tone = 0.55 + 0.9 * _sample(textures[0], np.arctan2(ax, az) * 3.0, ay * 1.5 + s * 0.3)[0]
    else:
        tone = 1.0
    return (tint[0] * tone, tint[1] * tone, tint[2] * tone), gloss
