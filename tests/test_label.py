import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from handloom import images
from handloom.data import coco
from handloom.geometry import Box
from handloom.inference import HandFinder
from pipeline.label import label

PEER = """#!{python}
import json, sys
from pathlib import Path
for path in map(str.strip, sys.stdin):
    print(Path({said!r}, Path(path).stem + ".json").read_text())
"""
HAND = [[10.0 + i % 5 * 8, 20.0 + i // 5 * 9] for i in range(21)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four grey squares with a hand's mask each; of two the keypoints lie on it, one's leave it, one has none."""
    mask = np.zeros((64, 64), np.uint8)
    mask[12:60, 6:48] = 255
    for name, shift in (("a", 0), ("b", 1), ("beside", 30), ("none", 0)):
        for kind, content in (("images", np.full((64, 64, 3), 120, np.uint8)), ("masks", mask)):
            path = tmp_path / "some" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images.encode_png(content))
        points = [] if name == "none" else [[x + shift, y] for x, y in HAND]
        (tmp_path / f"{name}.json").write_text(json.dumps(points))
    return tmp_path / "some"


def test_what_a_peer_sees_becomes_keypoints(folder: Path) -> None:
    peer = folder / "peer"
    peer.write_text(PEER.format(python=sys.executable, said=str(folder.parent)))
    peer.chmod(0o755)
    done = CliRunner().invoke(label, [str(folder), "--peer", str(peer)])
    assert done.exit_code == 0, done.output
    assert f"{folder / 'keypoints.json'}: 2 of 4 cut-outs" in done.output
    marked = coco.read(folder / "keypoints.json", ["a.png", "b.png", "beside.png", "none.png"])
    assert list(marked) == ["a.png", "b.png"]
    for name, shift in (("a.png", 0), ("b.png", 1)):
        (hand,) = marked[name]
        np.testing.assert_allclose(hand.keypoints_px, np.add(HAND, [shift, 0]), atol=0.01)


def test_hidden_is_what_the_bundled_net_calls_so_and_sees_at_the_same_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(_: object, _picture: object, crops: list[Box]) -> list[SimpleNamespace]:
        points, visible = np.array(HAND, np.float32), np.arange(21) > 1
        points[1] += 20  # elsewhere: believed neither where it is nor that it is hidden
        return [SimpleNamespace(keypoints_px=points, visible=visible)] * len(crops)

    monkeypatch.setattr(HandFinder, "read", said)
    peer = folder / "peer"
    peer.write_text(PEER.format(python=sys.executable, said=str(folder.parent)))
    peer.chmod(0o755)
    assert CliRunner().invoke(label, [str(folder), "--peer", str(peer)]).exit_code == 0
    (hand,) = coco.read(folder / "keypoints.json", ["a.png", "b.png"])["a.png"]
    assert hand.visible is not None
    assert hand.visible.tolist() == [False] + [True] * 20


def test_a_peer_without_mediapipe_is_named(folder: Path) -> None:
    done = CliRunner().invoke(label, [str(folder), "--peer", sys.executable])
    assert done.exit_code != 0
    assert "a.png: " in str(done.exception)
    assert "must answer with points, got 'ModuleNotFoundError: No module named 'mediapipe''" in str(done.exception)
    assert not (folder / "keypoints.json").exists()
    done = CliRunner().invoke(label, [str(folder), "--peer", str(folder / "nobody")])
    assert "nobody: must be the Python of an environment with MediaPipe, got no such file" in str(done.exception)


def test_keypoints_that_are_there_stay(folder: Path) -> None:
    (folder / "keypoints.json").write_text("{}")
    done = CliRunner().invoke(label, [str(folder), "--peer", sys.executable])
    assert "keypoints.json: would be replaced, got one already; move it away" in str(done.exception)
    assert (folder / "keypoints.json").read_text() == "{}"


def test_a_folder_without_cut_outs_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(label, [str(tmp_path), "--peer", sys.executable])
    assert "images: must hold pictures, got none" in str(done.exception)
