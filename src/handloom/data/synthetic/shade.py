"""Colours every visible point: paint rule, texture, two lights, sky and ground, shadow and openness."""

import numpy as np
from numba import njit

from handloom.data.synthetic.raymarch import LENGTH, RADIUS_A, RADIUS_B
from handloom.data.synthetic.solids import CLOTH, FACE, HAIR, NAILED, PALM, SKIN, Solids

PAINT_FLOATS = 8


def paint_tables(solids: Solids) -> tuple[np.ndarray, np.ndarray]:
    """The paints of all solids as (N, 8) float32 and (N, 2) int32 (rule, texture)."""
    floats = [[*p.rgb, p.gloss, p.repeats, *p.offset, p.extra] for p in solids.paints]
    ints = [[p.rule, p.texture] for p in solids.paints]
    return np.array(floats, np.float32), np.array(ints, np.int32)


@njit(cache=True, error_model="numpy")
def _sample(texture, u, v, out):  # type: ignore[no-untyped-def]
    """Bilinear, wrapping: `out` (3) from `texture` (S, S, 3) at u, v in repeats."""
    size = texture.shape[0]
    x, y = (u - np.floor(u)) * size - 0.5, (v - np.floor(v)) * size - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    x1, y1 = (x0 + 1) % size, (y0 + 1) % size
    x0, y0 = x0 % size, y0 % size
    for c in range(3):
        top = texture[y0, x0, c] * (1 - fx) + texture[y0, x1, c] * fx
        low = texture[y1, x0, c] * (1 - fx) + texture[y1, x1, c] * fx
        out[c] = top * (1 - fy) + low * fy


@njit(cache=True, error_model="numpy")
def _bump(x, width):  # type: ignore[no-untyped-def]
    """1 at x = 0, falling smoothly to 0 at |x| = width."""
    t = 1.0 - min(abs(x) / width, 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, error_model="numpy")
