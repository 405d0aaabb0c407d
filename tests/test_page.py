"""The demo's page in a real browser, headless, whose camera is fed from a file."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from handloom import images
from handloom.inference import HandFinder
from handloom.skeleton import NAMES
from tests.test_serve import free_port, picture, started

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
]
NOT_YET = "\N{EN DASH}"
"""What a figure shows before the first answer."""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH; `.ci/run` installs one")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera shows a picture of noise again and again."""
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    film.write_bytes(picture(640, 480) * 10)
    with sync_playwright() as player:
        chromium = player.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def demo(models: Path) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """A running demo and its address."""
    port = free_port()
    process = started(models, port)
    yield process, f"http://127.0.0.1:{port}/"
    process.kill()
    process.communicate()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile on a narrow window."""
    fresh = browser.new_context(viewport={"width": 390, "height": 800})
    yield fresh
    fresh.close()


def opened(context: BrowserContext, address: str, *, camera: bool = True) -> Page:
    """Open the page with the least score at 0: untrained nets are never sure."""
    if camera:
        context.grant_permissions(["camera"], origin=address.rstrip("/"))
    page = context.new_page()
    page.goto(address)
    page.locator("#score").fill("0")
    return page


def numbers(page: Page) -> list[dict[str, dict[str, list[float]]]]:
    """Read the hands off the page."""
    shown: list[dict[str, dict[str, list[float]]]] = json.loads(page.locator("#numbers").text_content() or "")
    return shown


def test_the_camera_shows_hands_live(demo: tuple[object, str], context: BrowserContext) -> None:
    page = opened(context, demo[1])
    page.locator("#camera").press("Enter")
    expect(page.locator("#fps")).not_to_have_text(NOT_YET, timeout=20_000)
    expect(page.locator("#count")).not_to_have_text("0", timeout=20_000)
    page.locator("summary").press("Enter")
    hand = numbers(page)[0]
    assert list(hand["keypoints"]) == list(NAMES)
    places = np.array(list(hand["keypoints"].values()))
    assert places.shape == (21, 3)
    assert ((places[:, 2] >= 0) & (places[:, 2] <= 1)).all()
    # no wider than the window
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#camera").click()
    expect(page.locator("#camera")).to_have_text("Start camera")


def test_hands_in_space_turn(demo: tuple[object, str], context: BrowserContext) -> None:
    page = opened(context, demo[1])
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture(120, 90, "png")})
    expect(page.locator("#count")).not_to_have_text(NOT_YET, timeout=20_000)
    drawn = [page.locator("#space").screenshot()]
    page.locator("#space").press("ArrowLeft")
    drawn.append(page.locator("#space").screenshot())
    page.locator("#space").hover()
    page.mouse.down()
    page.mouse.move(300, 300, steps=3)
    page.mouse.up()
    drawn.append(page.locator("#space").screenshot())
    assert len(set(drawn)) == 3
    page.locator("#lift").uncheck()
    expect(page.locator("#space")).not_to_be_visible()


def test_a_picture_gives_the_finders_own_keypoints(
    demo: tuple[object, str], context: BrowserContext, models: Path
) -> None:
    page, content = opened(context, demo[1]), picture(120, 90, "png")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": content})
    expect(page.locator("#count")).not_to_have_text(NOT_YET, timeout=20_000)
    found = HandFinder.load(models)(images.read(io.BytesIO(content)), min_score=0)
    shown = numbers(page)
    assert found
    assert len(shown) == len(found)
    for hand, one in zip(shown, found, strict=True):
        places = np.array(list(hand["keypoints"].values()))[:, :2]
        assert np.abs(places - one.keypoints_px).max() < 0.5


def test_a_denied_camera_is_a_sentence(demo: tuple[object, str], context: BrowserContext) -> None:
    page = opened(context, demo[1], camera=False)
    page.locator("#camera").click()
    expect(page.locator("#message")).to_contain_text("The camera was not allowed. Allow it", timeout=20_000)


def test_a_camera_that_closes_is_a_sentence(demo: tuple[object, str], context: BrowserContext) -> None:
    page = opened(context, demo[1])
    page.locator("#camera").click()
    expect(page.locator("#fps")).not_to_have_text(NOT_YET, timeout=20_000)
    page.evaluate("document.getElementById('video').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    expect(page.locator("#message")).to_contain_text("The camera was closed. Start it again", timeout=20_000)
    expect(page.locator("#camera")).to_have_text("Start camera")


def test_a_lost_connection_is_a_sentence(demo: "tuple[subprocess.Popen[str], str]", context: BrowserContext) -> None:
    page = opened(context, demo[1])
    page.locator("#camera").click()
    expect(page.locator("#fps")).not_to_have_text(NOT_YET, timeout=20_000)
    demo[0].kill()
    expect(page.locator("#message")).to_contain_text("The connection to handloom was lost", timeout=20_000)


def test_a_huge_upload_is_a_sentence(demo: tuple[object, str], context: BrowserContext, tmp_path: Path) -> None:
    page, huge = opened(context, demo[1]), tmp_path / "huge.png"
    huge.write_bytes(bytes(50 * 2**20))
    page.locator("#file").set_input_files(huge)
    expect(page.locator("#message")).to_contain_text("That picture has 50 MB; the demo takes up to 20", timeout=20_000)


def test_what_is_no_picture_is_a_sentence(demo: tuple[object, str], context: BrowserContext) -> None:
    page = opened(context, demo[1])
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator("#message")).to_contain_text("not a readable picture", timeout=20_000)


def test_the_page_asks_nothing_of_other_hosts(demo: tuple[object, str], context: BrowserContext) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(context, demo[1])
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture(64, 64, "png")})
    expect(page.locator("#count")).not_to_have_text(NOT_YET, timeout=20_000)
    assert {url.startswith((demo[1], "blob:", "data:")) for url in asked} == {True}
    assert wrong == []
    Image.open(io.BytesIO(page.screenshot())).verify()
