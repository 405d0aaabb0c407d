"""Ray-marches a list of rounded solids: depth, nearest solid, surface normal and openness for every pixel.

Every solid is a tapered capsule (or rounded box) in a local frame of its own, whose x and z may be stretched. Solids
join in groups: the *base* of a group melts together (a palm, a torso), and *chains* (fingers) grow out of the base
but not into each other. The image is cut into tiles; a tile marches only the solids whose bounding sphere it sees.
Inner loops run over the pixels of one tile and write one array each, because that is the shape LLVM vectorises: with
several written arrays it gives up on the alias checks.
"""

from typing import Final

import numpy as np
from numba import njit

TILE: Final = 8
PIXELS: Final = TILE * TILE
FAR: Final = np.float32(1e3)
MAX_STEPS: Final = 48

# Rows of the float table of a solid: world-to-local rotation (9), origin (3), then these.
(
    STRETCH_X,
    STRETCH_Z,
    LENGTH,
    RADIUS_A,
    RADIUS_B,
    BLEND,
    ROOT_BLEND,
    BOUND_R,
    BOUND_X,
    BOUND_Y,
    BOUND_Z,
    HALF_X,
    HALF_Z,
) = range(12, 25)
NUM_FLOATS: Final = 25
# Rows of the integer table.
GROUP, CHAIN, ROLE, SHAPE = range(4)
NUM_INTS: Final = 4
BASE, ROOT, LINK = range(3)
CAPSULE, BOX = range(2)


@njit(cache=True, error_model="numpy")
def _distance(solid, shape, px, py, pz, count, out):  # type: ignore[no-untyped-def]
    """Write the distance of `count` points to one solid, metres, never more than the true one."""
    m0, m1, m2 = solid[0], solid[1], solid[2]
    m3, m4, m5 = solid[3], solid[4], solid[5]
    m6, m7, m8 = solid[6], solid[7], solid[8]
    ox, oy, oz = solid[9], solid[10], solid[11]
    one = np.float32(1.0)
    zero = np.float32(0.0)
    inv_x, inv_z = one / solid[STRETCH_X], one / solid[STRETCH_Z]
    length, radius, slope = solid[LENGTH], solid[RADIUS_A], solid[RADIUS_B] - solid[RADIUS_A]
    inv_length = one / length
    shrink = min(one, min(solid[STRETCH_X], solid[STRETCH_Z]))
    if shape == CAPSULE:
        for i in range(count):
            x, y, z = px[i] - ox, py[i] - oy, pz[i] - oz
            lx = (m0 * x + m1 * y + m2 * z) * inv_x
            ly = m3 * x + m4 * y + m5 * z
            lz = (m6 * x + m7 * y + m8 * z) * inv_z
            t = min(max(ly * inv_length, zero), one)
            ly -= t * length
            out[i] = (np.sqrt(lx * lx + ly * ly + lz * lz) - radius - slope * t) * shrink
    else:
        half_x, half_y, half_z = solid[HALF_X], length, solid[HALF_Z]
        for i in range(count):
            x, y, z = px[i] - ox, py[i] - oy, pz[i] - oz
            qx = abs(m0 * x + m1 * y + m2 * z) - half_x
            qy = abs(m3 * x + m4 * y + m5 * z) - half_y
            qz = abs(m6 * x + m7 * y + m8 * z) - half_z
            inside = min(max(qx, max(qy, qz)), zero)
            qx, qy, qz = max(qx, zero), max(qy, zero), max(qz, zero)
            out[i] = np.sqrt(qx * qx + qy * qy + qz * qz) + inside - radius


@njit(cache=True, error_model="numpy")
def _melt(into, other, blend, count):  # type: ignore[no-untyped-def]
    """`into` becomes the smooth minimum of itself and `other`, rounded over `blend` metres."""
    inv = np.float32(1.0) / blend
    quarter = np.float32(0.25) * blend
    zero = np.float32(0.0)
    one = np.float32(1.0)
    for i in range(count):
        a, b = into[i], other[i]
        h = max(one - abs(a - b) * inv, zero)
        into[i] = min(a, b) - h * h * quarter