def shade(  # type: ignore[no-untyped-def]
    floats, paints, rules, textures, focal, size, depth, which, normal, openness, lit, lights, out
):
    """Write linear RGB of every pixel with depth > 0 into `out` (size, size, 3).

    `lights` (6, 3): key direction, key colour, fill direction, fill colour, sky colour, ground colour.
    """
    centre = size * 0.5
    tint = np.empty(3, np.float64)
    noise = np.empty(3, np.float64)
    for r in range(size):
        for c in range(size):
            z = depth[r, c]
            if z <= 0:
                continue
            s = which[r, c]
            if s < 0:
                # A plane: its colour stands in `out` already.
                flat = max(normal[r, c, 0] * lights[0, 0] + normal[r, c, 1] * lights[0, 1] + normal[r, c, 2] * lights[0, 2], 0.0)
                for k in range(3):
                    out[r, c, k] *= lights[1, k] * flat * lit[r, c] + 0.5 * (lights[4, k] + lights[5, k]) + 0.3 * lights[3, k]
                continue
            x, y = (c - centre) / focal * z, (r - centre) / focal * z
            f = floats[s]
            dx, dy, dz = x - f[9], y - f[10], z - f[11]
            ax = f[0] * dx + f[1] * dy + f[2] * dz
            ay = f[3] * dx + f[4] * dy + f[5] * dz
            az = f[6] * dx + f[7] * dy + f[8] * dz
            nx, ny, nz = normal[r, c, 0], normal[r, c, 1], normal[r, c, 2]
            palmar = f[6] * nx + f[7] * ny + f[8] * nz
            rule, texture = rules[s, 0], rules[s, 1]
            gloss = paints[s, 3]
            for k in range(3):
                tint[k] = paints[s, k]
            wrap = 0.12
            if texture >= 0:
                if rule == FACE:
                    u = (ax + paints[s, 5]) * paints[s, 4] + 0.5
                    v = 0.5 - (ay + paints[s, 6]) * paints[s, 4]
                    if palmar > 0.0 and 0.0 < u < 1.0 and 0.0 < v < 1.0:
                        _sample(textures[texture], u, v, tint)
                else:
                    turn = np.arctan2(ax, az) * (f[RADIUS_A] + f[RADIUS_B]) * 0.5
                    _sample(
                        textures[texture],
                        (turn + paints[s, 5]) * paints[s, 4],
                        (ay + paints[s, 6]) * paints[s, 4],
                        tint,
                    )
            if rule == SKIN or rule == NAILED or rule == PALM or rule == FACE:
                wrap = 0.3
                _sample(textures[0], (ax + 0.7 * az) * 7.0 + s * 0.37, (ay - 0.4 * az) * 7.0 + s * 0.21, noise)
                tone = 0.86 + 0.28 * noise[0]
                red = 0.05 * (noise[1] - 0.5)
                if rule != FACE:
                    # Palms and finger pads are lighter, most of all on dark skin; backs of joints are redder.
                    bright = (tint[0] + tint[1] + tint[2]) / 3.0
                    pale = max(palmar, 0.0) * (0.42 - 0.42 * min(bright * 1.6, 1.0))
                    if rule == SKIN and s >= 0 and f[LENGTH] > 0.15:
                        pale = 0.0
                    tint[0] += pale * (0.80 - tint[0])
                    tint[1] += pale * (0.52 - tint[1])
                    tint[2] += pale * (0.42 - tint[2])
                    if rule == SKIN or rule == NAILED:
                        joint = _bump(ay, f[RADIUS_A] * 0.9)
                        red += 0.10 * joint
                        tone *= 1.0 - 0.16 * _bump(ay, 0.0016) * max(palmar, 0.0)
                        tone *= 1.0 - 0.10 * joint * max(-palmar, 0.0) * noise[2]
                    if rule == PALM:
                        # Two creases across the palm and one around the thumb's ball.
                        line = abs(np.sin((ay * 60.0 + ax * 28.0) + 1.5 * noise[2]))
                        tone *= 1.0 - 0.10 * max(palmar - 0.5, 0.0) * _bump(line, 0.10)
                    if rule == NAILED:
                        red += 0.07 * _bump(ay - f[LENGTH], f[LENGTH])
                        across = ax / (f[RADIUS_B] * 0.82)
                        down = (ay - f[LENGTH] * 0.92) / (f[RADIUS_B] * 1.05)
                        if palmar < -0.25 and across * across + down * down < 1.0:
                            gloss = 0.55
                            white = 0.75 if down > 0.62 else 0.30
                            tint[0] += (0.88 - tint[0]) * white
                            tint[1] += (0.70 - tint[1]) * white
                            tint[2] += (0.64 - tint[2]) * white
                            if paints[s, 7] > 0.0:
                                tint[0], tint[1], tint[2] = paints[s, 5], paints[s, 6], paints[s, 7]
                tint[0] *= tone + red
                tint[1] *= tone - 0.35 * red
                tint[2] *= tone - 0.35 * red
            elif rule == CLOTH:
                _sample(textures[1], (ax + az) * 5.0, (ay - 0.5 * az) * 5.0, noise)
                for k in range(3):
                    tint[k] *= 0.75 + 0.5 * noise[0]
            elif rule == HAIR:
                _sample(textures[0], np.arctan2(ax, az) * 3.0, ay * 1.5 + s * 0.3, noise)
                for k in range(3):
                    tint[k] *= 0.55 + 0.9 * noise[0]
            key = nx * lights[0, 0] + ny * lights[0, 1] + nz * lights[0, 2]
            soft = max((key + wrap) / (1.0 + wrap), 0.0) * lit[r, c]
            fill = max((nx * lights[2, 0] + ny * lights[2, 1] + nz * lights[2, 2] + 0.25) / 1.25, 0.0)
            up = 0.5 - 0.5 * ny
            shadowed = 0.25 + 0.75 * openness[r, c]
            inv = 1.0 / np.sqrt(x * x + y * y + z * z)
            hx, hy, hz = lights[0, 0] - x * inv, lights[0, 1] - y * inv, lights[0, 2] - z * inv
            half = max(nx * hx + ny * hy + nz * hz, 0.0) / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
            shine = gloss * (half**14 * 0.35 + half**60 * 0.5 * gloss) * lit[r, c]
            # A ray that grazes an edge may report a normal that faces away: no rim, no shine there.
            rim = min(1.0 + (x * nx + y * ny + z * nz) * inv, 1.0)
            shine *= 1.0 - rim * rim
            for k in range(3):
                bleed = 1.0
                if wrap > 0.2:
                    # Blood colours the shadow's edge and the creases.
                    bleed = (1.0 + 0.25 * (1 - shadowed)) if k == 0 else (1.0 - 0.12 * (1 - shadowed))
                ambient = (lights[5, k] + (lights[4, k] - lights[5, k]) * up) * shadowed * bleed
                light = lights[1, k] * soft + lights[3, k] * fill * shadowed + ambient
                out[r, c, k] = tint[k] * light + lights[1, k] * shine + lights[4, k] * 0.05 * rim * rim * shadowed
