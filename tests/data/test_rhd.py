"""Real zips, real PNGs and real pickles, and every way found to break them."""

import io
import multiprocessing
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handloom.data import rhd
from handloom.data.rhd import RhdArchive, hand_mask
from handloom.errors import HandloomError
from tests.data.archives import refusal, write_zip

TOP = "RHD_published_v2/"
ANNO = TOP + "training/anno_training.pickle"
Record = dict[str, Any]


def make_record(seed: int) -> Record:
    rng = np.random.default_rng(seed)
    uv_vis = rng.uniform(-20, 340, (42, 3)).astype(np.float32)
    uv_vis[:, 2] = np.arange(42) % 3 == 0
    camera = np.array([[280 + seed, 0, 160], [0, 280 + seed, 160], [0, 0, 1]], np.float32)
    return {"K": camera, "uv_vis": uv_vis, "xyz": rng.uniform(0.3, 0.7, (42, 3)).astype(np.float32)}


def png(array: NDArray[Any], mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, "PNG")
    return stream.getvalue()


def pictures(seed: int) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(100 + seed)
    blocks = {
        "color": rng.integers(0, 256, (20, 20, 3), dtype=np.uint8),
        "mask": rng.integers(0, 34, (20, 20), dtype=np.uint8),
        "depth": rng.integers(0, 256, (20, 20, 3), dtype=np.uint8),
    }
    return {kind: block.repeat(16, axis=0).repeat(16, axis=1) for kind, block in blocks.items()}


def members(protocol: int = 2, top: str = TOP) -> dict[str, bytes]:
    """Give the files of two training samples, 0 and 7, and one evaluation sample, 3."""
    files: dict[str, bytes] = {}
    for split, ids in (("training", (7, 0)), ("evaluation", (3,))):
        files[f"{top}{split}/anno_{split}.pickle"] = pickle.dumps({i: make_record(i) for i in ids}, protocol)
        for i in ids:
            for kind, array in pictures(i).items():
                files[f"{top}{split}/{kind}/{i:05d}.png"] = png(array)
    return files


@pytest.fixture
def files() -> dict[str, bytes]:
    return members()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


# What a good archive gives


@pytest.mark.parametrize("protocol", range(6))
def test_annotations_come_back_at_every_protocol(path: Path, protocol: int) -> None:
    with RhdArchive(write_zip(path, members(protocol))) as archive:
        assert archive.ids("training") == [0, 7]
        assert archive.ids("evaluation") == [3]
        annotation, record = archive.annotation("training", 7), make_record(7)
    np.testing.assert_array_equal(annotation.camera, record["K"])
    np.testing.assert_array_equal(annotation.uv, record["uv_vis"][:, :2])
    np.testing.assert_array_equal(annotation.visible, record["uv_vis"][:, 2] == 1)
    np.testing.assert_array_equal(annotation.xyz, record["xyz"])
    assert [a.dtype.name for a in (annotation.camera, annotation.uv, annotation.visible, annotation.xyz)] == [
        "float32",
        "float32",
        "bool",
        "float32",
    ]


def python2_pickle(records: dict[int, Record]) -> bytes:
    """Assemble what Python 2's pickle, protocol 2, wrote: byte strings everywhere, numpy.core names."""

    def text(value: bytes) -> bytes:
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value

    def array(value: NDArray[Any]) -> bytes:
        dtype = b"cnumpy\ndtype\n" + text(value.dtype.str[1:].encode()) + b"K\x00K\x01\x87R"
        dtype += b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        state = b"(K\x01(" + b"".join(b"K" + bytes([n]) for n in value.shape) + b"t" + dtype + b"\x89"
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        return start + state + text(value.tobytes()) + b"tb"

    body = b"".join(
        b"K" + bytes([key]) + b"}(" + b"".join(text(k.encode()) + array(v) for k, v in record.items()) + b"u"
        for key, record in records.items()
    )
    return b"\x80\x02}(" + body + b"u."


def test_a_pickle_of_python_2_reads_and_doubles_become_floats(path: Path, files: dict[str, bytes]) -> None:
    record = {key: value.astype(np.float64) for key, value in make_record(7).items()}
    files[ANNO] = python2_pickle({7: record})
    assert pickle.loads(files[ANNO], encoding="latin1")[7]["xyz"].shape == (42, 3), "the bytes are a true pickle"
    annotation = RhdArchive(write_zip(path, files)).annotation("training", 7)
    np.testing.assert_array_equal(annotation.xyz, make_record(7)["xyz"])
    assert annotation.xyz.dtype == np.float32


