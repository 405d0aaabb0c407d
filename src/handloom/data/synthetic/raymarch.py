"""Ray-marches a list of rounded solids: depth, nearest solid, surface normal and openness for every pixel.

Every solid is a tapered capsule (or rounded box) in a local frame of its own, whose x and z may be stretched. Solids
join in groups: the *base* of a group melts together (a palm, a torso), and *chains* (fingers) grow out of the base
but not into each other. The image is cut into tiles; a tile marches only the solids whose bounding sphere it sees.

All that is known of a tile's rays lies in one flat array, `lanes`, a row of 64 for each quantity, and the inner loops
run over blocks of fixed length, up to 31 lanes past the last ray: so LLVM sees without any check at run time that rows
do not overlap, and nothing is left over to be done one by one. An array for each row and exact counts took 2.9 times as
long on 64 rays, 1.6 times on five.
"""

from typing import Final

import numpy as np

from handloom.data.synthetic.kernels import inlined, kernel

TILE: Final = 8
PIXELS: Final = TILE * TILE
BLOCK: Final = 32
"""Rays that the loops of `field` take at a time."""
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
# Where the rows of `lanes` begin. Those of `field`: the points, and their distance to all solids, to the base of a
# group, to a chain and to one solid.
X, Y, Z, DIST, BODY, LIMB, ONE = range(0, 7 * PIXELS, PIXELS)
FREE: Final = 7 * PIXELS
"""Where the rows begin that are the caller's."""
# Those of `march`: the rays, where they go next, their openness, and the three rows of their normals.
SLOPE_X, SLOPE_Y, COSINE, AT, NEXT, OPEN, NORMAL = range(FREE, FREE + 7 * PIXELS, PIXELS)
NUM_LANES: Final = NORMAL + 3 * PIXELS


@inlined()
def _distance(solid, shape, lanes, blocks):  # type: ignore[no-untyped-def]
    """Write the distance of the points to one solid into ONE, metres, never more than the true one."""
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
    half_x, half_z = solid[HALF_X], solid[HALF_Z]
    for block in range(blocks):
        if shape == CAPSULE:
            for j in range(BLOCK):
                i = block * BLOCK + j
                x, y, z = lanes[X + i] - ox, lanes[Y + i] - oy, lanes[Z + i] - oz
                lx = (m0 * x + m1 * y + m2 * z) * inv_x
                ly = m3 * x + m4 * y + m5 * z
                lz = (m6 * x + m7 * y + m8 * z) * inv_z
                t = min(max(ly * inv_length, zero), one)
                ly -= t * length
                lanes[ONE + i] = (np.sqrt(lx * lx + ly * ly + lz * lz) - radius - slope * t) * shrink
        else:
            for j in range(BLOCK):
                i = block * BLOCK + j
                x, y, z = lanes[X + i] - ox, lanes[Y + i] - oy, lanes[Z + i] - oz
                qx = abs(m0 * x + m1 * y + m2 * z) - half_x
                qy = abs(m3 * x + m4 * y + m5 * z) - length
                qz = abs(m6 * x + m7 * y + m8 * z) - half_z
                inside = min(max(qx, max(qy, qz)), zero)
                qx, qy, qz = max(qx, zero), max(qy, zero), max(qz, zero)
                lanes[ONE + i] = np.sqrt(qx * qx + qy * qy + qz * qz) + inside - radius


@inlined()
def _melt(lanes, row, other, blend, into, blocks):  # type: ignore[no-untyped-def]
    """Row `into` becomes the smooth minimum of two rows, rounded over `blend` metres, and joins DIST."""
    inv = np.float32(1.0) / blend
    quarter = np.float32(0.25) * blend
    zero = np.float32(0.0)
    one = np.float32(1.0)
    for block in range(blocks):
        for j in range(BLOCK):
            i = block * BLOCK + j
            a, b = lanes[row + i], lanes[other + i]
            h = max(one - abs(a - b) * inv, zero)
            melted = min(a, b) - h * h * quarter
            lanes[into + i] = melted
            lanes[DIST + i] = min(lanes[DIST + i], melted)


@inlined()
def _least(lanes, into, other):  # type: ignore[no-untyped-def]
    for i in range(PIXELS):
        lanes[into + i] = min(lanes[into + i], lanes[other + i])


@inlined()
def _copy(lanes, into, other):  # type: ignore[no-untyped-def]
    for i in range(PIXELS):
        lanes[into + i] = lanes[other + i]


@inlined()
def fill(lanes, row, value):  # type: ignore[no-untyped-def]
    """Set a row of `lanes` to one value."""
    for i in range(PIXELS):
        lanes[row + i] = value


