"""Where pictures come from and videos go to: files, folders, globs, video files, a camera. A picture is RGB."""

import glob
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
from cv2.utils import logging as cv2_logging

from handloom import images
from handloom.errors import DataError, EnvironmentFault, HandloomError, ParamsError
from handloom.files import PICTURE_SUFFIXES
from handloom.images import Picture

VIDEO_SUFFIXES: Final = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"])
WRITTEN: Final = ("overlays", "masks")
"""Folders below that of the results that hold pictures and videos: they are no inputs."""
CAMERA: Final = "camera:"
"""`camera:0` is the first camera."""


# both would write lines of their own between ours
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)


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


def find(words: Sequence[str], leave_out: Sequence[Path] = ()) -> list[Source]:
    """Give what a person names, each once: files as they are, all pictures and videos of folders and globs, cameras.

    Folders and globs give nothing that is hidden or lies in a folder of `leave_out`, where results go. Raises
    ParamsError where a word names nothing.
    """
    skipped = [Path(os.path.abspath(folder)) for folder in leave_out]  # noqa: PTH100 - `absolute` keeps `..`
    cameras = {_camera(word): None for word in words if word.startswith(CAMERA)}
    real: dict[Path, Path] = {}  # a link to a folder above shows everything again and again
    for word in words:
        for path in [] if word.startswith(CAMERA) else _paths(word, skipped):
            real.setdefault(path.resolve(), path)
    if not real:
        return list(cameras)
    found = {Path(os.path.abspath(path)): path for path in real.values()}  # noqa: PTH100
    shared = Path(os.path.commonpath([whole.parent for whole in found]))
    return [Source(str(whole.relative_to(shared)), path) for whole, path in found.items()] + list(cameras)


def _camera(word: str) -> Source:
    number = word.removeprefix(CAMERA)
    if not number.isdecimal() or len(number) > 2:
        raise ParamsError(f"input: no camera's number, got '{word}'; the first one is {CAMERA}0")
    return Source(f"camera-{int(number)}", None, int(number))


def _paths(word: str, skipped: Sequence[Path]) -> list[Path]:
    path = Path(word)
    try:
        is_file, exists = path.is_file(), path.exists()
    except OSError as error:  # a name that is too long, a folder that others may not look into
        raise ParamsError(f"input: cannot be looked at, got '{error.strerror}'; check {word[:60]}") from None
    if is_file:
        return [path]
    if not exists and not glob.has_magic(word):
        raise ParamsError(f"input: no such file or folder, got '{word}'; check the path")
    pattern = f"{glob.escape(word)}/**/*" if path.is_dir() else word
    root = path if path.is_dir() else Path(re.split(r"[*?[]", word, maxsplit=1)[0] + "_").parent
    found = map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    media = sorted(each for each in found if _is_media(each, root, skipped))
    if not media:
        known = " ".join(sorted(PICTURE_SUFFIXES | VIDEO_SUFFIXES))
        raise ParamsError(f"input: no picture or video there, got '{word}'; known are {known}")
    return media


def _is_media(path: Path, root: Path, skipped: Sequence[Path]) -> bool:
    below = path.relative_to(root) if path.is_relative_to(root) else path
    hidden = any(part.startswith(".") and part not in (".", "..") for part in below.parts)
    taken = any(Path(os.path.abspath(path)).is_relative_to(folder) for folder in skipped)  # noqa: PTH100
    return path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES and not hidden and not taken and path.is_file()


MAX_RATE: Final = 240.0
"""Frames a second; a file that says more gives its clock's rate."""


