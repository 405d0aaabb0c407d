"""How long a picture takes the demo while others hold idle connections, send half requests and keep streams open.

python bench/siege.py PICTURE
"""

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import click
import requests
from demo import served
from websockets.sync.client import connect

ROUNDS = 60


def latency(address: str, content: bytes) -> float:
    """Give the median of a picture's milliseconds, connection and all."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        requests.post(f"{address}picture", content, timeout=60).raise_for_status()
        times.append(time.perf_counter() - begun)
    return 1000 * median(times)


@click.command()
@click.argument("picture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def siege(picture: Path) -> None:
    """Time PICTURE with nobody else there, then beside 200 idle sockets, 20 half requests and 100 open streams."""
    content = picture.read_bytes()
    with served(()) as address, ExitStack() as crowd:
        port = urlsplit(address).port
        latency(address, content)
        alone = latency(address, content)
        lines = [crowd.enter_context(connect(f"ws://127.0.0.1:{port}/frames")) for _ in range(100)]
        for line in lines:
            line.send(content)
        for line in lines:
            json.loads(line.recv(timeout=60))
        idle = [crowd.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(220)]
        for half in idle[:20]:
            half.sendall(b"POST /picture HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        beside = latency(address, content)
    click.echo(f"alone {alone:.1f} ms, beside the crowd {beside:.1f} ms: {beside / alone:.2f} times")


if __name__ == "__main__":
    siege()
