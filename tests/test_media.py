from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handloom import media
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


def test_a_named_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    assert names(str(folder / "notes.txt")) == ["notes.txt"]
    with pytest.raises(DataError, match=r"notes\.txt: not a readable picture"):
        media.picture_of(media.find([str(folder / "notes.txt")])[0])


@pytest.mark.parametrize("word", ["none", "*.gif", "camera:x"])
def test_a_word_that_names_nothing_is_named(word: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ParamsError, match=r"^input: no .*got '"):
        media.find([word])


def test_a_video_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    shades = (40, 120, 200)
    with media.written(path, rate=25) as write:
        for shade in shades:
            write(np.full((48, 64, 3), (shade, 0, 255 - shade), np.uint8))
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]
    with media.Video(Source("a.mp4", path)) as video:
        assert (video.num_frames, video.rate) == (3, 25)
        frames = list(video)
    assert [frame.seconds for frame in frames] == [0, 1 / 25, 2 / 25]
    for frame, shade in zip(frames, shades, strict=True):
        assert frame.picture.shape == (48, 64, 3)
        assert np.abs(frame.picture[24, 32].astype(int) - (shade, 0, 255 - shade)).max() < 12


def test_a_video_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with media.written(tmp_path / "a.mp4", rate=25) as write:
            write(np.zeros((48, 64, 3), np.uint8))
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
    with pytest.raises(EnvironmentFault, match="camera-7: no such camera"):
        media.Video(media.find(["camera:7"])[0])
