import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from handloom.serve import MAX_UPLOAD, PATIENCE_S


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def started(models: Path, port: int) -> "subprocess.Popen[str]":
    """Start the demo; returns once it answers."""
    code = "from handloom.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--models", str(models), "--port", str(port), "--no-browser"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"the demo is at http://127.0.0.1:{port}/ until Ctrl-C\n"
    return process


@pytest.fixture(scope="module")
def port(models: Path) -> Iterator[int]:
    """A running demo's port."""
    chosen = free_port()
    process = started(models, chosen)
    yield chosen
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode in (0, 143)
    assert "Traceback" not in said


def picture(width: int = 64, height: int = 48, kind: str = "jpeg") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def test_the_page_is_whole_and_asks_nothing_of_other_hosts(port: int) -> None:
    for name, kind in (("", "text/html"), ("demo.js", "javascript"), ("style.css", "text/css")):
        response = requests.get(f"http://127.0.0.1:{port}/{name}", timeout=10)
        assert response.status_code == 200
        assert kind in response.headers["content-type"]
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "https://" not in response.text
        assert "http://" not in response.text.replace("http://127.0.0.1", "").replace("http://localhost", "")


def test_a_picture_gives_hands_and_their_mask(port: int) -> None:
    url = f"http://127.0.0.1:{port}/picture"
    said = requests.post(url, picture(kind="png"), params={"min_score": 0}, timeout=30).json()
    assert (said["width"], said["height"]) == (64, 48)
    assert said["hands"]
    assert len(said["hands"][0]["keypoints"]) == 21
    assert said["mask"].startswith("iVBOR")  # a PNG's first bytes


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [(b"no picture", 422, "picture: not a readable picture"), (bytes(MAX_UPLOAD + 1), 413, "")],
)
def test_what_cannot_be_taken_is_answered(content: bytes, code: int, said: str, port: int) -> None:
    response = requests.post(f"http://127.0.0.1:{port}/picture", content, timeout=30)
    assert response.status_code == code
    assert said in response.text


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_only_the_own_page_may_ask(headers: dict[str, str], code: int, port: int) -> None:
    assert requests.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=10).status_code == code
    assert requests.post(f"http://127.0.0.1:{port}/picture", picture(), headers=headers, timeout=10).status_code == code


def test_frames_are_answered_one_by_one(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/frames", origin=f"http://127.0.0.1:{port}") as line:  # type: ignore[arg-type]
        line.send(json.dumps({"min_score": 0, "smooth": False}))
        for _ in range(3):
            line.send(picture())
            said: dict[str, Any] = json.loads(line.recv(timeout=20))
            assert said["width"] == 64
            assert [hand["id"] for hand in said["hands"]] == sorted(hand["id"] for hand in said["hands"])


def test_no_other_site_may_open_a_stream(port: int) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{port}/frames", origin="http://evil.example"),  # type: ignore[arg-type]
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("message", "said"), [("{}x", "Invalid JSON"), ('{"min_score": 2}', "min_score"), (b"no picture", "not a readable")]
)
def test_a_stream_that_makes_no_sense_is_closed_with_a_reason(message: str | bytes, said: str, port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/frames") as line:
        line.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert said in closed.value.rcvd.reason


@pytest.mark.parametrize("path", ["/../serve.py", "/%2e%2e/serve.py", "/..%2fserve.py", "//etc/passwd", "/%00"])
def test_nothing_beside_the_page_is_served(path: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: line.recv(65536), b""))
    assert said.split()[1] in (b"404", b"400", b"405")
    assert b"import" not in said
    assert b"root:" not in said


def test_a_crowd_of_idle_and_slow_ones_keeps_nobody_out(port: int) -> None:
    """200 connections that say nothing, 20 that never end their request, 100 clients at once, and one more."""
    with ExitStack() as crowd:
        idle = [crowd.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(220)]
        for slow in idle[:20]:
            slow.sendall(b"POST /picture HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        for half in idle[20:40]:
            half.sendall(b"POST /picture HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc")
        watching = [crowd.enter_context(connect(f"ws://127.0.0.1:{port}/frames")) for _ in range(100)]
        assert requests.post(f"http://127.0.0.1:{port}/picture", picture(), timeout=30).status_code == 200
        for line in watching:
            line.send(picture())
        assert all(json.loads(line.recv(timeout=60))["width"] == 64 for line in watching)
        for line in idle:  # all are let go in the end: the half ones with an answer
            line.settimeout(PATIENCE_S + 20)
            said = b"".join(iter(partial(line.recv, 65536), b""))
            assert not said or said.startswith(b"HTTP/1.1 408")
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 200


def test_a_second_request_that_never_ends_is_let_go_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(PATIENCE_S + 20)
        line.sendall(b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 ")
        line.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert b"".join(iter(partial(line.recv, 65536), b"")) == b""


def test_a_port_in_use_is_one_line(port: int, models: Path) -> None:
    code = "from handloom.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--models", str(models), "--port", str(port), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: demo: port taken, got '{port}'")


def test_ctrl_c_ends_it_cleanly(models: Path) -> None:
    process = started(models, free_port())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert "Traceback" not in said
