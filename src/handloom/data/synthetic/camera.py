"""From linear light to the picture a camera writes: exposure, colour cast, lens, noise, JPEG."""

import io

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from handloom.data.synthetic.noise import grain

Field = NDArray[np.float32]


@njit(cache=True, error_model="numpy")
def _soften(picture, row, share):  # type: ignore[no-untyped-def]
    """Blur (H, W, 3) in place by [share, 1 - 2 share, share] down and across; `row` (2, W, 3) is scratch."""
    height, width, _ = picture.shape
    centre = np.float32(1.0) - np.float32(2.0) * share
    before, now = row[0], row[1]
    before[:] = picture[0]
    for r in range(height):
        after = picture[min(r + 1, height - 1)]
        for c in range(width):
            for k in range(3):
                here = picture[r, c, k]
                now[c, k] = centre * here + share * (before[c, k] + after[c, k])
                before[c, k] = here
        for c in range(width):
            left, right = max(c - 1, 0), min(c + 1, width - 1)
            for k in range(3):
                picture[r, c, k] = centre * now[c, k] + share * (now[left, k] + now[right, k])


@njit(cache=True, error_model="numpy")
def _expose(picture, gain, noise, sigma, corner, out):  # type: ignore[no-untyped-def]
    """Linear (H, W, 3) to display bytes: gain (3), soft shoulder, darker corners, gamma 2, noise of `sigma` levels."""
    height, width, _ = picture.shape
    one = np.float32(1.0)
    for r in range(height):
        y = (r / height - 0.5) * 2.0
        for c in range(width):
            x = (c / width - 0.5) * 2.0
            fall = np.float32(1.0 - corner * (x * x + y * y) * 0.5)
            for k in range(3):
                light = min(picture[r, c, k] * gain[k] * fall, np.float32(1.5))
                light = light / (one + np.float32(0.2) * light * light)
                level = np.sqrt(max(light, np.float32(0.0))) * np.float32(255.0)
                level += noise[r, c, k] * sigma * (np.float32(1.2) - np.float32(0.002) * level) + np.float32(0.5)
                out[r, c, k] = np.uint8(min(max(level, np.float32(0.0)), np.float32(255.0)))


def _gain(rng: np.random.Generator, linear: Field) -> Field:
    """Exposure and colour cast: one picture in eight is dark and one in twelve burnt out, as RHD's are."""
    sparse = linear[::7, ::7].mean(-1)
    middle, bright, top = (max(float(v), 1e-3) for v in np.percentile(sparse, (50, 75, 96)))
    chance = rng.random()
    dark, burnt = chance < 0.12, chance > 0.92
    aim = rng.uniform(0.02, 0.07) if dark else rng.uniform(0.6, 0.95) if burnt else rng.uniform(0.12, 0.48)
    gain = min(aim / bright, 1.5 * aim / middle, (1.6 if burnt else 1.05) / top)
    warm, green = rng.normal(0, 0.06), rng.normal(0, 0.03)
    return (gain * np.array([1 + warm - green / 2, 1 + green, 1 - warm - green / 2])).astype(np.float32)


def develop(rng: np.random.Generator, linear: Field) -> NDArray[np.uint8]:
    """A (H, W, 3) linear picture, about 0..1, as the uint8 RGB a camera would write; `linear` is used up."""
    height, width, _ = linear.shape
    gain = _gain(rng, linear)
    # The lens: always a little soft, which also smooths the staircase edges of one ray per pixel; one in nine is out of focus.
    passes = int(rng.integers(2, 9)) if rng.random() < 0.11 else 1
    scratch = np.empty((2, width, 3), np.float32)
    share = np.float32(rng.uniform(0.10, 0.25))
    for _ in range(passes):
        _soften(linear, scratch, share)
    sigma = np.float32(0.0 if rng.random() < 0.2 else 0.5 + 7.0 * rng.random() ** 2)
    corner = float(rng.uniform(0.1, 0.5)) if rng.random() < 0.3 else 0.0
    pixels = np.empty((height, width, 3), np.uint8)
    _expose(linear, gain, grain(rng, height, width), sigma, corner, pixels)
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(40, 96)))
        pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return pixels
