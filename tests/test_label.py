import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from handloom import images
from handloom.data import coco
from pipeline.label import label

PEER = """#!{python}
import json, sys
from pathlib import Path
for path in sys.argv[3:]:
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


def test_a_peer_without_mediapipe_is_named(folder: Path) -> None:
    done = CliRunner().invoke(label, [str(folder), "--peer", sys.executable])
    assert done.exit_code != 0
    assert "must answer for 4 pictures, got '0'; install bench/requirements-mediapipe.txt there" in str(done.exception)
    assert not (folder / "keypoints.json").exists()


def test_a_folder_without_cut_outs_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(label, [str(tmp_path), "--peer", sys.executable])
    assert "must hold images/, got none; name a folder of cut-outs" in str(done.exception)
