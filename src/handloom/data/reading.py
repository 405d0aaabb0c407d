"""What the readers of foreign files share: a zip file read in place, and faults said in one line."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import IO, Final

from handloom.data.numpickle import quote
from handloom.errors import DataError, EnvironmentFault, HandloomError

AGAIN: Final = "delete the archive and fetch it again"
LEAVE_OUT: Final = "leave this sample out"
_LOCAL_HEADER_BYTES: Final = 30


class Zip:
    """An open zip file; a forked process opens it anew, for offsets are shared.

    Every method may raise DataError (the file is wrong) or EnvironmentFault (the disk is).
    """

    def __init__(self, path: Path) -> None:
        """Open the file at `path` and check its directory. Members are named below `top`, the whole file at first."""
        self.path, self.top = path, ""
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def names(self) -> list[str]:
        """Give the whole names of all members."""
        return list(self._zip.NameToInfo)

    def member(self, name: str, limit: int, where: str, remedy: str) -> IO[bytes]:
        """Open a member of at most `limit` bytes; a fault is said of `where`."""
        if self._pid != getpid():
            self._open()
        info = self._zip.NameToInfo.get(self.top + name)
        if info is None:
            raise DataError(f"{where}: {name} must be in the archive, got no such member; {remedy}")
        if info.file_size > limit:
            raise DataError(f"{where}: {name} must have at most {limit} bytes, got '{info.file_size}'; {remedy}")
        with faults(where, f"{name} is not readable", remedy):
            return self._zip.open(info)

    def read(self, name: str, limit: int, where: str, remedy: str) -> bytes:
        """Give the bytes of a member."""
        with faults(where, f"{name} is not readable", remedy), self.member(name, limit, where, remedy) as stream:
            return stream.read()

    def _open(self) -> None:
        with faults(str(self.path), "is not a whole zip file", AGAIN):
            if not self.path.is_file():
                raise DataError(f"{self.path}: must be a zip file, got no such file; fetch it or correct the path")
            self._zip = zipfile.ZipFile(self.path)
        self._pid = getpid()
        try:
            _check_directory(self.path, self._zip)
        except DataError:
            self.close()
            raise


@contextmanager
def faults(where: str, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever zipfile, zlib, pickle, json and Pillow raise on bad bytes into DataError: nearly anything.

    An OSError with an errno is the system's, and so an EnvironmentFault; Pillow's own carry none.
    """
    try:
        yield
    except HandloomError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {error}".replace("\n", " ")
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentFault(f"{where}: cannot be read, got '{got}'; check the disk and permissions") from error
        raise DataError(f"{where}: {what}, got '{got}'; {remedy}") from error


def _check_directory(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse what zipfile accepts: doubled names, overlapping members (before 3.11.8), encryption, odd packing."""
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
    seen: set[str] = set()
    for info, end in zip(infos, ends, strict=False):
        if info.filename in seen:
            fault = "is there twice"
        elif info.header_offset < 0 or info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > end:
            fault = "lies over another one"
        elif info.flag_bits & 1:
            fault = "is encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fault = f"has compression {info.compress_type}"
        else:
            seen.add(info.filename)
            continue
        raise DataError(f"{path}: a member {fault}, got {quote(info.filename)}; {AGAIN}")