def _check_name(path: Path | None) -> None:
    """Raise DataError for a name that is no UTF-8: OpenCV ends the process there."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise DataError(f"{shown}: a video's name must be UTF-8, got other bytes; rename it") from None


class Frame(NamedTuple):
    """One picture of a source that moves."""

    picture: Picture
    seconds: float
    """Since its beginning."""


class Video:
    """The frames of a video file or a camera, in a with-block."""

    def __init__(self, source: Source) -> None:
        """Open it; raises DataError for a file, EnvironmentFault for a camera."""
        self.source = source
        _check_name(source.path)
        # of a relative path, FFmpeg takes what stands before a colon for a protocol
        self._capture = cv2.VideoCapture(os.path.abspath(source.path) if source.path else source.camera or 0)  # noqa: PTH100
        if not self._capture.isOpened():
            raise self._fault("not there or in use", "try another number", "not a readable video", "replace it")

    def _fault(self, camera: str, then: str, file: str, replace: str) -> HandloomError:
        if self.source.path is None:
            return EnvironmentFault(f"{self.source.name}: {camera}, got no picture; {then}")
        return DataError(f"{self.source.path}: {file}, got no frame; {replace}")

    @property
    def rate(self) -> float:
        """Frames per second, 30 where the file does not say, or gives that of its clock."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 1 <= rate <= MAX_RATE else 30.0

    @property
    def num_frames(self) -> int | None:
        """How many frames the file says it has, or its length times its rate; None for a camera."""
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return count if self.source.path and count > 0 else None

    @property
    def _length(self) -> float:
        """Seconds that the file says it lasts, 0 where it does not say."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return (self.num_frames or 0) / rate if rate > 0 else 0.0

    def __iter__(self) -> Iterator[Frame]:
        begun = time.monotonic()
        count, last = 0, -1.0
        while True:
            there, picture = self._capture.read()
            if not there:
                break
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self.source.path else time.monotonic() - begun
            # a file without stamps says 0 for every frame
            last = stamp if stamp > last else last + 1 / self.rate
            yield Frame(np.ascontiguousarray(picture[..., ::-1]), last)
            count += 1
        if not count or not self.source.path:  # a camera does not end
            raise self._fault("gives nothing", "see that no other program has it", "not a readable video", "replace it")
        # by time: some containers know no number of frames, and their rate need not be steady
        if (lasted := last + 1 / self.rate) < 0.9 * self._length:
            what = f"'{lasted:.1f} of {self._length:.1f} s'"
            raise DataError(f"{self.source}: damaged, got {what}; what came before it is done")

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()


class Write(Protocol):
    """Takes the next frame."""

    def __call__(self, picture: Picture, seconds: float) -> None:
        """Show a picture from `seconds` on."""


@contextmanager
def written(path: Path, rate: float) -> Iterator[Write]:
    """Write a video of a steady rate, whole when the with-block ends well; without a picture there is no file.

    Raises DataError where no video can be made of such pictures, EnvironmentFault where the disk fails.
    """
    rate = round(rate, 2) if rate <= 60 else round(rate)  # MPEG-4 counts time in at most 1 / 65535 s
    _check_name(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: list[cv2.VideoWriter] = []
    count = 0

    def write(picture: Picture, seconds: float) -> None:
        nonlocal count
        even = np.pad(picture, [(0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)], mode="edge")
        if not writer:
            height, width = even.shape[:2]
            writer.append(cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height)))
            if not writer[0].isOpened():
                writer.pop()
                raise DataError(f"{path}: no video can be made of it, got '{width}x{height}'; use --no-overlays")
        while count <= seconds * rate + 0.01:  # a camera's frames come as they like
            writer[0].write(np.ascontiguousarray(even[..., ::-1]))
            count += 1

    try:
        yield write
        if writer:
            writer[0].release()
            with Video(Source(path.name, part)) as made:
                if made.num_frames != count:
                    raise EnvironmentFault(
                        f"{path}: not written whole, got '{made.num_frames} of {count} frames'; free some space"
                    )
            part.replace(path)
    finally:
        for each in writer:
            each.release()
        part.unlink(missing_ok=True)


def picture_of(source: Source) -> Picture:
    """Give a picture file; raises DataError."""
    assert source.path is not None
    return images.read(source.path)
