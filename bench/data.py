"""Rendering by parts, and preprocessing beside the pure decoding of the same files, one core.

python bench/data.py
"""

import io
import os
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import click
import cv2
import numpy as np
from PIL import Image
from report import report

from handloom import images
from handloom.data import rows as data_rows
from handloom.data.rhd import RhdSource
from handloom.data.synthetic import archive, render
from handloom.params import Params

PROTOTYPE_MS = 110.0
"""A picture and core of the numpy prototype that the renderer replaced."""


@contextmanager
def timed(times: dict[str, list[float]], functions: dict[str, tuple[Any, str]]) -> Iterator[None]:
    """Note the time of every call of functions (owner, attribute), ms, under their names."""

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            said = function(*words, **named)
            times[name].append(1000 * (time.perf_counter() - begun))
            return said

        return call

    plain = {name: getattr(owner, attribute) for name, (owner, attribute) in functions.items()}
    for name, (owner, attribute) in functions.items():
        setattr(owner, attribute, noting(name, plain[name]))
    try:
        yield
    finally:
        for name, (owner, attribute) in functions.items():
            setattr(owner, attribute, plain[name])


def rendering(count: int) -> list[dict[str, Any]]:
    """Give the time of a picture and of its parts, each the sum over the pictures."""
    archive._work(1, "training", 0.0, 0)  # compiles
    parts: dict[str, list[float]] = defaultdict(list)
    functions = {
        "scene": (render, "draw_scene"),
        "solids": (render, "build_solids"),
        "march": (render.raymarch, "march"),
        "background": (render, "draw_background"),
        "planes": (render, "draw_planes"),
        "shadow": (render.shadow, "cast"),
        "shade": (render.shade, "shade"),
        "camera": (render, "develop"),
        "png": (archive, "_encode"),
    }
    with timed(parts, functions):
        begun = time.perf_counter()
        for index in range(count):
            archive._work(1, "training", 0.0, index)
        whole = 1000 * (time.perf_counter() - begun) / count
    rows = [{"what": "rendering", "ms": whole, "beside": "prototype", "times as fast": PROTOTYPE_MS / whole}]
    return rows + [{"what": f"  {name}", "ms": sum(each) / count} for name, each in parts.items()]


def preprocessing(count: int) -> list[dict[str, Any]]:
    """Give the time of a sample beside that of decoding its picture and mask, in turns.

    The renderer's PNG files use one filter and decode in a third of the time that Pillow's own take, so both are timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        own, pillows = Path(folder, "synthetic.zip"), Path(folder, "pillow.zip")
        archive.write_archive(own, seed=1, num_training=count, num_evaluation=1, workers=1)
        with zipfile.ZipFile(own) as source, zipfile.ZipFile(pillows, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith(".png"):
                    content = images.encode_png(np.asarray(Image.open(io.BytesIO(content))))
                target.writestr(name, content)
        return _beside_decoding(own, count, "") + _beside_decoding(pillows, count, ", PNG as Pillow writes it")


def _beside_decoding(path: Path, count: int, what: str) -> list[dict[str, Any]]:
    params = Params.load(Path("presets/default.yaml")).preprocess
    files = zipfile.ZipFile(path)

    def decode(index: int) -> None:
        for kind in ("color", "mask"):
            content = files.read(f"{archive.TOP}/training/{kind}/{index:05d}.png")
            np.asarray(Image.open(io.BytesIO(content)))

    place = data_rows.Place(RhdSource("synthetic", path), 0, "train", "training")

    def sample(index: int) -> None:
        data_rows.prepare_sample(place, params, (), index)

    times: dict[Callable[[int], None], list[float]] = {decode: [], sample: []}
    for _ in range(3):
        for index in range(count):
            for work, taken in times.items():
                begun = time.perf_counter()
                work(index)
                taken.append(1000 * (time.perf_counter() - begun))
    floor, whole = (median(taken) for taken in times.values())
    return [
        {"what": f"decoding a picture and its mask{what}", "ms": floor},
        {"what": f"preprocessing{what}", "ms": whole, "beside": "decoding", "times as fast": floor / whole},
    ]


@click.command()
@click.option("--count", default=100, show_default=True, type=click.IntRange(1), help="Pictures.")
def data(count: int) -> None:
    """Time the making of data on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    report("data", rendering(count) + preprocessing(count), "ms a picture on one core; medians for preprocessing")


if __name__ == "__main__":
    data()
