"""Writes rendered samples as a zip in the layout of the Rendered Handpose Dataset."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handloom import processes
from handloom.data.synthetic.render import FAR_DEPTH, Rendered, render
from handloom.errors import EnvironmentFault, ParamsError
from handloom.params import Lever
from handloom.processes import Pool

TOP: Final = "RHD_published_v2"
_DATE: Final = (2017, 10, 13, 0, 0, 0)

Annotation = dict[str, NDArray[np.float32]]
Encoded = tuple[bytes, bytes, bytes, Annotation]
Split = tuple[Callable[[int], Encoded], int]
"""What makes a sample of its number, and how many there are."""


def encode_depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Metres (H, W), 0..5, as (H, W, 3) bytes: red the high byte, green the low one, blue 0."""
    steps = np.rint(np.clip(depth, 0.0, FAR_DEPTH) * (65535.0 / FAR_DEPTH)).astype(np.uint16)
    return np.stack([(steps >> 8).astype(np.uint8), (steps & 255).astype(np.uint8), np.zeros_like(steps, np.uint8)], -1)


def encode_png(pixels: NDArray[np.uint8], strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """A (H, W) or (H, W, 3) picture as PNG, each row less the one above.

    Pillow tries five filters on every row: 7.6 ms and 120 KiB for a colour picture, against 3.1 ms and 131 KiB here.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    rows = np.empty((height, flat.shape[1] + 1), np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, strategy)
    data = packer.compress(rows.tobytes()) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _encode(sample: Rendered) -> Encoded:
    annotation = {"K": sample.K, "uv_vis": sample.uv_vis, "xyz": sample.xyz}
    return (
        encode_png(sample.color, zlib.Z_RLE),
        encode_png(sample.mask),
        encode_png(encode_depth(sample.depth)),
        annotation,
    )


def _work(seed: int, split: str, close_ups: float, portraits: float, without: Collection[Lever], index: int) -> Encoded:
    return _encode(render(seed, split, index, close_ups, portraits, without))


def _fresh(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that pickles to the same bytes wherever `array` was made; from a worker it brings its own dtype object."""
    copy = np.empty(array.shape, np.float32)
    copy[...] = array
    return copy


def _write(target: Path, splits: Mapping[str, Split], pool: Pool | None) -> None:
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
        tqdm(total=sum(count for _, count in splits.values()), desc="rendering", unit="img") as bar,
    ):

        def store(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(f"{TOP}/{name}", _DATE)
            info.external_attr = 0o644 << 16
            with processes.held():  # a zip with an open entry fails to close
                archive.writestr(info, data)

        for split, (work, count) in splits.items():
            samples = pool.in_order(work, range(count)) if pool else map(work, range(count))
            annotations: dict[int, Annotation] = {}
            for index, (color, mask, depth, annotation) in enumerate(samples):
                for folder, data in (("color", color), ("mask", mask), ("depth", depth)):
                    store(f"{split}/{folder}/{index:05d}.png", data)
                annotations[index] = {name: _fresh(annotation[name]) for name in ("K", "uv_vis", "xyz")}
                bar.update()
            store(f"{split}/anno_{split}.pickle", pickle.dumps(annotations, protocol=2))


def _render_to(target: Path, splits: Mapping[str, Split], workers: int | None) -> None:
    if workers == 1:
        _write(target, splits, None)
        return
    # Compiles the kernels once, so that the workers load them from numba's cache.
    next(iter(splits.values()))[0](0)
    with processes.pool(workers) as pool:
        _write(target, splits, pool)


def write_archive(
    path: Path,
    *,
    seed: int,
    num_training: int,
    num_evaluation: int,
    close_ups: float = 0.0,
    portraits: float = 0.0,
    without: Collection[Lever] = (),
    workers: int | None = None,
) -> None:
    """Render both splits and write an RHD-layout zip at `path`: the same bytes for any number of workers.

    `close_ups` and `portraits` are shares of the training split, which alone goes `without` something; the evaluation
    split is the same for all.

    `workers` None takes every usable core. The file appears whole or not at all.
    """
    if seed < 0 or min(num_training, num_evaluation) < 0:
        raise ParamsError(
            f"render: seed and counts must not be negative, got '{(seed, num_training, num_evaluation)}'; "
            "correct params.yaml"
        )
    splits: dict[str, Split] = {
        "training": (partial(_work, seed, "training", close_ups, portraits, tuple(without)), num_training),
        "evaluation": (partial(_work, seed, "evaluation", 0.0, 0.0, ()), num_evaluation),
    }
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _render_to(unfinished, splits, workers)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot write the rendered archive, got '{error}'; free the disk or the path"
        ) from error
