import json
import re
import zipfile
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from handloom import images
from handloom.data.rhd import RhdSource
from pipeline.real import real


def test_marked_hands_are_scored(archive: Path, tmp_path: Path) -> None:
    source, folder = RhdSource("synthetic", archive), tmp_path / "some"
    (folder / "images").mkdir(parents=True)
    records, annotations = [], []
    for number in source.ids("evaluation"):
        sample, name = source.sample("evaluation", number), f"{number}.png"
        whole = [hand for hand in sample.hands if hand.visible is not None and hand.visible.all()]
        if whole:
            (folder / "images" / name).write_bytes(images.encode_png(sample.picture))
            records.append({"id": number, "file_name": name})
        for hand in whole:
            keypoints = np.column_stack([hand.keypoints_px, np.full(21, 2)])
            annotations.append({"image_id": number, "keypoints": keypoints.ravel().tolist()})
    shares = []
    for shift in (0, 500):
        moved = [each | {"keypoints": [value + shift * (i % 3 < 2) for i, value in enumerate(each["keypoints"])]}
                 for each in annotations]  # fmt: skip
        (folder / "keypoints.json").write_text(json.dumps({"images": records, "annotations": moved}))
        done = CliRunner().invoke(real, ["--bundled", "--keypoints", str(folder)])
        assert done.exit_code == 0, done.output
        assert f"some: {len(annotations)} marked hands" in done.output
        found = re.search(r"PCK@0.2 ([\d.]+)", done.output)
        assert found
        shares.append(float(found[1]))
    assert shares[0] > 0.7
    assert shares[1] < 0.4


def test_what_is_wrong_with_what_is_to_be_scored_is_one_line(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.zip"
    text.write_text("no zip")
    with zipfile.ZipFile(other, "w") as members:
        members.writestr("else.txt", "")
    for words, said in (
        ((), "name what to score"),
        (("--hgr1", str(tmp_path)), "is a directory"),
        (("--hgr1", str(text)), "text: must be a zip, got 'BadZipFile: File is not a zip file'; see --help"),
        (("--digits", str(other)), "other.zip: must hold sld/manifest.json, got no such member"),
        (("--rhd", str(other)), "other.zip: must hold rhd/test_rhd.json, got no such member"),
        (("--hgr1", str(other), "--count", "0"), "0 is not in the range"),
    ):
        done = CliRunner().invoke(real, ["--bundled", *words])
        assert done.exit_code
        assert said in done.output + str(done.exception)


def test_a_folder_without_marked_hands_is_named(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.png").write_bytes(images.encode_png(np.zeros((20, 20, 3), np.uint8)))
    done = CliRunner().invoke(real, ["--bundled", "--keypoints", str(tmp_path)])
    assert "must hold marked hands, got none in keypoints.json" in str(done.exception)
