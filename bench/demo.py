"""Frames per second of the demo's page in a headless Chromium on the same machine, its camera fed from a file.

python bench/demo.py PICTURE
"""

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
from PIL import Image
from playwright.sync_api import sync_playwright
from speed import moving

from handloom import images

FLAGS = ("--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def served(models: tuple[str, ...]) -> Iterator[str]:
    """Run the demo; gives its address."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
    code = "from handloom.cli import main; main()"
    words = [sys.executable, "-uc", code, "demo", "--no-browser", "--port", str(port), *models]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if "the demo is at" not in process.stdout.readline():
            raise click.ClickException("the demo did not start; run it by hand: handloom demo")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def film(picture: Path, target: Path) -> None:
    """Write a video in which a picture swings to and fro, as Chromium's fake camera takes it."""
    frames = io.BytesIO()
    for frame in moving(images.read(picture)):
        Image.fromarray(frame).save(frames, "jpeg", quality=90)
    target.write_bytes(frames.getvalue())


@click.command()
@click.argument("picture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--models", help="Folder of nets.  [default: the bundled ones]")
@click.option("--seconds", default=20, show_default=True, type=click.IntRange(1))
def demo(picture: Path, models: str | None, seconds: int) -> None:
    """Read the page's own figures once a second while the camera shows PICTURE."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(("--models", models) if models else ()) as address,
        sync_playwright() as player,
    ):
        film(picture, camera := Path(folder, "camera.mjpeg"))
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        browser = player.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto(address)
        page.locator("#camera").click()
        time.sleep(5)
        shown = []
        for _ in range(seconds):
            time.sleep(1)
            shown.append({name: page.locator(f"#{name}").text_content() for name in ("fps", "latency", "count")})
        said = page.locator("#message").text_content()
        browser.close()
    rates = [float(each["fps"].split()[0]) for each in shown if each["fps"] and each["fps"][0].isdigit()]
    if not rates:
        raise click.ClickException(f"the page shows no frames, it says: {said}")
    click.echo(f"{address}: {median(rates):.1f} frames per second, {min(rates):.1f} at least; last {shown[-1]}")


if __name__ == "__main__":
    demo()
