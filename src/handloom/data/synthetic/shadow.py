"""Cast shadows: marches from every visible point toward the light, tile by tile."""

from typing import Final

import numpy as np
from numba import njit

from handloom.data.synthetic.raymarch import (
    BOUND_R,
    BOUND_X,
    BOUND_Y,
    BOUND_Z,
    CAPSULE,
    LENGTH,
    PIXELS,
    SHAPE,
    TILE,
    field,
    flesh_radius,
)

REACH: Final = np.float32(0.7)
"""How far a shadow falls, metres."""


@njit(cache=True, error_model="numpy")
def _gap(solid, mx, my, mz, lx, ly, lz):  # type: ignore[no-untyped-def]
    """Least distance between a capsule's axis and the ray from (mx, my, mz) along (lx, ly, lz)."""
    ox, oy, oz = solid[9] - mx, solid[10] - my, solid[11] - mz
    ax, ay, az = solid[3], solid[4], solid[5]
    lean = ax * lx + ay * ly + az * lz
    along_ray = lx * ox + ly * oy + lz * oz
    across = max(1.0 - lean * lean, 1e-6)
    t = min(max((lean * along_ray - (ax * ox + ay * oy + az * oz)) / across, 0.0), solid[LENGTH])
    forth = max(along_ray + t * lean, 0.0)
    x, y, z = ox + t * ax - forth * lx, oy + t * ay - forth * ly, oz + t * az - forth * lz
    return np.sqrt(x * x + y * y + z * z)


@njit(cache=True, error_model="numpy")
def _gather(row, col, focal, size, depth, normal, light, lit, points, pixel):  # type: ignore[no-untyped-def]
    """Points of a tile that face the light, a little off the surface, and their pixels; gives their count.

    Points that face away get lit 0 at once.
    """
    inv_focal = np.float32(1.0 / focal)
    centre = np.float32(size * 0.5)
    lift = np.float32(0.003)
    count = 0
    for i in range(PIXELS):
        r, c = row + i // TILE, col + i % TILE
        z = depth[r, c]
        if z <= 0:
            continue
        nx, ny, nz = normal[r, c, 0], normal[r, c, 1], normal[r, c, 2]
        if nx * light[0] + ny * light[1] + nz * light[2] <= 0:
            lit[r, c] = np.float32(0.0)
            continue
        points[0, count] = (np.float32(c) - centre) * inv_focal * z + nx * lift
        points[1, count] = (np.float32(r) - centre) * inv_focal * z + ny * lift
        points[2, count] = z + nz * lift
        pixel[count] = i
        count += 1
    return count


@njit(cache=True, error_model="numpy")
def _in_the_way(floats, ints, points, count, light, listed):  # type: ignore[no-untyped-def]
    """List the solids that could stand between the points and the light; gives their number."""
    mx, my, mz = points[0, :count].mean(), points[1, :count].mean(), points[2, :count].mean()
    lx, ly, lz = light[0], light[1], light[2]
    spread = np.float32(0.0)
    for i in range(count):
        spread = max(spread, (points[0, i] - mx) ** 2 + (points[1, i] - my) ** 2 + (points[2, i] - mz) ** 2)
    spread = np.sqrt(spread)
    num = 0
    for s in range(floats.shape[0]):
        dx, dy, dz = floats[s, BOUND_X] - mx, floats[s, BOUND_Y] - my, floats[s, BOUND_Z] - mz
        forth = dx * lx + dy * ly + dz * lz
        room = floats[s, BOUND_R] + spread + np.float32(0.01)
        if forth < -room or forth > REACH + room:
            continue
        if dx * dx + dy * dy + dz * dz - forth * forth > room * room:
            continue
        thick = flesh_radius(floats[s]) + spread
        if ints[s, SHAPE] == CAPSULE and _gap(floats[s], mx, my, mz, lx, ly, lz) > thick:
            continue
        listed[num] = s
        num += 1
    return num


@njit(cache=True, error_model="numpy")
def _walk(floats, ints, listed, num, points, pixel, count, light, softness, row, col, lit, scratch, work):  # type: ignore[no-untyped-def]
    """March toward the light; lit is the least of softness * clearance / way gone, between 0 and 1."""
    along, least, qx, qy, qz = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    px, py, pz = points[0], points[1], points[2]
    dist = work[0]
    for i in range(count):
        along[i] = np.float32(0.004)
        least[i] = np.float32(1.0)
    for _step in range(18):
        for i in range(count):
            qx[i] = px[i] + light[0] * along[i]
        for i in range(count):
            qy[i] = py[i] + light[1] * along[i]
        for i in range(count):
            qz[i] = pz[i] + light[2] * along[i]
        field(floats, ints, listed, num, qx, qy, qz, count, work)
        kept = 0
        for i in range(count):
            d = dist[i]
            now = min(least[i], softness * d / along[i])
            lit[row + pixel[i] // TILE, col + pixel[i] % TILE] = max(now, np.float32(0.0))
            if now < np.float32(0.02) or along[i] > REACH or d > np.float32(0.35):
                continue
            px[kept], py[kept], pz[kept], pixel[kept] = px[i], py[i], pz[i], pixel[i]
            least[kept] = now
            along[kept] = along[i] + min(max(d, np.float32(0.004)), np.float32(0.12))
            kept += 1
        count = kept
        if count == 0:
            return


@njit(cache=True, error_model="numpy")
def cast(floats, ints, focal, size, depth, normal, light, softness, lit):  # type: ignore[no-untyped-def]
    """Fill lit (1 in the light ... 0 in full shadow) where depth > 0; `light` is the unit vector toward the light."""
    tiles = size // TILE
    work, scratch = np.empty((4, PIXELS), np.float32), np.empty((5, PIXELS), np.float32)
    points, pixel = np.empty((3, PIXELS), np.float32), np.empty(PIXELS, np.int32)
    listed = np.empty(floats.shape[0], np.int32)
    for tile in range(tiles * tiles):
        row, col = tile // tiles * TILE, tile % tiles * TILE
        count = _gather(row, col, focal, size, depth, normal, light, lit, points, pixel)
        if count == 0:
            continue
        num = _in_the_way(floats, ints, points, count, light, listed)
        _walk(floats, ints, listed, num, points, pixel, count, light, softness, row, col, lit, scratch, work)
