"""Cast shadows: marches from every visible point toward the light, tile by tile."""

from typing import Final

import numpy as np

from handloom.data.synthetic.kernels import kernel
from handloom.data.synthetic.raymarch import (
    BOUND_R,
    BOUND_X,
    BOUND_Y,
    BOUND_Z,
    CAPSULE,
    DIST,
    FREE,
    LENGTH,
    PIXELS,
    SHAPE,
    TILE,
    X,
    Y,
    Z,
    field,
    fill,
    flesh_radius,
)

REACH: Final = np.float32(0.7)
"""How far a shadow falls, metres."""

STEPS: Final = 18

# Rows of `lanes` after those of `field`: where a ray begins, the way gone, that after the next step, the light left.
FROM_X, FROM_Y, FROM_Z, ALONG, NEXT, LEAST = range(FREE, FREE + 6 * PIXELS, PIXELS)
NUM_LANES: Final = LEAST + PIXELS


@kernel()
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


@kernel()
def _gather(row, col, focal, size, depth, normal, light, lit, lanes, pixel):  # type: ignore[no-untyped-def]
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
        lanes[FROM_X + count] = (np.float32(c) - centre) * inv_focal * z + nx * lift
        lanes[FROM_Y + count] = (np.float32(r) - centre) * inv_focal * z + ny * lift
        lanes[FROM_Z + count] = z + nz * lift
        pixel[count] = i
        count += 1
    return count


@kernel()
def _in_the_way(floats, ints, lanes, count, light, listed):  # type: ignore[no-untyped-def]
    """List the solids that could stand between the points and the light; gives their number."""
    mx, my, mz = (
        lanes[FROM_X : FROM_X + count].mean(),
        lanes[FROM_Y : FROM_Y + count].mean(),
        lanes[FROM_Z : FROM_Z + count].mean(),
    )
    lx, ly, lz = light[0], light[1], light[2]
    spread = np.float32(0.0)
    for i in range(count):
        spread = max(
            spread, (lanes[FROM_X + i] - mx) ** 2 + (lanes[FROM_Y + i] - my) ** 2 + (lanes[FROM_Z + i] - mz) ** 2
        )
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


@kernel()
def _walk(floats, ints, listed, num, lanes, pixel, count, light, softness, row, col, lit):  # type: ignore[no-untyped-def]
    """March toward the light; lit is the least of softness * clearance / way gone, between 0 and 1."""
    fill(lanes, ALONG, np.float32(0.004))
    fill(lanes, LEAST, np.float32(1.0))
    lx, ly, lz = light[0], light[1], light[2]
    for step in range(STEPS):
        for i in range(PIXELS):
            lanes[X + i] = lanes[FROM_X + i] + lx * lanes[ALONG + i]
            lanes[Y + i] = lanes[FROM_Y + i] + ly * lanes[ALONG + i]
            lanes[Z + i] = lanes[FROM_Z + i] + lz * lanes[ALONG + i]
        field(floats, ints, listed, num, lanes, count)
        running = 0
        for i in range(PIXELS):
            d, along = lanes[DIST + i], lanes[ALONG + i]
            now = min(lanes[LEAST + i], softness * d / along)
            lanes[LEAST + i] = now
            lanes[NEXT + i] = along + min(max(d, np.float32(0.004)), np.float32(0.12))
            running += (i < count) & (now >= np.float32(0.02)) & (along <= REACH) & (d <= np.float32(0.35))
        if step == STEPS - 1:
            for i in range(count):
                lit[row + pixel[i] // TILE, col + pixel[i] % TILE] = max(lanes[LEAST + i], np.float32(0.0))
        elif running == count:
            for i in range(PIXELS):
                lanes[ALONG + i] = lanes[NEXT + i]
        else:
            count = _sift(lanes, pixel, count, row, col, lit)
            if count == 0:
                return


@kernel()
def _sift(lanes, pixel, count, row, col, lit):  # type: ignore[no-untyped-def]
    """Write lit of the rays that end, in shadow or far from all, and move up the others; gives the count of these."""
    kept = 0
    for i in range(count):
        now, along = lanes[LEAST + i], lanes[ALONG + i]
        if now < np.float32(0.02) or along > REACH or lanes[DIST + i] > np.float32(0.35):
            lit[row + pixel[i] // TILE, col + pixel[i] % TILE] = max(now, np.float32(0.0))
            continue
        for start in (FROM_X, FROM_Y, FROM_Z):
            lanes[start + kept] = lanes[start + i]
        lanes[ALONG + kept], lanes[LEAST + kept] = lanes[NEXT + i], now
        pixel[kept] = pixel[i]
        kept += 1
    return kept


@kernel()
def cast(floats, ints, focal, size, depth, normal, light, softness, lit):  # type: ignore[no-untyped-def]
    """Fill lit (1 in the light ... 0 in full shadow) where depth > 0; `light` is the unit vector toward the light."""
    tiles = size // TILE
    lanes, pixel = np.zeros(NUM_LANES, np.float32), np.empty(PIXELS, np.int32)
    listed = np.empty(floats.shape[0], np.int32)
    for tile in range(tiles * tiles):
        row, col = tile // tiles * TILE, tile % tiles * TILE
        count = _gather(row, col, focal, size, depth, normal, light, lit, lanes, pixel)
        if count == 0:
            continue
        num = _in_the_way(floats, ints, lanes, count, light, listed)
        _walk(floats, ints, listed, num, lanes, pixel, count, light, softness, row, col, lit)
