"""Where pictures come from and videos go to: files, folders, globs, video files, a camera. A picture is RGB."""

import glob
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np

from handloom import images
from handloom.errors import DataError, EnvironmentFault, ParamsError
from handloom.images import Picture

PICTURE_SUFFIXES: Final = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
VIDEO_SUFFIXES: Final = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"])
CAMERA: Final = "camera:"
"""`camera:0` is the first camera."""


@dataclass(frozen=True)
class Source:
    """One picture, video or camera."""

    name: str
    """Its path below the folder that all sources share; or `camera-N`."""
    path: Path | None
    camera: int | None = None

    @property
    def moves(self) -> bool:
        """Whether it is a video or a camera."""
        return self.path is None or self.path.suffix.lower() in VIDEO_SUFFIXES

    def __str__(self) -> str:
        return str(self.path or self.name)


def find(words: Sequence[str]) -> list[Source]:
    """Give what a person names: files as they are, all pictures and videos of folders and of globs, cameras.

    Raises ParamsError where a word names nothing.
    """
    cameras = [_camera(word) for word in words if word.startswith(CAMERA)]
    paths = {path: None for word in words if not word.startswith(CAMERA) for path in _paths(word)}
    if not paths:
        return cameras
    absolute = [path.absolute() for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in absolute]))
    return [Source(str(a.relative_to(shared)), path) for path, a in zip(paths, absolute, strict=True)] + cameras


def _camera(word: str) -> Source:
    number = word.removeprefix(CAMERA)
    if not number.isdecimal():
        raise ParamsError(f"input: no camera's number, got '{word}'; the first one is {CAMERA}0")
    return Source(f"camera-{number}", None, int(number))


def _paths(word: str) -> list[Path]:
    path = Path(word)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(inner for inner in path.rglob("*") if _is_media(inner))
    else:
        matches = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = sorted(path for path in map(Path, matches) if _is_media(path))
    if not found:
        known = " ".join(sorted(PICTURE_SUFFIXES | VIDEO_SUFFIXES))
        raise ParamsError(f"input: no picture or video there, got '{word}'; known are {known}")
    return found


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES and path.is_file()


class Frame(NamedTuple):
    """One picture of a source that moves."""

    picture: Picture
    seconds: float
    """Since its beginning."""


class Video:
    """The frames of a video file or a camera; close it, or use it in a with-block."""

    def __init__(self, source: Source) -> None:
        """Open it; raises DataError for a file, EnvironmentFault for a camera."""
        self.source = source
        os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # its warnings would stand between our lines
        self._capture = cv2.VideoCapture(str(source.path)) if source.path else cv2.VideoCapture(source.camera or 0)
        if not self._capture.isOpened():
            if source.path is None:
                raise EnvironmentFault(f"{source.name}: no such camera, or it is in use; try another number")
            raise DataError(f"{source.path}: not a readable video; replace it")

    @property
    def rate(self) -> float:
        """Frames per second, 30 where the file does not say."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 1 <= rate <= 1000 else 30.0

    @property
    def num_frames(self) -> int | None:
        """How many frames the file says it has; None for a camera."""
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return count if self.source.path and count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        begun = time.monotonic()
        number = 0
        while True:
            there, picture = self._capture.read()
            if not there:
                break
            seconds = time.monotonic() - begun if self.source.path is None else number / self.rate
            yield Frame(np.ascontiguousarray(picture[..., ::-1]), seconds)
            number += 1
        if number == 0:
            raise DataError(f"{self.source}: holds no readable frame; replace it")

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()


class Write(Protocol):
    """Takes the next frame."""

    def __call__(self, picture: Picture) -> None:
        """Append a picture."""


@contextmanager
def written(path: Path, rate: float) -> Iterator[Write]:
    """Write a video, whole when the with-block ends well; a file that no picture came to is not made."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: list[cv2.VideoWriter] = []

    def write(picture: Picture) -> None:
        if not writer:
            height, width = picture.shape[:2]
            writer.append(cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height)))
            if not writer[0].isOpened():
                raise EnvironmentFault(f"{path}: cannot be written as video; choose another folder")
        writer[0].write(np.ascontiguousarray(picture[..., ::-1]))

    try:
        yield write
        if writer:
            writer[0].release()
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def picture_of(source: Source) -> Picture:
    """Give a picture file; raises DataError."""
    assert source.path is not None
    return images.read(source.path)