@njit(cache=True, error_model="numpy")
def _least(into, other, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        into[i] = min(into[i], other[i])


@njit(cache=True, error_model="numpy")
def _fill(into, value, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        into[i] = value


@njit(cache=True, error_model="numpy")
def field(floats, ints, listed, num, px, py, pz, count, work):  # type: ignore[no-untyped-def]
    """Fill work[0] with the distance of `count` points to the union of the `num` listed solids, metres."""
    result, base, chain, one = work[0], work[1], work[2], work[3]
    _fill(result, FAR, count)
    group = -1
    link = -1
    for n in range(num):
        s = listed[n]
        if ints[s, GROUP] != group:
            group = ints[s, GROUP]
            _fill(base, FAR, count)
        if ints[s, CHAIN] != link:
            link = ints[s, CHAIN]
            _fill(chain, FAR, count)
        solid = floats[s]
        _distance(solid, ints[s, SHAPE], px, py, pz, count, one)
        role = ints[s, ROLE]
        if role == BASE:
            _melt(base, one, solid[BLEND], count)
            _least(result, base, count)
        elif role == ROOT:
            _melt(chain, one, solid[BLEND], count)
            _melt(one, base, solid[ROOT_BLEND], count)
            _least(result, one, count)
        else:
            _melt(chain, one, solid[BLEND], count)
            _least(result, chain, count)


@njit(cache=True, error_model="numpy")
def _nearest(floats, ints, listed, num, px, py, pz, count, work, which):  # type: ignore[no-untyped-def]
    """Fill `which` with the listed solid nearest to each point, blending left aside."""
    best, one = work[0], work[1]
    _fill(best, FAR, count)
    for n in range(num):
        s = listed[n]
        _distance(floats[s], ints[s, SHAPE], px, py, pz, count, one)
        for i in range(count):
            which[i] = s if one[i] < best[i] else which[i]
        _least(best, one, count)


@njit(cache=True, error_model="numpy")
def gap_to_ray(solid, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Least distance between a solid's axis and the ray from the origin along unit (dx, dy, dz), and where, metres."""
    ox, oy, oz = solid[9], solid[10], solid[11]
    ax, ay, az = solid[3], solid[4], solid[5]
    lean = ax * dx + ay * dy + az * dz
    along_axis = ax * ox + ay * oy + az * oz
    along_ray = dx * ox + dy * oy + dz * oz
    across = max(1.0 - lean * lean, 1e-6)
    t = min(max((lean * along_ray - along_axis) / across, 0.0), solid[LENGTH])
    forth = max(along_ray + t * lean, 0.0)
    x, y, z = ox + t * ax - forth * dx, oy + t * ay - forth * dy, oz + t * az - forth * dz
    return np.sqrt(x * x + y * y + z * z), forth


@njit(cache=True, error_model="numpy")
def flesh_radius(solid):  # type: ignore[no-untyped-def]
    """How far a capsule reaches from its axis, blending included, metres."""
    return (
        max(solid[RADIUS_A], solid[RADIUS_B]) * max(np.float32(1.0), max(solid[STRETCH_X], solid[STRETCH_Z]))
        + np.float32(0.25) * (solid[BLEND] + solid[ROOT_BLEND])
        + np.float32(0.001)
    )


@njit(cache=True, error_model="numpy")
def _tile_lists(floats, ints, focal, size, listed, counts):  # type: ignore[no-untyped-def]
    """Fill, for every tile, the solids whose bounding sphere it sees, in the table's order."""
    tiles = size // TILE
    centre = size * 0.5
    for s in range(floats.shape[0]):
        radius = floats[s, BOUND_R]
        x, y, z = floats[s, BOUND_X], floats[s, BOUND_Y], floats[s, BOUND_Z]
        if z + radius < 0.02:
            continue
        x0, x1, y0, y1 = 0, tiles - 1, 0, tiles - 1
        if z > radius * 1.02:
            # Tangents of the sphere's outline as seen from the camera, in each axis.
            reach = z * z - radius * radius
            spread_x = radius * np.sqrt(x * x + reach)
            spread_y = radius * np.sqrt(y * y + reach)
            x0 = int(np.floor(((x * z - spread_x) / reach * focal + centre - 1.0) / TILE))
            x1 = int(np.floor(((x * z + spread_x) / reach * focal + centre + 1.0) / TILE))
            y0 = int(np.floor(((y * z - spread_y) / reach * focal + centre - 1.0) / TILE))
            y1 = int(np.floor(((y * z + spread_y) / reach * focal + centre + 1.0) / TILE))
        thick = flesh_radius(floats[s])
        # Half a tile's diagonal, seen from one metre.
        widen = 0.72 * TILE / focal
        for ty in range(max(y0, 0), min(y1, tiles - 1) + 1):
            for tx in range(max(x0, 0), min(x1, tiles - 1) + 1):
                tile = ty * tiles + tx
                if ints[s, SHAPE] == CAPSULE:
                    dx, dy = ((tx + 0.5) * TILE - centre) / focal, ((ty + 0.5) * TILE - centre) / focal
                    inv = 1.0 / np.sqrt(dx * dx + dy * dy + 1.0)
                    gap, forth = gap_to_ray(floats[s], dx * inv, dy * inv, inv)
                    if gap > thick + (forth + thick) * widen:
                        continue
                listed[tile, counts[tile]] = s
                counts[tile] += 1


@njit(cache=True, error_model="numpy")
def _normals(floats, ints, listed, num, points, count, work, which, grad):  # type: ignore[no-untyped-def]
    """Fill grad with unit normals by four evaluations on a tetrahedron, and `which` with the nearest solid."""
    step = np.float32(0.0006)
    one = np.float32(1.0)
    dist = work[0]
    x, y, z = points[0], points[1], points[2]
    _nearest(floats, ints, listed, num, x, y, z, count, work, which)
    for axis in range(3):
        _fill(grad[axis], np.float32(0.0), count)
    for corner in range(4):
        for axis in range(3):
            _shift(points[axis], step if corner in (axis, 3) else -step, count)
        field(floats, ints, listed, num, x, y, z, count, work)
        for axis in range(3):
            sign = one if corner in (axis, 3) else -one
            _add(grad[axis], dist, sign, count)
            _shift(points[axis], -sign * step, count)
    for i in range(count):
        norm = np.sqrt(grad[0, i] ** 2 + grad[1, i] ** 2 + grad[2, i] ** 2) + np.float32(1e-12)
        for axis in range(3):
            grad[axis, i] /= norm


@njit(cache=True, error_model="numpy")
def _shift(into, by, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        into[i] += by


@njit(cache=True, error_model="numpy")
def _add(into, other, factor, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        into[i] += factor * other[i]


@njit(cache=True, error_model="numpy")
def _depth_range(floats, listed, num):  # type: ignore[no-untyped-def]
    """Least and greatest z that the bounding spheres of the listed solids reach."""
    near, far = np.float32(1e9), np.float32(0.0)
    for n in range(num):
        s = listed[n]
        near = min(near, floats[s, BOUND_Z] - floats[s, BOUND_R])
        far = max(far, floats[s, BOUND_Z] + floats[s, BOUND_R])
    return max(near, np.float32(0.03)), far


@njit(cache=True, error_model="numpy")
def _start(rays, pixel, row, col, focal, size, near):  # type: ignore[no-untyped-def]
    """Fill rays (x and y slope, cosine to the axis, z reached) and pixel numbers of a tile; gives their count.

    A ray is (x, y, 1): its parameter is z itself.
    """
    slope_x, slope_y, cosine, at = rays[0], rays[1], rays[2], rays[3]
    inv_focal = np.float32(1.0 / focal)
    centre = np.float32(size * 0.5)
    one = np.float32(1.0)
    for i in range(PIXELS):
        slope_x[i] = (np.float32(col + i % TILE) - centre) * inv_focal
        slope_y[i] = (np.float32(row + i // TILE) - centre) * inv_focal
        cosine[i] = one / np.sqrt(slope_x[i] * slope_x[i] + slope_y[i] * slope_y[i] + one)
        at[i] = near
        pixel[i] = i
    return len(pixel)


@njit(cache=True, error_model="numpy")
def _place(rays, points, count):  # type: ignore[no-untyped-def]
    """Write the points (x, y, z) that the rays have reached."""
    slope_x, slope_y, at = rays[0], rays[1], rays[3]
    x, y, z = points[0], points[1], points[2]
    for i in range(count):
        x[i] = slope_x[i] * at[i]
    for i in range(count):
        y[i] = slope_y[i] * at[i]
    for i in range(count):
        z[i] = at[i]


@njit(cache=True, error_model="numpy")
def _advance(floats, ints, listed, num, rays, pixel, count, far, points, work, hit_at):  # type: ignore[no-untyped-def]
    """March the rays until they hit (hit_at becomes z) or pass `far` (it becomes 0)."""
    slope_x, slope_y, cosine, at = rays[0], rays[1], rays[2], rays[3]
    dist = work[0]
    _fill(hit_at, np.float32(0.0), PIXELS)
    for step in range(MAX_STEPS):
        _place(rays, points, count)
        field(floats, ints, listed, num, points[0], points[1], points[2], count, work)
        last = step == MAX_STEPS - 1
        kept = 0
        for i in range(count):
            d = dist[i]
            # A tenth of a pixel; rays still grazing after the last step count as hits within one pixel.
            if d < np.float32(0.0004) * at[i] or (last and d < np.float32(0.004) * at[i]):
                hit_at[pixel[i]] = at[i] + d * cosine[i]
                continue
            z = at[i] + d * cosine[i]
            if z > far:
                continue
            at[kept], slope_x[kept], slope_y[kept], cosine[kept] = z, slope_x[i], slope_y[i], cosine[i]
            pixel[kept] = pixel[i]
            kept += 1
        count = kept
        if count == 0:
            return


@njit(cache=True, error_model="numpy")
def _hits(rays, pixel, hit_at, points):  # type: ignore[no-untyped-def]
    """Keep the rays that hit and write their points; gives their count. `rays` must be fresh from `_start`."""
    count = 0
    for i in range(PIXELS):
        if hit_at[i] > 0:
            rays[0, count], rays[1, count], rays[3, count] = rays[0, i], rays[1, i], hit_at[i]
            pixel[count] = i
            count += 1
    _place(rays, points, count)
    return count


@njit(cache=True, error_model="numpy")
def _openness(floats, ints, listed, num, points, count, grad, work, opened):  # type: ignore[no-untyped-def]
    """Fill `opened` with 0..1: how far the field grows along the normal, at the scale of a finger and of a limb."""
    dist = work[0]
    _fill(opened, np.float32(0.0), count)
    reached = np.float32(0.0)
    for reach in (np.float32(0.008), np.float32(0.024)):
        for axis in range(3):
            point, way = points[axis], grad[axis]
            for i in range(count):
                point[i] += way[i] * (reach - reached)
        reached = reach
        field(floats, ints, listed, num, points[0], points[1], points[2], count, work)
        for i in range(count):
            opened[i] += np.float32(0.5) * min(max(dist[i] / reach, np.float32(0.0)), np.float32(1.0))


@njit(cache=True, error_model="numpy")
def march(floats, ints, focal, size, depth, which_out, normal, openness):  # type: ignore[no-untyped-def]
    """Fill depth (z metres, 0 where nothing), nearest solid (-1), unit normal and openness (0 closed ... 1 open)."""
    tiles = size // TILE
    listed = np.empty((tiles * tiles, floats.shape[0]), np.int32)
    counts = np.zeros(tiles * tiles, np.int32)
    _tile_lists(floats, ints, focal, size, listed, counts)
    rays, points = np.empty((4, PIXELS), np.float32), np.empty((3, PIXELS), np.float32)
    work, grad = np.empty((4, PIXELS), np.float32), np.empty((3, PIXELS), np.float32)
    hit_at, opened = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    pixel, which = np.empty(PIXELS, np.int32), np.empty(PIXELS, np.int32)
    for tile in range(tiles * tiles):
        num = counts[tile]
        if num == 0:
            continue
        seen = listed[tile]
        row, col = tile // tiles * TILE, tile % tiles * TILE
        near, far = _depth_range(floats, seen, num)
        count = _start(rays, pixel, row, col, focal, size, near)
        _advance(floats, ints, seen, num, rays, pixel, count, far, points, work, hit_at)
        _start(rays, pixel, row, col, focal, size, near)
        count = _hits(rays, pixel, hit_at, points)
        if count == 0:
            continue
        _normals(floats, ints, seen, num, points, count, work, which, grad)
        _openness(floats, ints, seen, num, points, count, grad, work, opened)
        for i in range(count):
            r, c = row + pixel[i] // TILE, col + pixel[i] % TILE
            depth[r, c] = rays[3, i]
            which_out[r, c] = which[i]
            openness[r, c] = opened[i]
            for axis in range(3):
                normal[r, c, axis] = grad[axis, i]
