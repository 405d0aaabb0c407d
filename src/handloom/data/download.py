"""Fetches large files over bad networks: a verified file or none.

    RHD.zip             appears whole and verified, or not at all
    RHD.zip.part        the bytes so far; another process, later, goes on from here
    RHD.zip.part.json   which version of which file they are the start of
    RHD.zip.lock        held while fetching, so that two processes do not write the same part
    RHD.zip.sha256      for a file whose sha256 nobody published: what the first one had, for `sha256sum -c` too

A resumed download asks with `If-Range`, so a file that changed on the server comes anew instead of being spliced.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from handloom import files
from handloom.errors import DataError, EnvironmentFault, ParamsError

PAUSES_S: Final = (1.0, 4.0, 15.0, 60.0)
"""Seconds to wait after each failure in a row, which a new byte starts anew; the failure after the last is the end."""
TIMEOUT_S: Final = (15.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes of a stalled one."""
CHUNK_BYTES: Final = 1 << 16
"""A kill loses at most so much; 64 KiB costs no speed."""

_REMEDY: Final = "remove it and fetch it again, or correct what is pinned"


@dataclass(frozen=True)
class Remote:
    """A file on a server and what is known of it."""

    url: str
    """https; http is for this machine only."""
    size: int | None
    """Bytes, if known."""
    sha256: str | None
    """Hex digits, if published."""


@dataclass(frozen=True)
class _Origin:
    """What a part is the start of: the content of its .json."""

    url: str
    validator: str | None
    """The strong ETag, else the Last-Modified; without either a part is not resumed."""
    size: int | None


class _RetryError(Exception):
    """A fault that another try may cure, beside those of `requests`."""


