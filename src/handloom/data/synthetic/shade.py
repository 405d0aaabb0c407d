"""Lights every visible point: a key light with its shadow, a fill light, sky and ground, and darkness in corners."""

from typing import Final

import numpy as np

from handloom.data.synthetic.kernels import inlined, kernel
from handloom.data.synthetic.solids import FACE, FINGER, NAILED, PALM, SKIN
from handloom.data.synthetic.surface import colour

# Rows of the light table.
KEY_WAY, KEY, FILL_WAY, FILL, SKY, GROUND = range(6)

_SKIN_WRAP: Final = 0.3
_WRAP: Final = 0.12
"""How far light creeps round an edge: far on skin, which it enters, little on all else."""


@inlined()
def _towards(lights, row, nx, ny, nz):  # type: ignore[no-untyped-def]
    return nx * lights[row, 0] + ny * lights[row, 1] + nz * lights[row, 2]


@inlined()
def _flat(lights, nx, ny, nz, lit, out):  # type: ignore[no-untyped-def]
    """Light a point of a plane, whose colour stands in `out` (3) already."""
    key = max(_towards(lights, KEY_WAY, nx, ny, nz), 0.0) * lit
    for k in range(3):
        out[k] *= lights[KEY, k] * key + 0.5 * (lights[SKY, k] + lights[GROUND, k]) + 0.3 * lights[FILL, k]


@inlined()
def _light(lights, x, y, z, nx, ny, nz, lit, opened, tint, gloss, skin, out):  # type: ignore[no-untyped-def]
    """Write the lit colour of a point at (x, y, z) with unit normal (nx, ny, nz) into `out` (3)."""
    wrap = _SKIN_WRAP if skin else _WRAP
    inv = 1.0 / np.sqrt(x * x + y * y + z * z)
    # A ray that grazes an edge may report a normal that faces away: unchecked, a light from behind turns
    # the outline into a row of bright dots.
    rim = min(1.0 + (x * nx + y * ny + z * nz) * inv, 1.0)
    lit = lit * min(5.0 * (1.0 - rim), 1.0)
    soft = max((_towards(lights, KEY_WAY, nx, ny, nz) + wrap) / (1.0 + wrap), 0.0) * lit
    fill = max((_towards(lights, FILL_WAY, nx, ny, nz) + 0.25) / 1.25, 0.0)
    up = 0.5 - 0.5 * ny
    shadowed = 0.25 + 0.75 * opened
    hx, hy, hz = lights[KEY_WAY, 0] - x * inv, lights[KEY_WAY, 1] - y * inv, lights[KEY_WAY, 2] - z * inv
    half = max(nx * hx + ny * hy + nz * hz, 0.0) / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    shine = gloss * (half**14 * 0.35 + half**60 * 0.5 * gloss) * lit
    for k in range(3):
        ambient = (lights[GROUND, k] + (lights[SKY, k] - lights[GROUND, k]) * up) * shadowed
        if skin:
            # Blood colours the creases.
            ambient *= 1.0 + (0.25 if k == 0 else -0.12) * (1.0 - shadowed)
        light = lights[KEY, k] * soft + lights[FILL, k] * fill * shadowed + ambient
        out[k] = tint[k] * light + lights[KEY, k] * shine + lights[SKY, k] * 0.05 * rim * rim * shadowed


@kernel()
def shade(  # type: ignore[no-untyped-def]
    floats, paints, rules, textures, focal, size, depth, which, normal, openness, lit, lights, out
):
    """Write linear RGB of every pixel with depth > 0 into `out` (size, size, 3).

    `lights` (6, 3): key direction, key colour, fill direction, fill colour, sky colour, ground colour.
    """
    centre = size * 0.5
    for r in range(size):
        for c in range(size):
            z = depth[r, c]
            if z <= 0:
                continue
            s = which[r, c]
            nx, ny, nz = normal[r, c, 0], normal[r, c, 1], normal[r, c, 2]
            if s < 0:
                _flat(lights, nx, ny, nz, lit[r, c], out[r, c])
                continue
            x, y = (c - centre) / focal * z, (r - centre) / focal * z
            solid, rule = floats[s], rules[s, 0]
            dx, dy, dz = x - solid[9], y - solid[10], z - solid[11]
            tint, gloss = colour(solid, paints[s], rule, rules[s, 1], textures, s, dx, dy, dz, nx, ny, nz)
            skin = rule in (SKIN, FINGER, NAILED, PALM, FACE)
            _light(lights, x, y, z, nx, ny, nz, lit[r, c], openness[r, c], tint, gloss, skin, out[r, c])
