"""Whole files or none, and the hashes that DVC gives them."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from handloom.errors import DataError, EnvironmentFault

PICTURE_SUFFIXES: Final = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what a disk refuses within the with-block into EnvironmentFault, a name that is too long into DataError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{path}: no name for a file, got '{error.strerror}'; shorten it") from None
        raise EnvironmentFault(
            f"{path}: cannot be written, got '{error.strerror or error}'; free some space or rights"
        ) from None


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that a kill or a full disk leaves either the old file or the new one, whole.

    Raises EnvironmentFault where the disk refuses.
    """
    data = content.encode() if isinstance(content, str) else content
    short = hashlib.md5(os.fsencode(path.name)).hexdigest()[:12]  # the name itself may be as long as names can be
    temporary = path.with_name(f".{short}.{os.getpid()}.part")
    try:
        with disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` when the with-block ends well; else all stays as it was.

    Raises EnvironmentFault where the disk refuses.
    """
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    with disk(folder):
        if old.exists() and not folder.exists():
            old.replace(folder)  # a process was killed between the two names
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            if folder.exists():
                folder.replace(old)
            try:
                part.replace(folder)
            except OSError:
                if old.exists():
                    old.replace(folder)
                raise
        finally:
            for leftover in (part, old):
                shutil.rmtree(leftover, ignore_errors=True)


def dvc_hash(path: Path) -> str:
    """Give the hash that `dvc.lock` holds for a file or a folder.

    A file's is its md5. A folder's is the md5 of the JSON listing of its files in order of path, and `.dir`.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not path.is_dir():
        raise DataError(f"{path}: a dependency that is not there, got nothing; run `dvc repro`")
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    listing = [{"md5": dvc_hash(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"