def test_order_endianness_and_numpy_ids_survive(path: Path, files: dict[str, bytes]) -> None:
    record = make_record(5)
    odd = {"K": record["K"].astype(">f4"), "uv_vis": np.asfortranarray(record["uv_vis"]), "xyz": record["xyz"]}
    files[ANNO] = pickle.dumps({np.int64(5): odd}, 4)
    archive = RhdArchive(write_zip(path, files))
    assert archive.ids("training") == [5]
    assert type(archive.ids("training")[0]) is int
    np.testing.assert_array_equal(archive.annotation("training", 5).camera, record["K"])
    np.testing.assert_array_equal(archive.annotation("training", 5).uv, record["uv_vis"][:, :2])


def test_pictures_come_back(path: Path, files: dict[str, bytes]) -> None:
    archive, expected = RhdArchive(write_zip(path, files)), pictures(7)
    np.testing.assert_array_equal(archive.color("training", 7), expected["color"])
    np.testing.assert_array_equal(archive.mask("training", 7), expected["mask"])


def test_depth_is_read_from_red_and_green(path: Path, files: dict[str, bytes]) -> None:
    coded = np.full((320, 320, 3), 77, np.uint8)
    coded[0, 0, :2], coded[0, 1, :2], coded[0, 2, :2] = (0, 0), (255, 255), (0x1A, 0x2B)
    files[TOP + "training/depth/00000.png"] = png(coded)
    depth = RhdArchive(write_zip(path, files)).depth("training", 0)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth[0, :3], [0, 5, 0x1A2B / 65535 * 5], rtol=1e-6)


def test_a_hand_comes_in_our_order(path: Path, files: dict[str, bytes]) -> None:
    annotation = RhdArchive(write_zip(path, files)).annotation("training", 0)
    record = make_record(0)
    for side, wrist in (("left", 0), ("right", 21)):
        points, visible, xyz = annotation.hand(side)
        assert (points.shape, visible.shape, xyz.shape) == ((21, 2), (21,), (21, 3))
        raw = [wrist, *(wrist + i for i in (4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17))]
        np.testing.assert_array_equal(points, record["uv_vis"][raw, :2])
        np.testing.assert_array_equal(visible, record["uv_vis"][raw, 2] == 1)
        np.testing.assert_array_equal(xyz, record["xyz"][raw])


def test_hand_mask_names_every_id() -> None:
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    expected = [0, 0] + [1] * 16 + [2] * 16
    assert hand_mask(ids).ravel().tolist() == expected
    assert hand_mask(ids).dtype == np.uint8
    assert hand_mask(ids).shape == (2, 17)


@pytest.mark.parametrize("top", ["", "RHD_published_v2/", "some where/else/"])
def test_any_single_top_folder_will_do(path: Path, top: str) -> None:
    files = members(top=top) | {"__MACOSX/" + top + "training/._anno_training.pickle": b"", "../../etc/x": b"harmless"}
    assert RhdArchive(write_zip(path, files)).annotation("evaluation", 3).camera[0, 0] == 283


def _read_in_child(archive: RhdArchive, results: Any) -> None:
    results.put([int(archive.color("training", i)[0, 0, 0]) for i in (0, 7) * 20])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_their_own(path: Path, files: dict[str, bytes], method: Literal["fork", "spawn"]) -> None:
    archive = RhdArchive(write_zip(path, files))
    expected = [int(pictures(i)["color"][0, 0, 0]) for i in (0, 7) * 20]
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, Python 3.12
        child = context.Process(target=_read_in_child, args=(archive, results))
        child.start()
    _read_in_child(archive, queue := multiprocessing.get_context("spawn").SimpleQueue())
    assert queue.get() == expected
    assert results.get(timeout=20) == expected
    child.join(20)
    assert child.exitcode == 0
    assert pickle.loads(pickle.dumps(archive)).ids("training") == [0, 7]


# Faults of the container


def test_no_such_file(tmp_path: Path) -> None:
    missing = tmp_path / "RHD.zip"
    expected = f"{missing}: must be a zip file, got no such file; fetch it or correct the path"
    assert refusal(lambda: RhdArchive(missing)) == expected