@kernel()
def field(floats, ints, listed, num, lanes, count):  # type: ignore[no-untyped-def]
    """Fill DIST with the distance of the first `count` points to the union of the `num` listed solids, metres."""
    blocks = (count + BLOCK - 1) // BLOCK
    fill(lanes, DIST, FAR)
    group = -1
    link = -1
    for n in range(num):
        s = listed[n]
        if ints[s, GROUP] != group:
            group = ints[s, GROUP]
            fill(lanes, BODY, FAR)
        if ints[s, CHAIN] != link:
            link = ints[s, CHAIN]
            fill(lanes, LIMB, FAR)
        solid = floats[s]
        _distance(solid, ints[s, SHAPE], lanes, blocks)
        role = ints[s, ROLE]
        if role == BASE:
            _melt(lanes, BODY, ONE, solid[BLEND], BODY, blocks)
        elif role == ROOT:
            # The first of its chain melts with nothing before it.
            _copy(lanes, LIMB, ONE)
            _melt(lanes, ONE, BODY, solid[ROOT_BLEND], ONE, blocks)
        else:
            _melt(lanes, LIMB, ONE, solid[BLEND], LIMB, blocks)


@kernel()
def _nearest(floats, ints, listed, num, lanes, count, which):  # type: ignore[no-untyped-def]
    """Fill `which` with the listed solid nearest to each point, blending left aside."""
    blocks = (count + BLOCK - 1) // BLOCK
    fill(lanes, DIST, FAR)
    for n in range(num):
        s = listed[n]
        _distance(floats[s], ints[s, SHAPE], lanes, blocks)
        for i in range(PIXELS):
            which[i] = s if lanes[ONE + i] < lanes[DIST + i] else which[i]
        _least(lanes, DIST, ONE)


@kernel()
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


@kernel()
def flesh_radius(solid):  # type: ignore[no-untyped-def]
    """How far a capsule reaches from its axis, blending included, metres."""
    return (
        max(solid[RADIUS_A], solid[RADIUS_B]) * max(np.float32(1.0), max(solid[STRETCH_X], solid[STRETCH_Z]))
        + np.float32(0.25) * (solid[BLEND] + solid[ROOT_BLEND])
        + np.float32(0.001)
    )


@kernel()
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


@kernel()
def _normals(floats, ints, listed, num, lanes, count, which):  # type: ignore[no-untyped-def]
    """Fill NORMAL with unit normals by four evaluations on a tetrahedron, and `which` with the nearest solid."""
    step = np.float32(0.0006)
    one = np.float32(1.0)
    _nearest(floats, ints, listed, num, lanes, count, which)
    for axis in range(3):
        fill(lanes, NORMAL + axis * PIXELS, np.float32(0.0))
    for corner in range(4):
        for axis in range(3):
            _shift(lanes, X + axis * PIXELS, step if corner in (axis, 3) else -step)
        field(floats, ints, listed, num, lanes, count)
        for axis in range(3):
            sign = one if corner in (axis, 3) else -one
            _add(lanes, NORMAL + axis * PIXELS, DIST, sign)
            _shift(lanes, X + axis * PIXELS, -sign * step)
    for i in range(PIXELS):
        x, y, z = lanes[NORMAL + i], lanes[NORMAL + PIXELS + i], lanes[NORMAL + 2 * PIXELS + i]
        norm = np.sqrt(x**2 + y**2 + z**2) + np.float32(1e-12)
        lanes[NORMAL + i] = x / norm
        lanes[NORMAL + PIXELS + i] = y / norm
        lanes[NORMAL + 2 * PIXELS + i] = z / norm


@inlined()
def _shift(lanes, row, by):  # type: ignore[no-untyped-def]
    for i in range(PIXELS):
        lanes[row + i] += by


@inlined()
def _add(lanes, row, other, factor):  # type: ignore[no-untyped-def]
    for i in range(PIXELS):
        lanes[row + i] += factor * lanes[other + i]


@kernel()
def _depth_range(floats, listed, num):  # type: ignore[no-untyped-def]
    """Least and greatest z that the bounding spheres of the listed solids reach."""
    near, far = np.float32(1e9), np.float32(0.0)
    for n in range(num):
        s = listed[n]
        near = min(near, floats[s, BOUND_Z] - floats[s, BOUND_R])
        far = max(far, floats[s, BOUND_Z] + floats[s, BOUND_R])
    return max(near, np.float32(0.03)), far