_CURABLE: Final = (
    _RetryError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


def fetch(remote: Remote, path: Path) -> Path:
    """Give `path`, holding the remote file: as found there and verified without network, or fetched now.

    Raises DataError where bytes or size are not those pinned or recorded, EnvironmentFault where network or disk fail,
    ParamsError for an address that is neither https nor of this machine.
    """
    with _disk_faults(path):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                if not path.exists():
                    _download(remote, path)
                    return path
        _verify(remote, path, path)
    return path


def adopt(zip_path: Path, path: Path) -> Path:
    """Give `path`, holding the zip that the user already has: a hard link where the disk allows, else a whole copy.

    Raises DataError where it is missing or no zip, EnvironmentFault where the disk fails.
    """
    with _disk_faults(path):
        source = zip_path.resolve()
        if not source.is_file():
            raise DataError(f"{zip_path}: must be a zip file, got no such file; correct the path, or fetch the archive")
        if not zipfile.is_zipfile(source):
            raise DataError(f"{zip_path}: must be a zip file, got '{source.stat().st_size} other bytes'; fetch it anew")
        if path.exists() and path.samefile(source):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _link_or_copy(source, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one without hard links
        _check_space(target, source.stat().st_size)
        shutil.copyfile(source, target)
        _sync(target)


def _download(remote: Remote, path: Path) -> None:
    """Try until the part is whole, verify it, and give it its name."""
    if not _is_allowed(remote.url):
        raise ParamsError(f"{path}: its address must begin with https://, got '{remote.url}'; correct it")
    part = _beside(path, ".part")
    most = failures = 0
    with requests.Session() as session:
        session.hooks["response"].append(_check_redirect)
        while True:
            try:
                _try_once(session, remote, part)
                break
            except _CURABLE as error:
                fault = error
            except requests.RequestException as error:
                raise EnvironmentFault(
                    f"{remote.url}: cannot be fetched, got '{error}'; correct the address"
                ) from error
            if _length(part) > most:
                most, failures = _length(part), 0
            if failures == len(PAUSES_S):
                what = f"must come within {failures + 1} tries, got '{fault}' at byte {_length(part)}"
                raise EnvironmentFault(f"{remote.url}: {what}; check the network and run again: it goes on from there")
            time.sleep(PAUSES_S[failures])
            failures += 1
    try:
        _verify(remote, part, path)
    except DataError:
        _discard(part)
        raise
    part.replace(path)
    _beside(part, ".json").unlink(missing_ok=True)


def _try_once(session: requests.Session, remote: Remote, part: Path) -> None:
    """Ask for what the part lacks and append it; raises _RetryError where it stays incomplete."""
    origin = _read_origin(part, remote.url)
    offset = _length(part) if origin else 0
    headers = {"Accept-Encoding": "identity"}
    if origin and offset:
        if offset == origin.size:
            return
        headers |= {"Range": f"bytes={offset}-", "If-Range": origin.validator or ""}
    with session.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == 416 and offset:
            _discard(part)
            raise _RetryError("HTTP 416")
        _check_answer(answer)
        if answer.status_code == 206:
            size = _check_range(answer, part, offset, origin)
        else:
            said = answer.headers.get("Content-Length", "")
            offset, size = 0, int(said) if said.isdecimal() else None
        expected = _check_size(remote, size)
        if offset == 0:
            _discard(part)
            files.write(_beside(part, ".json"), json.dumps(asdict(_Origin(remote.url, _validator(answer), expected))))
        if expected is not None:
            _check_space(part, expected - offset)
        _pour(answer, part, offset, expected)


def _pour(answer: requests.Response, part: Path, offset: int, expected: int | None) -> None:
    """Append the body to the part, in sight of the user, and see that it ends where it must."""
    name = part.name.removesuffix(".part")
    with (
        part.open("ab") as file,
        tqdm(
            total=expected, initial=offset, desc=name, unit="B", unit_scale=True, file=sys.stderr, disable=None
        ) as bar,
    ):
        for chunk in answer.iter_content(CHUNK_BYTES):
            offset += len(chunk)
            if expected is not None and offset > expected:
                _discard(part)
                raise DataError(f"{answer.url}: must have {expected} bytes, got '{offset} and more'; {_REMEDY}")
            file.write(chunk)
            bar.update(len(chunk))
    if expected is not None and offset < expected:
        raise _RetryError(f"the end after {offset} of {expected} bytes")
    _sync(part)


def _check_answer(answer: requests.Response) -> None:
    """Refuse whatever is not the file: errors, pages that stand for it, compressed forms of it."""
    if answer.status_code >= 500 or answer.status_code in (408, 429):
        raise _RetryError(f"HTTP {answer.status_code}")
    if answer.status_code not in (200, 206):
        what = "must answer with the file"
        raise EnvironmentFault(f"{answer.url}: {what}, got 'HTTP {answer.status_code}'; correct the address")
    if (kind := answer.headers.get("Content-Type", "")).lower().startswith("text/html"):
        what = "must answer with the file and not with a page"
        raise DataError(f"{answer.url}: {what}, got '{kind}'; open it in a browser to see what it asks for")
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise DataError(f"{answer.url}: must come as it is, got '{encoding}'; fetch it with another tool and adopt it")


def _check_range(answer: requests.Response, part: Path, offset: int, origin: _Origin | None) -> int | None:
    """Give the whole file's size, if said; start anew where the bytes do not continue ours."""
    said = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
    validators = {answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
    if match and int(match[1]) == offset and origin and (not validators or origin.validator in validators):
        size = origin.size if match[2] == "*" else int(match[2])
        if origin.size in (None, size):
            return size
    _discard(part)
    raise _RetryError(f"Content-Range {said} for byte {offset}")


def _check_size(remote: Remote, size: int | None) -> int | None:
    """Give the size to expect; some check must remain, or a cut file would pass for a whole one."""
    if size is None and remote.size is None and remote.sha256 is None:
        raise DataError(f"{remote.url}: must say its size, got no Content-Length; pin its size or sha256")
    if None not in (size, remote.size) and size != remote.size:
        raise DataError(
            f"{remote.url}: must have {remote.size} bytes, got '{size}'; correct the address or the pinned size"
        )
    return size if remote.size is None else remote.size


def _check_space(path: Path, needed: int) -> None:
    if (free := shutil.disk_usage(path.parent).free) < needed:
        raise EnvironmentFault(f"{path.parent}: must have {needed} bytes free, got '{free}'; free some space")


def _check_redirect(answer: requests.Response, *_: object, **__: object) -> None:
    """Follow no redirect to another scheme, least of all from https to http."""
    if not answer.is_redirect:
        return
    target = urljoin(answer.url, answer.headers["Location"])
    if not _is_allowed(target) or (urlsplit(answer.url).scheme, urlsplit(target).scheme) == ("https", "http"):
        answer.close()
        what = "must not redirect to another scheme"
        raise EnvironmentFault(f"{answer.url}: {what}, got '{target}'; correct the address or try another network")


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme == "https" or (
            parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
        )
    except ValueError:  # a malformed address, or a host that is a name
        return False


def _verify(remote: Remote, file: Path, path: Path) -> None:
    """Hold `file`, which is or becomes `path`, to what is pinned, else to what the first one had, else record it."""
    size = file.stat().st_size
    if remote.size not in (None, size):
        raise DataError(f"{path}: must have {remote.size} bytes, got '{size}'; {_REMEDY}")
    record = _beside(path, ".sha256")
    expected = remote.sha256 or (record.read_text(errors="replace").partition(" ")[0] if record.exists() else None)
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if expected is None:
        files.write(record, f"{found}  {path.name}\n")
    elif found != expected.strip().lower():
        raise DataError(f"{path}: must have sha256 {expected.strip()}, got '{found}'; {_REMEDY}")


def _validator(answer: requests.Response) -> str | None:
    """Give what `If-Range` may hold: a strong ETag, else the date."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _read_origin(part: Path, url: str) -> _Origin | None:
    """Give what the part is the start of, if it can be continued from this address."""
    try:
        origin = _Origin(**json.loads(_beside(part, ".json").read_text()))
        fits = origin.url == url and isinstance(origin.validator, str) and _length(part) <= (origin.size or sys.maxsize)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return origin if fits else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _beside(path, ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"{path}: another process is fetching it; waiting", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot be written or read, got '{error.strerror or error}'"
        raise EnvironmentFault(f"{path}: {what}; check the disk's space and rights") from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part, ".json").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