def test_not_a_zip_and_a_cut_zip(path: Path, files: dict[str, bytes]) -> None:
    whole = write_zip(path, files).read_bytes()
    for data in (b"", b"<html>", whole[: len(whole) // 2], whole[:-1], whole[len(whole) // 2 :]):
        path.write_bytes(data)
        message = refusal(lambda: RhdArchive(path))
        assert message.startswith(f"{path}: ")
        assert message.endswith("; delete the archive and fetch it again")


def test_no_annotations_two_archives_and_a_missing_split(path: Path, files: dict[str, bytes]) -> None:
    assert "must have one folder" in refusal(lambda: RhdArchive(write_zip(path, {"readme.txt": b""})))
    both = files | members(top="other/")
    assert "['RHD_published_v2/', 'other/']" in refusal(lambda: RhdArchive(write_zip(path, both)))
    del files[ANNO]
    archive = RhdArchive(write_zip(path, files))
    assert archive.ids("evaluation") == [3]
    expected = f"{path}: training: training/anno_training.pickle must be in the archive, got no such member; "
    assert refusal(lambda: archive.ids("training")) == expected + "delete the archive and fetch it again"


def test_one_name_twice(path: Path, files: dict[str, bytes]) -> None:
    write_zip(path, files)
    name = TOP + "training/color/00000.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"another")
    assert f"a member is there twice, got '{name}'" in refusal(lambda: RhdArchive(path))


def patch_directory(path: Path, name: str, offset: int, form: str, value: int) -> None:
    """Overwrite one field of a member's entry in the zip's central directory."""
    data = bytearray(path.read_bytes())
    at = data.rindex(name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    struct.pack_into(form, data, at + offset, value)
    path.write_bytes(data)


def test_overlapping_members(path: Path, files: dict[str, bytes]) -> None:
    names = list(files)
    write_zip(path, files)
    patch_directory(path, names[0], 20, "<I", 10**5)
    assert f"a member lies over another one, got '{names[0]}'" in refusal(lambda: RhdArchive(path))
    write_zip(path, files)
    patch_directory(path, names[-1], 20, "<I", 10**6)
    assert f"a member lies over another one, got '{names[-1]}'" in refusal(lambda: RhdArchive(path))
    write_zip(path, files)
    patch_directory(path, names[1], 42, "<I", 0)
    assert "a member lies over another one" in refusal(lambda: RhdArchive(path))


def test_encrypted_and_oddly_packed_members(path: Path, files: dict[str, bytes]) -> None:
    name = TOP + "training/mask/00007.png"
    write_zip(path, files)
    patch_directory(path, name, 8, "<H", 1)
    assert f"a member is encrypted, got '{name}'" in refusal(lambda: RhdArchive(path))
    write_zip(path, files, zipfile.ZIP_LZMA)
    assert "a member has compression 14" in refusal(lambda: RhdArchive(path))


def test_a_pickle_that_claims_too_much(path: Path, files: dict[str, bytes]) -> None:
    write_zip(path, files)
    patch_directory(path, ANNO, 24, "<I", (1 << 30) + 1)
    archive = RhdArchive(path)
    assert "must have at most 1073741824 bytes, got '1073741825'" in refusal(lambda: archive.ids("training"))


# Evil and broken pickles


class _Reduce:
    def __init__(self, call: Any, *args: Any) -> None:
        self.reduced = (call, args)

    def __reduce__(self) -> Any:
        return self.reduced


def evil_pickles(trace: Path) -> dict[str, tuple[bytes, str]]:
    touch = f"touch {trace}"
    array = np.zeros(3, object)
    array[0] = _Reduce(os.system, touch)
    return {
        "os.system": (pickle.dumps({0: _Reduce(os.system, touch)}), "posix.system"),
        "os.system, protocol 0": (f"cposix\nsystem\n(S'{touch}'\ntR.".encode(), "posix.system"),
        "eval": (pickle.dumps({0: _Reduce(eval, f"open({str(trace)!r}, 'w')")}, 2), "__builtin__.eval"),
        "nested": (pickle.dumps({0: {"K": [1, (2, {"x": _Reduce(os.system, touch)})]}}, 4), "posix.system"),
        "in an object array": (pickle.dumps({0: {"K": array}}, 4), "posix.system"),
        "inst opcode": (f"(S'{touch}'\nios\nsystem\n.".encode(), "os.system"),
        "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0esystem.os.pipe\x93.", "numpy.system.os.pipe"),
        "numpy loads": (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        "other codecs": (b"c_codecs\ndecode\n(S'x'\ntR.", "_codecs.decode"),
        "getattr": (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
    }


@pytest.mark.parametrize("name", evil_pickles(Path("x")))
def test_evil_pickles_do_nothing(path: Path, tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    trace = tmp_path / "trace"
    files[ANNO], named = evil_pickles(trace)[name]
    archive = RhdArchive(write_zip(path, files))
    message = refusal(lambda: archive.ids("training"))
    assert not trace.exists()
    assert message == (
        f"{path}: training: the pickle must hold numpy arrays and nothing else, got '{named}'; "
        "do not trust this archive"
    )
    assert archive.ids("evaluation") == [3]


def test_a_dtype_that_lies_about_objects_is_only_a_bad_record(path: Path, files: dict[str, bytes]) -> None:
    # Given to numpy itself, this pickle makes an array of raw pointers, and touching it kills the interpreter.
    lie = b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I3\nI3\nt" + lie
    array += b"I0\nS'" + b"A" * 72 + b"'\ntb"
    files[ANNO] = b"(I0\n(S'K'\n" + array + b"dd."
    archive = RhdArchive(write_zip(path, files))
    message = refusal(lambda: archive.annotation("training", 0))
    assert message == f"{path}: training/00000: K must hold plain numbers, got 'O'; leave this sample out"


BROKEN_PICKLES = {
    "empty": b"",
    "cut": members()[ANNO][:-40],
    "text": b"hello",
    "stack underflow": b"\x80\x02R.",
    "wrong encoding": b"c_codecs\nencode\n(S'x'\nS'utf-16'\ntR.",
    "ndarray called": b"cnumpy\nndarray\n(tR.",
    "scalar of objects": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O'\ntRS'x'\ntR.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "a list": pickle.dumps([1, 2]),
    "text ids": pickle.dumps({"0": make_record(0)}),
    "negative ids": pickle.dumps({-1: make_record(0)}),
    "true as an id": pickle.dumps({True: make_record(0)}),
    "an endless id": pickle.dumps({1 << 20000: make_record(0)}),
}


@pytest.mark.parametrize("name", BROKEN_PICKLES)
def test_broken_pickles_are_data_errors(path: Path, files: dict[str, bytes], name: str) -> None:
    files[ANNO] = BROKEN_PICKLES[name]
    archive = RhdArchive(write_zip(path, files))
    message = refusal(lambda: archive.ids("training"))
    assert message.startswith(f"{path}: training: ")
    assert message.endswith("; delete the archive and fetch it again")
    assert len(message) < 600


def test_every_cut_of_a_pickle_is_a_data_error(path: Path, files: dict[str, bytes]) -> None:
    whole = pickle.dumps({0: make_record(0)}, 2)
    for length in range(0, len(whole), 97):
        write_zip(path, {ANNO: whole[:length]}, zipfile.ZIP_STORED)
        with RhdArchive(path) as archive:
            refusal(lambda archive=archive: archive.ids("training"))  # type: ignore[misc]


def test_a_flipped_bit_behind_the_end_of_the_pickle_is_found(path: Path, files: dict[str, bytes]) -> None:
    files[ANNO] += b"padding" + bytes(300_000)
    write_zip(path, files, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"padding", b"Padding", 1))
    archive = RhdArchive(path)
    assert "BadZipFile: Bad CRC-32" in refusal(lambda: archive.ids("training"))


# One bad record


def _with(key: str, value: Any) -> Record:
    return make_record(0) | {key: value}


def _changed(key: str, index: Any, value: float) -> Record:
    record = make_record(0)
    record[key][index] = value
    return record


K_FORM = "K must be [[f, 0, 160], [0, f, 160], [0, 0, 1]], got '"
BAD_RECORDS: dict[str, tuple[Any, str]] = {
    "not a dict": ([1, 2], "must be a dict with K, uv_vis and xyz, got '[1, 2]'"),
    "no xyz": (
        {k: v for k, v in make_record(0).items() if k != "xyz"},
        "must be a dict with K, uv_vis and xyz, got '{",
    ),
    "K of another shape": (_with("K", np.eye(4, dtype=np.float32)), "K must have shape (3, 3), got '(4, 4)'"),
    "21 points": (_with("xyz", np.zeros((21, 3), np.float32)), "xyz must have shape (42, 3), got '(21, 3)'"),
    "a list for an array": (_with("xyz", [[0.0] * 3] * 42), "xyz must be an array of numbers, got '[[0.0"),
    "an array of text": (_with("xyz", np.full((42, 3), "a")), "xyz must hold plain numbers, got 'U1'"),
    "an array of objects": (_with("xyz", np.full((42, 3), None)), "xyz must be an array of numbers, got '_Array"),
    "an array of complex": (_with("xyz", np.zeros((42, 3), complex)), "xyz must hold plain numbers, got 'c16'"),
    "nan": (_changed("xyz", (4, 1), np.nan), "xyz must be finite, got '[nan]'"),
    "infinity": (_changed("uv_vis", (4, 1), np.inf), "uv_vis must be finite, got '[inf]'"),
    "too large for float32": (_with("xyz", np.full((42, 3), 1e300)), "xyz must be finite, got '[inf, inf"),
    "half visible": (_changed("uv_vis", (4, 2), 0.5), "uv_vis[:, 2] must be 0 or 1, got '[0.5]'"),
    "skewed K": (_changed("K", (0, 1), 3.0), K_FORM + "[[280.0, 3.0, 160.0]"),
    "another centre": (_changed("K", (0, 2), 112.0), K_FORM + "[[280.0, 0.0, 112.0]"),
    "two focal lengths": (_changed("K", (1, 1), 281.0), K_FORM + "[[280.0, 0.0, 160.0], [0.0, 281.0, 160.0]"),
    "negative focal length": (_with("K", make_record(0)["K"] * np.array([[-1], [-1], [1]])), K_FORM),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_stops_no_other(path: Path, files: dict[str, bytes], name: str) -> None:
    record, expected = BAD_RECORDS[name]
    files[ANNO] = pickle.dumps({20500: record, 7: make_record(7)}, 2)
    archive = RhdArchive(write_zip(path, files))
    assert archive.ids("training") == [7, 20500]
    assert archive.annotation("training", 7).camera[0, 0] == 287
    message = refusal(lambda: archive.annotation("training", 20500))
    assert message.startswith(f"{path}: training/20500: {expected}")
    assert message.endswith("; leave this sample out")
    assert len(message) < 400


def test_an_array_shorter_than_its_shape(path: Path, files: dict[str, bytes]) -> None:
    whole = python2_pickle({7: make_record(7)})
    files[ANNO] = whole.replace(b"U\x24" + make_record(7)["K"].tobytes(), b"U\x20" + make_record(7)["K"].tobytes()[:32])
    assert files[ANNO] != whole
    archive = RhdArchive(write_zip(path, files))
    message = refusal(lambda: archive.annotation("training", 7))
    assert message.startswith(f"{path}: training/00007: K must have 36 bytes, got '32'")


def test_an_id_without_a_record(path: Path, files: dict[str, bytes]) -> None:
    archive = RhdArchive(write_zip(path, files))
    expected = f"{path}: training/00001: must be a dict with K, uv_vis and xyz, got 'no record'; leave this sample out"
    assert refusal(lambda: archive.annotation("training", 1)) == expected


# One bad picture


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(*headers: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)) for header in headers]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


GRAY = np.zeros((320, 320), np.uint8)
COLOR = np.zeros((320, 320, 3), np.uint8)
RGB_FORM = "must be a PNG of 320 x 320, 8 bits, RGB, got "
L_FORM = "must be a PNG of 320 x 320, 8 bits, L, got "
BAD_PICTURES = {
    "missing": ("color", None, "training/color/00007.png must be in the archive, got no such member"),
    "empty": ("color", b"", "color " + RGB_FORM + "'no PNG'"),
    "a JPEG": ("color", b"\xff\xd8\xff\xe0" + bytes(100), "color " + RGB_FORM + "'no PNG'"),
    "cut": ("color", png(pictures(7)["color"])[:1000], "color is not a whole PNG, got 'OSError: image file is trunc"),
    "smaller": ("color", png(COLOR[:160, :160]), "color " + RGB_FORM + "'160 x 160, 8 bits, RGB'"),
    "gray": ("color", png(GRAY), "color " + RGB_FORM + "'320 x 320, 8 bits, L'"),
    "with alpha": ("depth", png(COLOR, "RGBA"), "depth " + RGB_FORM + "'320 x 320, 8 bits, color type 6'"),
    "colour mask": ("mask", png(COLOR), "mask " + L_FORM + "'320 x 320, 8 bits, RGB'"),
    "palette mask": ("mask", png(GRAY, "P"), "mask " + L_FORM + "'320 x 320, 8 bits, color type 3'"),
    "16 bits": ("color", raw_png((320, 320, 16, 2)), "color " + RGB_FORM + "'320 x 320, 16 bits, RGB'"),
    "4 bits": ("mask", raw_png((320, 320, 4, 0)), "mask " + L_FORM + "'320 x 320, 4 bits, L'"),
    "a bomb": (
        "mask",
        raw_png((2**31 - 1, 2**31 - 1, 8, 0)),
        "mask " + L_FORM + "'2147483647 x 2147483647, 8 bits, L'",
    ),
    "two headers": (
        "mask",
        raw_png((320, 320, 8, 0), (12000, 12000, 8, 0)),
        "mask is not a whole PNG, got 'DecompressionBombWarning: ",
    ),
    "two small headers": (
        "mask",
        raw_png((320, 320, 8, 0), (640, 320, 8, 0)),
        "mask is not a whole PNG, got 'ValueError: two headers: (640, 320), L",
    ),
    "not zlib": ("mask", png(GRAY)[:41] + b"\xff" * 8 + png(GRAY)[49:], "mask is not a whole PNG, got '"),
    "id 34": ("mask", png(GRAY + np.uint8(34)), "mask ids must be 0...33, got '34'"),
    "too many bytes": (
        "mask",
        bytes((4 << 20) + 1),
        "training/mask/00007.png must have at most 4194304 bytes, got '41",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_stops_no_other(path: Path, files: dict[str, bytes], name: str) -> None:
    kind, data, expected = BAD_PICTURES[name]
    member = f"{TOP}training/{kind}/00007.png"
    del files[member]
    if data is not None:
        files[member] = data
    archive = RhdArchive(write_zip(path, files))
    read = getattr(archive, kind)
    message = refusal(lambda: read("training", 7))
    assert message.startswith(f"{path}: training/00007: {expected}")
    assert message.endswith("; leave this sample out")
    assert read("training", 0).shape[:2] == (320, 320)


def test_a_flipped_bit_in_a_picture_is_found(path: Path, files: dict[str, bytes]) -> None:
    member = TOP + "training/color/00007.png"
    write_zip(path, files, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(files[member]) + 1000] ^= 1
    path.write_bytes(data)
    archive = RhdArchive(path)
    assert "color is not readable, got 'BadZipFile: Bad CRC-32" in refusal(lambda: archive.color("training", 7))


def test_random_damage_never_escapes_as_another_error(path: Path) -> None:
    small = {ANNO: pickle.dumps({7: make_record(7)}, 2), TOP + "training/mask/00007.png": png(GRAY)}
    whole, rng, refused = write_zip(path, small).read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            with RhdArchive(path) as archive:
                archive.annotation("training", 7)
                archive.mask("training", 7)
        except HandloomError:
            refused += 1
    assert refused > 200


def test_splits_are_the_two_of_the_layout() -> None:
    assert rhd.SPLITS == ("training", "evaluation")


def test_names_that_lead_elsewhere_lead_nowhere(path: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    """No member's name becomes a path: beside the good ones lie those that climb, start at the root, and are links."""
    outside = tmp_path / "outside"
    with zipfile.ZipFile(write_zip(path, files), "a") as archive:
        for name in ("../outside", f"{TOP}../../outside", str(outside), f"{TOP}training/color/../../../outside"):
            archive.writestr(name, b"evil")
        link = zipfile.ZipInfo(f"{TOP}training/color/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(outside))
    before = sorted(tmp_path.iterdir())
    with RhdArchive(path) as archive:
        assert [archive.sample("training", sample).picture.shape for sample in archive.ids("training")] == [
            (320, 320, 3)
        ] * 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_picture_that_is_a_link_is_a_bad_picture(path: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(files.pop(f"{TOP}training/color/00007.png"))
    with zipfile.ZipFile(write_zip(path, files), "a") as archive:
        link = zipfile.ZipInfo(f"{TOP}training/color/00007.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret.png"))
    with RhdArchive(path) as archive:
        refusal(lambda: archive.color("training", 7))
        assert archive.color("training", 0).shape == (320, 320, 3)
