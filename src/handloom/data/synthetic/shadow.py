"""Cast shadows: marches from every visible point toward the light, tile by tile."""

import numpy as np
from numba import njit

from handloom.data.synthetic.raymarch import BOUND_R, BOUND_X, BOUND_Y, BOUND_Z, CAPSULE, LENGTH, PIXELS, SHAPE, TILE, _field, flesh_radius

REACH = np.float32(0.7)


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
def cast(floats, ints, focal, size, depth, normal, light, softness, lit):  # type: ignore[no-untyped-def]
    """Fill lit (1 in the light ... 0 in full shadow) where depth > 0; `light` is the unit vector toward the light."""
    tiles = size // TILE
    work = np.empty((4, PIXELS), np.float32)
    best = np.empty(PIXELS, np.float32)
    which = np.empty(PIXELS, np.int32)
    px, py, pz = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    qx, qy, qz = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    along, least = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    pixel = np.empty(PIXELS, np.int32)
    listed = np.empty(floats.shape[0], np.int32)
    lx, ly, lz = light[0], light[1], light[2]
    dist = work[0]
    inv_focal = np.float32(1.0 / focal)
    centre = size * 0.5
    lift = np.float32(0.003)
    zero, one = np.float32(0.0), np.float32(1.0)
    for tile in range(tiles * tiles):
        row, col = tile // tiles * TILE, tile % tiles * TILE
        count = 0
        mx, my, mz = zero, zero, zero
        for i in range(PIXELS):
            r, c = row + i // TILE, col + i % TILE
            z = depth[r, c]
            if z <= 0 or lit[r, c] <= 0:
                continue
            facing = normal[r, c, 0] * lx + normal[r, c, 1] * ly + normal[r, c, 2] * lz
            if facing <= 0:
                lit[r, c] = zero
                continue
            px[count] = np.float32(c - centre) * inv_focal * z + normal[r, c, 0] * lift
            py[count] = np.float32(r - centre) * inv_focal * z + normal[r, c, 1] * lift
            pz[count] = z + normal[r, c, 2] * lift
            mx, my, mz = mx + px[count], my + py[count], mz + pz[count]
            pixel[count] = i
            count += 1
        if count == 0:
            continue
        mx, my, mz = mx / count, my / count, mz / count
        spread = zero
        for i in range(count):
            spread = max(spread, (px[i] - mx) ** 2 + (py[i] - my) ** 2 + (pz[i] - mz) ** 2)
        spread = np.sqrt(spread)
        num = 0
        for s in range(floats.shape[0]):
            dx, dy, dz = floats[s, BOUND_X] - mx, floats[s, BOUND_Y] - my, floats[s, BOUND_Z] - mz
            forth = dx * lx + dy * ly + dz * lz
            room = floats[s, BOUND_R] + spread + np.float32(0.01)
            if forth < -room or forth > REACH + room:
                continue
            aside = dx * dx + dy * dy + dz * dz - forth * forth
            if aside > room * room:
                continue
            thick = flesh_radius(floats[s])
            if ints[s, SHAPE] == CAPSULE and _gap(floats[s], mx, my, mz, lx, ly, lz) > thick + spread:
                continue
            listed[num] = s
            num += 1
        for i in range(count):
            along[i] = np.float32(0.004)
            least[i] = one
        for _step in range(18):
            for i in range(count):
                qx[i] = px[i] + lx * along[i]
            for i in range(count):
                qy[i] = py[i] + ly * along[i]
            for i in range(count):
                qz[i] = pz[i] + lz * along[i]
            _field(floats, ints, listed, num, qx, qy, qz, count, work, best, which, False)
            kept = 0
            for i in range(count):
                d = dist[i]
                now = min(least[i], softness * d / along[i])
                r, c = row + pixel[i] // TILE, col + pixel[i] % TILE
                lit[r, c] = max(now, zero)
                if now < np.float32(0.02) or along[i] > REACH or d > np.float32(0.35):
                    continue
                px[kept], py[kept], pz[kept], pixel[kept] = px[i], py[i], pz[i], pixel[i]
                least[kept] = now
                along[kept] = along[i] + min(max(d, np.float32(0.004)), np.float32(0.12))
                kept += 1
            count = kept
            if count == 0:
                break