@kernel()
def _start(lanes, pixel, row, col, focal, size, near):  # type: ignore[no-untyped-def]
    """Fill the rays (x and y slope, cosine to the axis, z reached) and pixel numbers of a tile; gives their count.

    A ray is (x, y, 1): its parameter is z itself.
    """
    inv_focal = np.float32(1.0 / focal)
    centre = np.float32(size * 0.5)
    one = np.float32(1.0)
    for i in range(PIXELS):
        slope_x = (np.float32(col + i % TILE) - centre) * inv_focal
        slope_y = (np.float32(row + i // TILE) - centre) * inv_focal
        lanes[SLOPE_X + i], lanes[SLOPE_Y + i] = slope_x, slope_y
        lanes[COSINE + i] = one / np.sqrt(slope_x * slope_x + slope_y * slope_y + one)
        lanes[AT + i] = near
        pixel[i] = i
    return len(pixel)


@inlined()
def _place(lanes):  # type: ignore[no-untyped-def]
    """Write the points (x, y, z) that the rays have reached."""
    for i in range(PIXELS):
        lanes[X + i] = lanes[SLOPE_X + i] * lanes[AT + i]
        lanes[Y + i] = lanes[SLOPE_Y + i] * lanes[AT + i]
        lanes[Z + i] = lanes[AT + i]


@kernel()
def _advance(floats, ints, listed, num, lanes, pixel, count, far, hit_at):  # type: ignore[no-untyped-def]
    """March the rays until they hit (hit_at becomes z) or pass `far` (it becomes 0)."""
    hit_at[:] = np.float32(0.0)
    for step in range(MAX_STEPS):
        _place(lanes)
        field(floats, ints, listed, num, lanes, count)
        # A tenth of a pixel; rays still grazing after the last step count as hits within one pixel.
        touch = np.float32(0.004) if step == MAX_STEPS - 1 else np.float32(0.0004)
        running = 0
        for i in range(PIXELS):
            d, at = lanes[DIST + i], lanes[AT + i]
            z = at + d * lanes[COSINE + i]
            lanes[NEXT + i] = z
            running += (i < count) & (d >= touch * at) & (z <= far)
        if running == count:
            for i in range(PIXELS):
                lanes[AT + i] = lanes[NEXT + i]
            continue
        count = _sift(lanes, pixel, count, touch, far, hit_at)
        if count == 0:
            return


@kernel()
def _sift(lanes, pixel, count, touch, far, hit_at):  # type: ignore[no-untyped-def]
    """Note the rays that hit, move up those that neither hit nor passed `far`; gives the count of these."""
    kept = 0
    for i in range(count):
        z = lanes[NEXT + i]
        if lanes[DIST + i] < touch * lanes[AT + i]:
            hit_at[pixel[i]] = z
        elif z <= far:
            lanes[AT + kept], lanes[COSINE + kept] = z, lanes[COSINE + i]
            lanes[SLOPE_X + kept], lanes[SLOPE_Y + kept] = lanes[SLOPE_X + i], lanes[SLOPE_Y + i]
            pixel[kept] = pixel[i]
            kept += 1
    return kept


@kernel()
def _hits(lanes, pixel, hit_at):  # type: ignore[no-untyped-def]
    """Keep the rays that hit and write their points; gives their count. The rays must be fresh from `_start`."""
    count = 0
    for i in range(PIXELS):
        if hit_at[i] > 0:
            lanes[SLOPE_X + count], lanes[SLOPE_Y + count] = lanes[SLOPE_X + i], lanes[SLOPE_Y + i]
            lanes[AT + count] = hit_at[i]
            pixel[count] = i
            count += 1
    _place(lanes)
    return count


@kernel()
def _openness(floats, ints, listed, num, lanes, count):  # type: ignore[no-untyped-def]
    """Fill OPEN with 0..1: how far the field grows along the normal, at the scale of a finger and of a limb."""
    fill(lanes, OPEN, np.float32(0.0))
    reached = np.float32(0.0)
    for reach in (np.float32(0.008), np.float32(0.024)):
        for axis in range(3):
            _add(lanes, X + axis * PIXELS, NORMAL + axis * PIXELS, reach - reached)
        reached = reach
        field(floats, ints, listed, num, lanes, count)
        for i in range(PIXELS):
            lanes[OPEN + i] += np.float32(0.5) * min(max(lanes[DIST + i] / reach, np.float32(0.0)), np.float32(1.0))


@kernel()
def march(floats, ints, focal, size, depth, which_out, normal, openness):  # type: ignore[no-untyped-def]
    """Fill depth (z metres, 0 where nothing), nearest solid (-1), unit normal and openness (0 closed ... 1 open)."""
    tiles = size // TILE
    listed = np.empty((tiles * tiles, floats.shape[0]), np.int32)
    counts = np.zeros(tiles * tiles, np.int32)
    _tile_lists(floats, ints, focal, size, listed, counts)
    lanes, hit_at = np.zeros(NUM_LANES, np.float32), np.empty(PIXELS, np.float32)
    pixel, which = np.empty(PIXELS, np.int32), np.empty(PIXELS, np.int32)
    for tile in range(tiles * tiles):
        num = counts[tile]
        if num == 0:
            continue
        seen = listed[tile]
        row, col = tile // tiles * TILE, tile % tiles * TILE
        near, far = _depth_range(floats, seen, num)
        count = _start(lanes, pixel, row, col, focal, size, near)
        _advance(floats, ints, seen, num, lanes, pixel, count, far, hit_at)
        _start(lanes, pixel, row, col, focal, size, near)
        count = _hits(lanes, pixel, hit_at)
        if count == 0:
            continue
        _normals(floats, ints, seen, num, lanes, count, which)
        _openness(floats, ints, seen, num, lanes, count)
        for i in range(count):
            r, c = row + pixel[i] // TILE, col + pixel[i] % TILE
            depth[r, c] = lanes[AT + i]
            which_out[r, c] = which[i]
            openness[r, c] = lanes[OPEN + i]
            for axis in range(3):
                normal[r, c, axis] = lanes[NORMAL + axis * PIXELS + i]
