"""A real server on this machine that misbehaves in every way found, and a file that is whole or is not there."""

import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handloom.data import download
from handloom.data.download import Remote, adopt, fetch
from handloom.errors import DataError, EnvironmentFault, ParamsError

BODY = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
Behaviour = Callable[["Handler"], None]


class Site(ThreadingHTTPServer):
    """Serves `body` in the way of each behaviour in turn, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, '"one"'
        self.behaviours: list[Behaviour] = [ranged]
        self.asked: list[str] = []
        self.identity: list[str | None] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/RHD.zip"


class Handler(BaseHTTPRequestHandler):
    """Answers one GET."""

    server: Site

    def do_GET(self) -> None:
        behaviours = self.server.behaviours
        self.server.asked.append(self.headers.get("Range", "all"))
        self.server.identity.append(self.headers.get("Accept-Encoding"))
        self.close_connection = True
        with suppress(ConnectionError):  # the client may stop reading
            (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def start_of(handler: Handler) -> int:
    """Give the first byte that is asked for, 0 where the part is of another version."""
    if handler.headers.get("If-Range") not in (None, handler.server.etag):
        return 0
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def head_from(handler: Handler, start: int) -> None:
    size, etag = len(handler.server.body), handler.server.etag
    if start:
        handler.head(206, ETag=etag, Content_Length=size - start, Content_Range=f"bytes {start}-{size - 1}/{size}")
    else:
        handler.head(200, ETag=etag, Content_Length=size)


def ranged(handler: Handler) -> None:
    head_from(handler, start := start_of(handler))
    handler.wfile.write(handler.server.body[start:])


def without_ranges(handler: Handler) -> None:
    head_from(handler, 0)
    handler.wfile.write(handler.server.body)


def cut_at(end: int) -> Behaviour:
    def behave(handler: Handler) -> None:
        head_from(handler, start := start_of(handler))
        handler.wfile.write(handler.server.body[start:end])

    return behave


def stall_at(end: int) -> Behaviour:
    def behave(handler: Handler) -> None:
        cut_at(end)(handler)
        handler.wfile.flush()
        handler.server.released.wait(20)

    return behave


def status(code: int, **headers: object) -> Behaviour:
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def page(handler: Handler) -> None:
    handler.head(200, Content_Type="text/html; charset=utf-8", Content_Length=len(handler.server.body))
    handler.wfile.write(handler.server.body)


def gzipped(handler: Handler) -> None:
    handler.head(200, Content_Encoding="gzip", Content_Length=len(handler.server.body))


def without_length(handler: Handler) -> None:
    handler.head(200)
    handler.wfile.write(handler.server.body)


def wrong_range(form: str, **headers: object) -> Behaviour:
    def behave(handler: Handler) -> None:
        start, size = start_of(handler), len(handler.server.body)
        assert start, "asked without Range"
        said = form.format(start=start, end=size - 1, size=size)
        handler.head(206, Content_Length=size - start, Content_Range=said, **headers)
        handler.wfile.write(handler.server.body[start:])

    return behave


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "RHD.zip"


def pinned(site: Site, size: int | None = len(BODY), sha256: str | None = SHA256) -> Remote:
    return Remote(site.url, size, sha256)


def left_beside(path: Path) -> set[str]:
    return {file.name.removeprefix(path.name) for file in path.parent.iterdir()}


def begin(site: Site, path: Path, end: int = 400_000) -> None:
    """Leave a part of `end` bytes behind."""
    site.behaviours, kept = [cut_at(end), status(503)], site.behaviours
    with pytest.raises(EnvironmentFault):
        fetch(pinned(site), path)
    assert left_beside(path) == {".part", ".part.json", ".lock"}
    site.behaviours = kept
    site.asked.clear()


def part_of(path: Path) -> int:
    return path.with_name(path.name + ".part").stat().st_size


# A whole file


def test_a_file_comes_whole_and_is_not_fetched_again(site: Site, path: Path) -> None:
    assert fetch(pinned(site), path) == path
    assert path.read_bytes() == BODY
    assert left_beside(path) == {"", ".lock"}
    assert site.identity == ["identity"]
    fetch(pinned(site), path)
    fetch(Remote("https://example.invalid/", len(BODY), SHA256.upper()), path)
    assert site.asked == ["all"]


def test_an_unknown_sha256_is_recorded_and_compared_ever_after(site: Site, path: Path) -> None:
    fetch(pinned(site, sha256=None), path)
    record = path.with_name("RHD.zip.sha256")
    assert record.read_text() == f"{SHA256}  RHD.zip\n"
    fetch(pinned(site, sha256=None), path)
    path.unlink()
    site.body = other = BODY[:-1] + b"\0"
    with pytest.raises(DataError) as caught:
        fetch(pinned(site, sha256=None), path)
    found = hashlib.sha256(other).hexdigest()
    remedy = "remove it and fetch it again, or correct what is pinned"
    assert str(caught.value) == f"{path}: must have sha256 {SHA256}, got '{found}'; {remedy}"
    assert left_beside(path) == {".lock", ".sha256"}
    path.write_bytes(other)
    with pytest.raises(DataError, match="must have sha256"):
        fetch(pinned(site, sha256=None), path)
    assert path.read_bytes() == other, "a file of the user's is never removed"


@pytest.mark.parametrize(
    ("size", "sha256", "what"), [(7, None, "7 bytes, got '1000000'"), (None, "0" * 64, "sha256 0000")]
)
def test_a_file_that_is_there_and_does_not_fit(
    site: Site, path: Path, size: int | None, sha256: str | None, what: str
) -> None:
    path.parent.mkdir()
    path.write_bytes(BODY)
    with pytest.raises(DataError, match=f"RHD.zip: must have {what}"):
        fetch(pinned(site, size, sha256), path)
    assert path.read_bytes() == BODY
    assert not site.asked


@pytest.mark.parametrize("behaviour", [ranged, without_ranges, without_length])
def test_size_unpinned(site: Site, path: Path, behaviour: Behaviour) -> None:
    site.behaviours = [behaviour]
    assert fetch(pinned(site, size=None), path).read_bytes() == BODY


def test_an_empty_file_is_a_file(site: Site, path: Path) -> None:
    site.body = b""
    assert fetch(pinned(site, 0, None), path).read_bytes() == b""


def test_two_at_once_fetch_once(site: Site, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site.behaviours = [stall_at(500_000), ranged]
    both = [threading.Thread(target=fetch, args=(pinned(site), path)) for _ in range(2)]
    for thread in both:
        thread.start()
    waited = ""
    for _ in range(500):
        if "another process" in (waited := waited + capfd.readouterr().err):
            break
        time.sleep(0.01)
    site.released.set()
    for thread in both:
        thread.join(20)
    assert waited.strip() == f"{path}: another process is fetching it; waiting"
    assert path.read_bytes() == BODY
    assert [asked == "all" for asked in site.asked] == [True, False]


# Resuming


@pytest.mark.parametrize("behaviour", [ranged, without_ranges])
def test_a_cut_download_goes_on(site: Site, path: Path, behaviour: Behaviour) -> None:
    site.behaviours = [cut_at(300_000), behaviour]
    assert fetch(pinned(site), path).read_bytes() == BODY
    first, second = site.asked
    assert first == "all"
    assert 300_000 - download.CHUNK_BYTES <= int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000


def test_many_cuts_are_forgiven_while_bytes_come(site: Site, path: Path) -> None:
    site.behaviours = [*(cut_at(end) for end in range(100_000, 1_000_000, 100_000)), ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert len(site.asked) == 10


def test_cuts_at_one_place_are_not(site: Site, path: Path) -> None:
    site.behaviours = [cut_at(300_000)]
    with pytest.raises(EnvironmentFault) as caught:
        fetch(pinned(site), path)
    assert str(caught.value).startswith(f"{site.url}: must come within 4 tries, got '")
    assert str(caught.value).endswith("; check the network and run again: it goes on from there")
    assert not path.exists()


def test_a_server_without_ranges_that_cuts_is_given_up(site: Site, path: Path) -> None:
    def behave(handler: Handler) -> None:
        head_from(handler, 0)
        handler.wfile.write(handler.server.body[:300_000])

    site.behaviours = [behave]
    with pytest.raises(EnvironmentFault, match="must come within 4 tries"):
        fetch(pinned(site), path)
    assert len(site.asked) == 4


def test_another_call_resumes(site: Site, path: Path) -> None:
    begin(site, path)
    start = part_of(path)
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked == [f"bytes={start}-"]
    assert left_beside(path) == {"", ".lock"}


def test_a_whole_part_needs_no_network(site: Site, path: Path) -> None:
    begin(site, path)
    path.with_name("RHD.zip.part").write_bytes(BODY)
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert not site.asked


@pytest.mark.parametrize(
    "sidecar",
    [
        "",
        "[]",
        "{}",
        '{"url": "URL", "validator": "x", "size": "y"}',
        '{"url": 1, "validator": 2, "size": 3}',
        '{"url": "URL", "validator": null, "size": null}',
    ],
)
def test_a_part_of_unknown_origin_is_not_resumed(site: Site, path: Path, sidecar: str) -> None:
    begin(site, path)
    path.with_name("RHD.zip.part.json").write_text(sidecar.replace("URL", site.url))
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked == ["all"]


def test_a_part_from_another_address_is_not_resumed(site: Site, path: Path) -> None:
    begin(site, path)
    assert fetch(Remote(site.url + "?2", len(BODY), SHA256), path).read_bytes() == BODY
    assert site.asked == ["all"]


def test_a_file_that_changed_is_fetched_anew(site: Site, path: Path) -> None:
    begin(site, path)
    site.body, site.etag = BODY[::-1], '"two"'
    fetch(pinned(site, sha256=None), path)
    assert path.read_bytes() == BODY[::-1]
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("form", "etag"),
    [
        ("bytes {start}-{end}/{size}", '"two"'),
        ("bytes 0-{end}/{size}", '"one"'),
        ("bytes {start}-{end}/12345", '"one"'),
        ("nonsense", '"one"'),
    ],
)
def test_a_continuation_that_is_none_is_not_appended(site: Site, path: Path, form: str, etag: str) -> None:
    begin(site, path)
    site.behaviours = [wrong_range(form, ETag=etag), ranged]
    start = part_of(path)
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked == [f"bytes={start}-", "all"]


@pytest.mark.parametrize("form", ["bytes {start}-{end}/{size}", "bytes {start}-{end}/*"])
def test_a_continuation_need_not_repeat_the_etag(site: Site, path: Path, form: str) -> None:
    begin(site, path)
    site.behaviours = [wrong_range(form)]
    assert fetch(pinned(site, None, None), path).read_bytes() == BODY
    assert len(site.asked) == 1


def test_a_weak_etag_is_not_asked_with(site: Site, path: Path) -> None:
    site.etag = 'W/"one"'
    begin(site, path)
    assert json.loads(path.with_name("RHD.zip.part.json").read_text()) == {
        "url": site.url,
        "validator": None,
        "size": len(BODY),
    }
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked == ["all"]


def test_416_starts_anew_once(site: Site, path: Path) -> None:
    begin(site, path)
    site.behaviours = [status(416), ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked[1:] == ["all"]


def test_416_for_ever_is_an_end(site: Site, path: Path) -> None:
    begin(site, path)
    site.behaviours = [status(416)]
    with pytest.raises(EnvironmentFault, match="must answer with the file, got 'HTTP 416'"):
        fetch(pinned(site), path)
    assert len(site.asked) == 2


def test_a_killed_process_loses_almost_nothing(site: Site, path: Path) -> None:
    site.behaviours = [stall_at(800_000), ranged]
    program = (
        "import sys; from pathlib import Path; from handloom.data.download import Remote, fetch; "
        "fetch(Remote(sys.argv[1], int(sys.argv[2]), sys.argv[3]), Path(sys.argv[4]))"
    )
    command = [sys.executable, "-c", program, site.url, str(len(BODY)), SHA256, str(path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        part, least = path.with_name("RHD.zip.part"), 800_000 - 2 * download.CHUNK_BYTES
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= least):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    start = part_of(path)
    assert start >= least
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked == ["all", f"bytes={start}-"]


@pytest.mark.slow
def test_twenty_kills_at_random_moments(site: Site, path: Path) -> None:
    """40 MB at 25 MB a second: after every kill no file, or the whole one; what is fetched again is under 8 MiB."""
    site.body = np.random.default_rng(1).bytes(40_000_000)
    sent: list[tuple[int, int]] = []
    """First and last byte of every answer."""

    def slow(handler: Handler) -> None:
        head_from(handler, start := start_of(handler))
        sent.append((start, start))
        for place in range(start, len(site.body), 1 << 18):
            handler.wfile.write(site.body[place : place + (1 << 18)])
            sent[-1] = start, place + (1 << 18)
            time.sleep(0.01)

    site.behaviours = [slow]
    remote = Remote(site.url, len(site.body), hashlib.sha256(site.body).hexdigest())
    program = (
        "import sys; from pathlib import Path; from handloom.data.download import Remote, fetch; "
        "print('ready', flush=True); "
        "fetch(Remote(sys.argv[1], int(sys.argv[2]), sys.argv[3]), Path(sys.argv[4]))"
    )
    command = [sys.executable, "-c", program, remote.url, str(remote.size), str(remote.sha256), str(path)]
    draw = random.Random(5)
    for _ in range(20):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.2))
            process.kill()
        assert not path.exists() or path.read_bytes() == site.body
    assert fetch(remote, path).read_bytes() == site.body
    again = [end - start for (_, end), (start, _) in pairwise(sent)]
    assert len(sent) >= 10
    assert max(again) <= 8 * 2**20, again


BEHAVIOURS: dict[str, Behaviour] = {
    "ranged": ranged,
    "without ranges": without_ranges,
    "without a length": without_length,
    "page": page,
    "gzip": gzipped,
    "busy": status(503),
    "missing": status(404),
    "416": status(416),
    "cut early": cut_at(10_000),
    "cut late": cut_at(700_000),
    "nothing": cut_at(0),
    "elsewhere": status(302, Location="ftp://127.0.0.1/RHD.zip"),
    "another etag": lambda handler: (setattr(handler.server, "etag", '"two"'), cut_at(600_000)(handler))[0],
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=8), calls=st.integers(1, 3))
def test_whatever_a_server_does_the_file_is_whole_or_not_there(
    site: Site, path: Path, names: list[str], calls: int
) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)
    site.behaviours, site.etag = [BEHAVIOURS[name] for name in names], '"one"'
    for _ in range(calls):
        with suppress(DataError, EnvironmentFault):
            fetch(pinned(site), path)
        assert not path.exists() or path.read_bytes() == BODY
    site.behaviours = [ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY


def test_progress_is_shown_on_a_terminal(site: Site, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(site, path)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(pinned(site), path)
    first, last = terminal.getvalue().split("\r")[1], terminal.getvalue().split("\r")[-1]
    assert first.startswith("RHD.zip:  39%")
    assert last.startswith("RHD.zip: 100%")
    assert "1.00M/1.00M" in last
    assert "B/s" in last


# A network or a server that is not well


def test_busy_then_fine(site: Site, path: Path) -> None:
    site.behaviours = [status(503), status(429), status(500), ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY


def test_busy_for_ever(site: Site, path: Path) -> None:
    site.behaviours = [status(503)]
    with pytest.raises(EnvironmentFault) as caught:
        fetch(pinned(site), path)
    remedy = "check the network and run again: it goes on from there"
    assert str(caught.value) == f"{site.url}: must come within 4 tries, got 'HTTP 503' at byte 0; {remedy}"
    assert len(site.asked) == 4


def test_a_stall_is_cut_and_resumed(site: Site, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", (5.0, 0.2))
    site.behaviours = [stall_at(500_000), ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert len(site.asked) == 2


def test_nobody_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES_S", (0.0,))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(EnvironmentFault, match=r"must come within 2 tries, got '.*refused"):
        fetch(Remote("http://127.0.0.1:9/x", 1, None), path)


def test_not_found_is_not_tried_again(site: Site, path: Path) -> None:
    site.behaviours = [status(404)]
    with pytest.raises(EnvironmentFault) as caught:
        fetch(pinned(site), path)
    assert str(caught.value) == f"{site.url}: must answer with the file, got 'HTTP 404'; correct the address"
    assert len(site.asked) == 1


# Wrong bytes


def test_wrong_bytes_of_the_right_size(site: Site, path: Path) -> None:
    site.body = bytes(len(BODY))
    with pytest.raises(DataError, match=f"must have sha256 {SHA256}, got "):
        fetch(pinned(site), path)
    assert left_beside(path) == {".lock"}


def test_another_size_is_refused_before_its_bytes(site: Site, path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(pinned(site, 999_999), path)
    remedy = "correct the address or the pinned size"
    assert str(caught.value) == f"{site.url}: must have 999999 bytes, got '1000000'; {remedy}"
    assert left_beside(path) == {".lock"}


def test_more_bytes_than_pinned_are_not_read_to_the_end(site: Site, path: Path) -> None:
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.head(200)
        while sent < 1 << 30:
            sent += handler.wfile.write(bytes(1 << 16))

    site.behaviours = [endless]
    with pytest.raises(DataError, match=f"^{site.url}: must have 1000000 bytes, got '10[0-9]+ and more'; remove it"):
        fetch(pinned(site), path)
    assert sent < 1 << 26
    assert left_beside(path) == {".lock"}


def test_fewer_bytes_than_pinned_without_a_length(site: Site, path: Path) -> None:
    site.behaviours, site.body = [without_length], BODY[:-1]
    with pytest.raises(EnvironmentFault, match="got 'the end after 999999 of 1000000 bytes'"):
        fetch(pinned(site), path)


def test_nothing_to_check_against(site: Site, path: Path) -> None:
    site.behaviours = [without_length]
    with pytest.raises(DataError, match="must say its size, got no Content-Length; pin its size or sha256"):
        fetch(pinned(site, None, None), path)


@pytest.mark.parametrize(("behaviour", "what"), [(page, "not with a page, got 'text/html"), (gzipped, "got 'gzip'")])
def test_a_page_or_an_encoded_answer_leaves_the_part_alone(
    site: Site, path: Path, behaviour: Behaviour, what: str
) -> None:
    begin(site, path)
    start = part_of(path)
    site.behaviours = [behaviour]
    with pytest.raises(DataError, match=what):
        fetch(pinned(site), path)
    assert part_of(path) == start
    assert len(site.asked) == 1


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/RHD.zip",
        "http://127.0.0.1.example.org/RHD.zip",
        "http://localhost@example.org/RHD.zip",
        "ftp://127.0.0.1/RHD.zip",
        "file:///etc/passwd",
        "RHD.zip",
        "http://[::1",
        "",
    ],
)
def test_addresses_that_are_not_allowed(path: Path, url: str) -> None:
    with pytest.raises(ParamsError) as caught:
        fetch(Remote(url, 1, None), path)
    assert str(caught.value) == f"{path}: its address must begin with https://, got '{url}'; correct it"


@pytest.mark.parametrize("target", ["http://example.org/RHD.zip", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirects_to_another_scheme_or_in_the_clear(site: Site, path: Path, target: str) -> None:
    site.behaviours = [status(302, Location=target)]
    with pytest.raises(EnvironmentFault) as caught:
        fetch(pinned(site), path)
    remedy = "correct the address or try another network"
    assert str(caught.value) == f"{site.url}: must not redirect to another scheme, got '{target}'; {remedy}"
    assert len(site.asked) == 1


def test_no_redirect_from_https_to_http_even_on_this_machine() -> None:
    answer = requests.Response()
    answer.status_code, answer.url, answer.raw = 302, "https://example.org/RHD.zip", io.BytesIO()
    answer.headers["Location"] = "http://127.0.0.1/RHD.zip"
    with pytest.raises(EnvironmentFault, match="must not redirect to another scheme"):
        download._check_redirect(answer)
    answer.headers["Location"] = "//other.example.org/RHD.zip"
    download._check_redirect(answer)


def test_a_redirect_on_the_same_server_is_followed_and_resumed(site: Site, path: Path) -> None:
    site.behaviours = [status(301, Location="/there"), cut_at(300_000), status(301, Location="/there"), ranged]
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert [asked == "all" for asked in site.asked] == [True, True, False, False]


# The disk


def test_too_little_space_is_said_before_a_byte_is_written(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(path.parent.parent)._replace(free=999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentFault) as caught:
        fetch(pinned(site), path)
    assert str(caught.value) == f"{path.parent}: must have 1000000 bytes free, got '999999'; free some space"
    assert not path.with_name("RHD.zip.part").exists()


def test_a_disk_that_refuses_in_the_middle_keeps_the_part(site: Site, path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(EnvironmentFault) as caught:
            fetch(pinned(site), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    remedy = "check the disk's space and rights"
    assert str(caught.value) == f"{path}: cannot be written or read, got 'File too large'; {remedy}"
    assert part_of(path) == 500_000
    assert fetch(pinned(site), path).read_bytes() == BODY
    assert site.asked[1:] == ["bytes=500000-"]


def test_a_file_where_a_folder_should_be(site: Site, path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written or read, got 'File exists'"):
        fetch(pinned(site), path)


# A zip that the user has


@pytest.fixture
def own(tmp_path: Path) -> Path:
    own = tmp_path / "own.zip"
    with zipfile.ZipFile(own, "w") as archive:
        archive.writestr("a", b"b")
    return own


def test_adopt_links(own: Path, path: Path) -> None:
    assert adopt(own, path) == path
    assert path.samefile(own)
    assert adopt(own, path) == path
    assert left_beside(path) == {""}


def test_adopt_follows_a_symbolic_link_and_replaces_what_was_there(own: Path, path: Path) -> None:
    link = own.with_name("link.zip")
    link.symlink_to(own)
    path.parent.mkdir()
    path.write_bytes(b"older")
    adopt(link, path)
    assert path.samefile(own)
    assert not path.is_symlink()


def test_adopt_copies_where_links_are_impossible(own: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    adopt(own, path)
    assert path.read_bytes() == own.read_bytes()
    assert not path.samefile(own)
    assert left_beside(path) == {""}


def test_adopt_refuses_what_is_missing_or_no_zip(tmp_path: Path, path: Path) -> None:
    missing, text = tmp_path / "missing.zip", tmp_path / "text.zip"
    text.write_text("<html>")
    with pytest.raises(DataError) as caught:
        adopt(missing, path)
    expected = f"{missing}: must be a zip file, got no such file; correct the path, or fetch the archive"
    assert str(caught.value) == expected
    with pytest.raises(DataError, match=r"text\.zip: must be a zip file, got '6 other bytes'; fetch it anew"):
        adopt(text, path)
    assert not path.exists()
