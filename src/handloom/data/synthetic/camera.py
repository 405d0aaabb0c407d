"""From linear light to the picture a camera writes: exposure, colour cast, lens, noise, JPEG."""

import io
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom.data.synthetic.kernels import kernel
from handloom.data.synthetic.noise import grain
from handloom.params import Lever

Field = NDArray[np.float32]


@kernel()
def _soften(picture, row, share):  # type: ignore[no-untyped-def]
    """Blur (H, W, 3) in place by [share, 1 - 2 share, share] down and across; `row` (2, W, 3) is scratch."""
    height, width, _ = picture.shape
    centre = np.float32(1.0) - np.float32(2.0) * share
    before, now = row[0], row[1]
    for c in range(width):
        for k in range(3):
            before[c, k] = picture[0, c, k]
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


@kernel()
def _expose(picture, gain, noise, sigma, corner, out):  # type: ignore[no-untyped-def]
    """Linear (H, W, 3) to display bytes: gain (3), soft shoulder, darker corners, gamma 2, noise of `sigma` levels.

    A row is worked on as one run of 3 W numbers, which LLVM vectorises as it does not loops over three.
    """
    height, width, _ = picture.shape
    one = np.float32(1.0)
    run, across, fall = width * 3, np.empty(width * 3), np.empty(width * 3, np.float32)
    gains = np.empty(width * 3, np.float32)
    for i in range(run):
        across[i] = (i // 3 / width - 0.5) * 2.0
        gains[i] = gain[i % 3]
    lights, noises, bytes_out = picture.reshape(height, run), noise.reshape(height, run), out.reshape(height, run)
    for r in range(height):
        y = (r / height - 0.5) * 2.0
        for i in range(run):
            fall[i] = np.float32(1.0 - corner * (across[i] * across[i] + y * y) * 0.5)
        light_row, noise_row, out_row = lights[r], noises[r], bytes_out[r]
        for i in range(run):
            light = min(light_row[i] * gains[i] * fall[i], np.float32(1.5))
            light = light / (one + np.float32(0.2) * light * light)
            level = np.sqrt(max(light, np.float32(0.0))) * np.float32(255.0)
            level += noise_row[i] * sigma * (np.float32(1.2) - np.float32(0.002) * level) + np.float32(0.5)
            out_row[i] = np.uint8(min(max(level, np.float32(0.0)), np.float32(255.0)))


def _smear(rng: np.random.Generator, linear: Field) -> None:
    """Motion blur in place: the mean of three to six copies moved along a random way, up to 7 px from first to last.

    The way is centred on nought, or the keypoints would lie beside the hand.
    """
    height, width, _ = linear.shape
    angle, reach = rng.uniform(0, np.pi), rng.uniform(2.0, 7.0)
    steps = int(rng.integers(3, 7))
    total = np.zeros_like(linear)
    for share in np.linspace(-0.5, 0.5, steps) * reach:
        down, right = round(share * np.sin(angle)), round(share * np.cos(angle))
        rows, cols = np.arange(height) + down, np.arange(width) + right
        total += linear[rows.clip(0, height - 1)][:, cols.clip(0, width - 1)]
    linear[:] = total / np.float32(steps)


def _gain(rng: np.random.Generator, linear: Field, hand: NDArray[np.bool_]) -> Field:
    """Exposure and colour cast: the hand is neither burnt out nor lost, but in 6 % that are dark and 2 % bright."""
    picture = np.percentile(linear[::7, ::7].mean(-1), (50, 75, 96))
    middle, bright, top = (max(float(v), 1e-3) for v in picture)
    subject = linear[hand][::3].mean(-1)
    body, shine = (max(float(v), 1e-4) for v in np.percentile(subject, (50, 92))) if subject.size else (0.2, 0.5)
    chance = rng.random()
    dark, burnt = chance < 0.06, chance > 0.98
    aim = rng.uniform(0.03, 0.08) if dark else rng.uniform(0.6, 0.9) if burnt else rng.uniform(0.14, 0.45)
    gain = min(aim / bright, 1.5 * aim / middle, (1.3 if burnt else 0.88) / top)
    if not dark:
        gain = max(gain, 0.07 / body)
    gain = min(gain, (1.1 if burnt else 0.75) / shine)
    warm, green = rng.normal(0, 0.035), rng.normal(0, 0.015)
    return (gain * np.array([1 + warm - green / 2, 1 + green, 1 - warm - green / 2])).astype(np.float32)


def develop(
    rng: np.random.Generator, linear: Field, hand: NDArray[np.bool_], without: Collection[Lever] = ()
) -> NDArray[np.uint8]:
    """A (H, W, 3) linear picture, about 0..1, as the uint8 RGB a camera would write; `linear` is used up.

    `hand` (H, W) marks what the exposure should spare.
    """
    height, width, _ = linear.shape
    gain = _gain(rng, linear, hand)
    if "camera" in without:
        gain[:] = gain.mean()
    # A lens is always a little soft, which also hides the stairs of one ray per pixel; one in nine is out of focus.
    passes = int(rng.integers(2, 9)) if rng.random() < 0.11 else 1
    if "blur" in without:
        passes = 1
    if rng.random() < 0.07:
        _smear(rng, linear if "blur" not in without else linear.copy())
    scratch = np.empty((2, width, 3), np.float32)
    share = np.float32(rng.uniform(0.10, 0.25))
    for _ in range(passes):
        _soften(linear, scratch, share)
    sigma = np.float32(0.0 if rng.random() < 0.2 else 0.5 + 7.0 * rng.random() ** 2)
    corner = float(rng.uniform(0.1, 0.5)) if rng.random() < 0.3 else 0.0
    if "camera" in without:
        sigma, corner = np.float32(0.0), 0.0
    pixels = np.empty((height, width, 3), np.uint8)
    _expose(linear, gain, grain(rng, height, width), sigma, corner, pixels)
    if rng.random() < 0.6 and "camera" not in without:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(40, 96)))
        pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return pixels
