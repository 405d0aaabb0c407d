"""Handloom against MediaPipe Hands on the same frames, interleaved, each on one thread of the same core.

    python -m venv bench/.mediapipe && bench/.mediapipe/bin/pip install -r bench/requirements-mediapipe.txt
    python bench/speed.py PICTURES

MediaPipe needs an environment of its own, so each side is a process of its own; frame by frame one works while the
other waits. Frames are 640 x 480. Stills: each picture by itself. Tracking: each picture moves, 24 frames of a video.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handloom import images, media

WIDTH, HEIGHT = 640, 480
FRAMES: Final = 24
"""Of a video made of one picture; its first ones, where a hand is still being found, are not counted."""
WARM_UP: Final = 6
HERE: Final = Path(__file__).parent
Frame = NDArray[np.uint8]


class Worker:
    """One side: takes frames, gives milliseconds and the number of hands."""

    def __init__(self, python: Path, *words: str) -> None:
        alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
        self.name = words[1]
        self.process = subprocess.Popen(
            [python, HERE / words[0], *words[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | alone | quiet,
        )
        if self._line() != "ready":
            raise click.ClickException(f"{words[0]} did not start; run it by hand: {python} {HERE / words[0]}")

    def __call__(self, frame: Frame, *, new: bool) -> tuple[float, int]:
        """Show one frame; `new` begins another video."""
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack("<?", new) + frame.tobytes())
        self.process.stdin.flush()
        milliseconds, hands = json.loads(self._line())
        return milliseconds, hands

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


def fitted(picture: Frame, shift: float = 0.0) -> Frame:
    """Give a picture in the middle of a frame, moved by a share of the frame's height."""
    scale = min(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    frame = Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))
    place = round((WIDTH - size[0]) / 2 + shift * HEIGHT), round((HEIGHT - size[1]) / 2 + shift * HEIGHT / 2)
    frame.paste(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR), place)
    return np.asarray(frame)


def moving(picture: Frame) -> Iterator[Frame]:
    """Give the frames of a video in which the picture swings to and fro."""
    for number in range(FRAMES):
        yield fitted(picture, 0.05 * float(np.sin(2 * np.pi * number / FRAMES)))


def table(times: dict[str, list[tuple[float, int]]], what: str) -> None:
    """Print medians over frames on which every side found one hand, and the ratios to handloom."""
    both = [frame for frame in zip(*times.values(), strict=True) if all(hands == 1 for _, hands in frame)]
    if not both:
        raise click.ClickException(f"{what}: no frame on which all found one hand; give other pictures")
    typical = {name: median(frame[side][0] for frame in both) for side, name in enumerate(times)}
    ours = next(iter(typical))
    click.echo(f"{what}: {len(both)} frames on which each found one hand, of {len(times[ours])}")
    for name, milliseconds in typical.items():
        found = sum(hands > 0 for _, hands in times[name]) / len(times[name])
        click.echo(f"  {name:22} {milliseconds:6.2f} ms  {milliseconds / typical[ours]:5.2f} x  a hand in {found:.0%}")


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--peer", default=HERE / ".mediapipe/bin/python", show_default=True, type=click.Path(path_type=Path))
@click.option("--models", default="", help="Folder of nets.  [default: the bundled ones]")
@click.option("--int8", is_flag=True)
@click.option("--size", default=0, help="Side at which the mask net sees a frame, px.  [default: the net's own]")
@click.option("--views", default=1, show_default=True, help="Ways to read each region; `handloom predict` takes 2.")
def speed(pictures: tuple[str, ...], peer: Path, models: str, int8: bool, size: int, views: int) -> None:
    """Compare on PICTURES that show one hand: files, folders, globs."""
    shown = [images.read(source.path) for source in media.find(pictures) if source.path and not source.moves]
    for what in ("still", "tracking"):
        form = (models or "bundled") + (" int8" if int8 else "") + (f" {size} px" if size else "")
        form += f" {views} views" if views > 1 else ""
        words = what, models, "int8" if int8 else "", str(size), str(views)
        sides = [Worker(Path(sys.executable), "ours.py", f"handloom {form}", *words)]
        sides += [Worker(peer, "theirs.py", f"MediaPipe {model}", what, model) for model in ("full", "lite")]
        times: dict[str, list[tuple[float, int]]] = {side.name: [] for side in sides}
        for round_ in range(3 if what == "still" else 1):
            for picture in shown:
                frames = [fitted(picture)] if what == "still" else moving(picture)
                for number, frame in enumerate(frames):
                    said = [side(frame, new=number == 0) for side in sides]
                    if round_ or number >= WARM_UP:
                        for side, one in zip(sides, said, strict=True):
                            times[side.name].append(one)
        table(times, what)


if __name__ == "__main__":
    speed()
