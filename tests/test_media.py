import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handloom import images, media
from handloom.errors import DataError, EnvironmentFault, ParamsError
from handloom.media import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures with one name, one more below, and a text."""
    (tmp_path / "below").mkdir()
    for name in ("a.jpg", "a.png", "below/B.PNG"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def names(*words: str) -> list[str]:
    return [source.name for source in media.find(words)]


def test_a_folder_gives_all_that_is_in_it(folder: Path) -> None:
    assert names(str(folder)) == ["a.jpg", "a.png", "below/B.PNG"]


def test_globs_files_and_cameras_mix_and_nothing_comes_twice(folder: Path) -> None:
    assert names(f"{folder}/*.png", f"{folder}/a.png", "camera:1") == ["a.png", "camera-1"]
    assert names(f"{folder}/**/*.PNG") == ["B.PNG"]


def test_one_file_under_two_names_comes_once_and_no_name_leaves_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "below")
    assert names("../a.png", str(folder / "a.png"), "B.PNG") == ["a.png", "below/B.PNG"]
    assert names("camera:0", "camera:00") == ["camera-0"]


def test_what_was_written_before_and_what_is_hidden_is_no_input(folder: Path) -> None:
    (folder / ".thumbs").mkdir()
    Image.new("RGB", (4, 4)).save(folder / ".thumbs" / "a.png")
    Image.new("RGB", (4, 4)).save(folder / ".b.png")
    assert [source.name for source in media.find([str(folder)], leave_out=[folder / "below"])] == ["a.jpg", "a.png"]


def test_what_is_hidden_is_taken_where_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".thumbs").mkdir()
    Image.new("RGB", (4, 4)).save(folder / ".thumbs" / "c.png")
    assert names(f"{folder}/.thumbs/*.png") == ["c.png"]
    monkeypatch.chdir(folder)
    assert names(".thumbs/*.png") == ["c.png"]


def test_a_link_to_the_folder_itself_shows_nothing_twice(folder: Path) -> None:
    (folder / "below" / "again").symlink_to(folder)
    assert names(str(folder)) == ["a.jpg", "a.png", "below/B.PNG"]


def test_a_video_s_name_may_hold_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with media.written(Path("a.mp4"), rate=25) as write:
        write(np.zeros((48, 64, 3), np.uint8), 0.0)
    Path("a.mp4").rename("10:30.mp4")
    with media.Video(Source("10:30.mp4", Path("10:30.mp4"))) as video:
        assert len(list(video)) == 1


def test_a_named_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    assert names(str(folder / "notes.txt")) == ["notes.txt"]
    with pytest.raises(DataError, match=r"notes\.txt: not a readable picture"):
        media.picture_of(media.find([str(folder / "notes.txt")])[0])


@pytest.mark.parametrize("word", ["none", "*.gif", "camera:x", "camera:99999999999"])
def test_a_word_that_names_nothing_is_named(word: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ParamsError, match=r"^input: no .*got '"):
        media.find([word])


def test_a_video_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    shades = (40, 120, 200)
    with media.written(path, rate=25) as write:
        for number, shade in enumerate(shades):
            write(np.full((48, 64, 3), (shade, 0, 255 - shade), np.uint8), number / 25)
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]
    with media.Video(Source("a.mp4", path)) as video:
        assert (video.num_frames, video.rate) == (3, 25)
        frames = list(video)
    assert [frame.seconds for frame in frames] == pytest.approx([0, 1 / 25, 2 / 25])
    for frame, shade in zip(frames, shades, strict=True):
        assert frame.picture.shape == (48, 64, 3)
        assert np.abs(frame.picture[24, 32].astype(int) - (shade, 0, 255 - shade)).max() < 12


@pytest.mark.parametrize(("rate", "shown"), [(29.97, 29.97), (239.7612, 240)])
def test_a_video_of_odd_size_and_rate_is_written_all_the_same(rate: float, shown: float, tmp_path: Path) -> None:
    with media.written(tmp_path / "a.mp4", rate) as write:
        for number in range(4):
            write(np.full((47, 63, 3), 100, np.uint8), number / rate)
    with media.Video(Source("a.mp4", tmp_path / "a.mp4")) as video:
        assert video.rate == pytest.approx(shown)
        assert [frame.picture.shape for frame in video] == [(48, 64, 3)] * 4


def test_frames_that_come_as_they_like_are_shown_as_long_as_they_lasted(tmp_path: Path) -> None:
    with media.written(tmp_path / "a.mp4", rate=10) as write:
        for seconds in (0.0, 0.3, 0.32, 0.5):
            write(np.zeros((48, 64, 3), np.uint8), seconds)
    with media.Video(Source("a.mp4", tmp_path / "a.mp4")) as video:
        assert video.num_frames == 6


def test_a_video_cut_short_is_named_once_its_frames_are_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with media.written(tmp_path / "a.avi", rate=10) as write:
        for number in range(40):
            write(rng.integers(0, 256, (48, 64, 3), np.uint8), number / 10)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    with media.Video(Source("a.avi", tmp_path / "a.avi")) as video, pytest.raises(DataError, match="damaged, got '"):
        assert all(frame.picture.shape == (48, 64, 3) for frame in video)


def matroska(path: Path, stamps_ms: list[int]) -> None:
    """Write a video whose frames stand at these times: such a file says how long it lasts, not how many there are."""

    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + ((1 << 56) | len(content)).to_bytes(8, "big") + content

    def number(name: str, value: int) -> bytes:
        return element(name, value.to_bytes(4, "big"))

    lasts = float(2 * stamps_ms[-1] - stamps_ms[-2])
    kind = element("1A45DFA3", element("4282", b"matroska") + number("4287", 2) + number("4285", 2))
    info = element("1549A966", number("2AD7B1", 1_000_000) + element("4489", struct.pack(">d", lasts)))
    size = element("E0", number("B0", 64) + number("BA", 48))
    track = element("AE", number("D7", 1) + number("73C5", 1) + number("83", 1) + element("86", b"V_MJPEG") + size)
    clusters = b""
    for count, stamp in enumerate(stamps_ms):
        frame = images.encode(np.full((48, 64, 3), 7 * count % 255, np.uint8), ".jpg")
        clusters += element("1F43B675", number("E7", stamp) + element("A3", b"\x81\0\0\x80" + frame))
    path.write_bytes(kind + element("18538067", info + element("1654AE6B", track) + clusters))


@pytest.mark.parametrize("stamps_ms", [
    [*range(0, 2000, 33), *range(2000, 10_000, 100)],  # a room gets dark
    [0, *np.cumsum(np.random.default_rng(1).integers(33, 67, 120)).tolist()],  # stamps in ms, as browsers record
], ids=["dark", "clock"])  # fmt: skip
def test_a_whole_video_of_unsteady_rate_is_no_damaged_one(stamps_ms: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    matroska(path, stamps_ms)
    with media.Video(Source("a.mkv", path)) as video:
        assert video.rate <= media.MAX_RATE
        frames = list(video)
    assert len(frames) == len(stamps_ms)
    assert [frame.seconds for frame in frames[1:]] == pytest.approx([ms / 1000 for ms in stamps_ms[1:]], abs=0.002)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with media.Video(Source("a.mkv", path)) as video, pytest.raises(DataError, match=r"damaged, got '.* of .* s'"):
        list(video)


def test_a_video_whose_name_is_no_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd\udcff.mp4"
    path.touch()
    with pytest.raises(DataError, match=r"odd.*: a video's name must be UTF-8, got other bytes; rename it"):
        media.Video(Source("odd", path))
    with pytest.raises(DataError, match="must be UTF-8"), media.written(path, 25):
        pass


def test_a_camera_that_is_pulled_out_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is here: what stands for it gives three pictures."""

    class Pulled:
        left = 3

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            self.left -= 1
            return self.left >= 0, np.zeros((4, 4, 3), np.uint8)

        def get(self, _: int) -> float:
            return 0.0

    monkeypatch.setattr(media.cv2, "VideoCapture", lambda _: Pulled())
    frames = iter(media.Video(Source("camera-0", None, 0)))
    assert [next(frames).picture.shape for _ in range(3)] == [(4, 4, 3)] * 3
    with pytest.raises(EnvironmentFault, match="camera-0: gives nothing"):
        next(frames)


def test_inputs_beside_the_results_are_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "overlays").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "overlays" / "a.jpg")
    written = [Path(name) for name in media.WRITTEN]
    assert [source.name for source in media.find(["."], written)] == ["a.jpg", "a.png", "below/B.PNG"]


def test_a_word_that_is_too_long_for_a_name_is_one_line() -> None:
    with pytest.raises(ParamsError, match=r"input: cannot be looked at, got 'File name too long'; check a{60}"):
        media.find(["a" * 300])


def test_a_video_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with media.written(tmp_path / "a.mp4", rate=25) as write:
            write(np.zeros((48, 64, 3), np.uint8), 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4: not a readable video"):
        media.Video(Source("a.mp4", path))


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(EnvironmentFault, match="camera-7: not there or in use"):
        media.Video(media.find(["camera:7"])[0])
