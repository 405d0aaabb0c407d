"""Whatever a picture file holds, reading it gives a picture or one line, in a second of one core and 300 MB."""

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handloom import images
from handloom.errors import DataError

NUM_MUTANTS = 2000
READ = """
import resource, signal, sys
from pathlib import Path
from handloom import images
from handloom.errors import DataError

def late(*_):
    raise SystemExit(f"over a second of work: {path.name}")

signal.signal(signal.SIGPROF, late)
images.read(Path(sys.argv[1], "good.png"))  # loads what Pillow loads once
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, -1))
for path in sorted(Path(sys.argv[1]).iterdir()):
    signal.setitimer(signal.ITIMER_PROF, 1.0)
    try:
        picture = images.read(path)
    except DataError as error:
        assert "\\n" not in str(error) and str(path) in str(error), error
        said = "refused"
    else:
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == "uint8"
        said = "{1}x{0}".format(*picture.shape)
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    print(path.name, said)
"""


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC)


def png(width: int, height: int, body: bytes) -> bytes:
    """A PNG that says it is so large, whatever it holds."""
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", body), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def kinds() -> dict[str, bytes]:
    """Pictures of all kinds that are good."""
    picture = photograph()
    turned = Image.Exif()
    turned[0x0112] = 8
    sixteen = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    frames = [picture.rotate(angle) for angle in (30, 60)]
    return {
        "good.png": saved(picture, "PNG"),
        "sixteen.png": saved(sixteen, "PNG"),
        "sixteen.tif": saved(sixteen, "TIFF"),
        "float.tif": saved(picture.convert("F"), "TIFF"),
        "palette.png": saved(picture.quantize(16), "PNG"),
        "transparent.png": saved(picture.convert("RGBA"), "PNG"),
        "bits.png": saved(picture.convert("1"), "PNG"),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
        "grey.jpg": saved(picture.convert("L"), "JPEG"),
        "progressive.jpg": saved(picture, "JPEG", progressive=True),
        "turned.jpg": saved(picture, "JPEG", exif=turned),
        "animated.png": saved(picture, "PNG", save_all=True, append_images=frames),
        "animated.webp": saved(picture, "WEBP", save_all=True, append_images=frames),
        "lossless.webp": saved(picture, "WEBP", lossless=True),
        "lzw.tif": saved(picture, "TIFF", compression="tiff_lzw"),
        "pages.tif": saved(picture, "TIFF", save_all=True, append_images=frames),
        "lab.tif": saved(picture.convert("LAB") if "LAB" in Image.MODES else picture, "TIFF"),
        "plain.bmp": saved(picture, "BMP"),
        "one.png": saved(Image.new("RGB", (1, 1)), "PNG"),
        "wide.png": saved(Image.new("RGB", (5000, 1)), "PNG"),
        "high.jpg": saved(Image.new("RGB", (1, 5000)), "JPEG"),
    }


def hostile() -> dict[str, bytes]:
    """What is no picture, or says it is more than it is."""
    good = saved(photograph(), "PNG")
    return {
        "bomb.png": saved(Image.new("1", (12_000, 12_000)), "PNG"),
        "bomb.tif": saved(Image.new("L", (9000, 9000)), "TIFF", compression="tiff_lzw"),
        "huge.png": png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(100))),
        "nothing.png": png(0, 0, zlib.compress(b"")),
        "short.png": png(4000, 4000, zlib.compress(bytes(100))),
        "long.png": png(3, 3, zlib.compress(bytes(50_000_000))),
        "text-bomb.png": good[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))) + good[33:],
        "fraction.tif": at_a_fraction(),
        "truncated.png": good[: len(good) // 2],
        "truncated.jpg": saved(photograph(), "JPEG")[:400],
        "text.png": b"these are words\n" * 100,
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "page.jpg": b"<!doctype html><title>404</title>",
        "empty.jpg": b"",
        "moving.gif": saved(photograph(), "GIF"),
        "printed.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n",
    }


def at_a_fraction() -> bytes:
    """A TIFF whose pixels stand at a place that is no whole number."""
    plain = saved(photograph(), "TIFF")
    entry = struct.pack("<HHI", 273, 4, 1)  # of StripOffsets, one LONG
    assert plain.count(entry) == 1
    return plain.replace(entry, struct.pack("<HHI", 273, 11, 1))  # a FLOAT


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def mutants() -> Iterator[tuple[str, bytes]]:
    """Good files with bytes changed, cut, doubled and exchanged; most of all at their beginning, where sizes stand."""
    good, draw = list(kinds().items()), random.Random(2019)
    for number in range(NUM_MUTANTS):
        name, content = good[number % len(good)]
        mutant = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(min(len(mutant), 80) if draw.random() < 0.5 else len(mutant))
            match draw.randrange(6):
                case 0:
                    mutant[place] ^= 1 << draw.randrange(8)
                case 1:
                    mutant[place : place + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)))
                case 2:
                    mutant = mutant[: max(place, 1)]
                case 3:
                    mutant[place:place] = mutant[place : place + draw.randint(1, 200)]
                case 4:
                    mutant[place : place + 16] = draw.randbytes(16)
                case 5:
                    mutant += draw.choice(good)[1][: draw.randint(1, 300)]
        yield f"{number:04d}-{name}", bytes(mutant)


@given(
    kind=st.sampled_from(sorted(kinds())),
    place=st.floats(0, 1),
    patch=st.binary(max_size=40),
    end=st.floats(0, 1) | st.just(1.0),
)
def test_any_change_gives_a_picture_or_a_line(kind: str, place: float, patch: bytes, end: float) -> None:
    content = bytearray(kinds()[kind])
    start = int(place * len(content))
    content[start : start + len(patch)] = patch
    with suppress(DataError):
        picture = images.read(io.BytesIO(content[: int(end * len(content))]), "any")
        assert picture.ndim == 3


def read_all(folder: Path) -> dict[str, str]:
    """Read every file of a folder in a process that may use 300 MB more, each for a second; gives what came of it."""
    done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-200:]
    return dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())


def test_every_kind_is_read(tmp_path: Path) -> None:
    for name, content in kinds().items():
        (tmp_path / name).write_bytes(content)
    said = read_all(tmp_path)
    expected = {"one.png": "1x1", "wide.png": "5000x1", "high.jpg": "1x5000", "turned.jpg": "70x90"}
    assert said == {name: expected.get(name, "90x70") for name in kinds()}


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(kinds()["good.png"])
    for name, content in hostile().items():
        (tmp_path / name).write_bytes(content)
    said = read_all(tmp_path)
    assert {name for name, what in said.items() if what != "refused"} <= {"good.png", "long.png"}


def test_two_thousand_mutants_give_a_picture_or_a_line(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(kinds()["good.png"])
    for name, content in mutants():
        (tmp_path / name).write_bytes(content)
    said = read_all(tmp_path)
    refused = sum(what == "refused" for what in said.values())
    assert len(said) == NUM_MUTANTS + 1
    assert 200 < refused < 1800, refused
