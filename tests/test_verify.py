import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from handloom import verify
from handloom.cli import handloom
from handloom.errors import DataError

STAGES = {
    "render": {"cmd": "echo 1 > archive", "outs": ["archive"]},
    "train": {
        "matrix": {"net": ["segment", "pose"]},
        "cmd": "mkdir ${item.net}; cp archive ${item.net}/weights",
        "deps": ["archive"],
        "outs": ["${item.net}"],
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that DVC itself ran."""
    folder = tmp_path_factory.mktemp("made")
    YAML().dump({"stages": STAGES}, folder / "dvc.yaml")
    for words in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "dvc.lock", "archive"):
        shutil.copy(made / name, tmp_path)
    for name in ("segment", "pose"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def test_what_dvc_made_is_as_it_should_be(root: Path) -> None:
    stages = list(verify.checked(root))
    assert [stage.stage for stage in stages] == ["render", "train@segment", "train@pose"]
    assert all(stage.num_right == stage.num_outputs == 1 and not stage.faults for stage in stages)
    said = CliRunner().invoke(handloom, ["verify", str(root)], catch_exceptions=False)
    assert said.exit_code == 0
    count = len(verify.SUMS.read_text().splitlines())
    assert count >= 4
    assert f"bundled nets: {count} of {count} outputs are as they should be" in said.output


def test_a_flipped_byte_is_found_where_it_is(root: Path) -> None:
    (root / "pose" / "weights").write_text("2\n")
    assert [len(stage.faults) for stage in verify.checked(root)] == [0, 0, 1]
    with pytest.raises(DataError, match=r"^train@pose: the first that differs, got 'pose: md5 \w{8} became \w{8}'"):
        CliRunner().invoke(handloom, ["verify", str(root)], catch_exceptions=False)


def test_the_first_stage_that_differs_is_named(root: Path) -> None:
    (root / "archive").write_text("2\n")
    shutil.rmtree(root / "segment")
    faults = [stage.faults for stage in verify.checked(root)]
    assert [len(each) for each in faults] == [1, 2, 1]
    assert faults[1] == [f"made from other code or data: {faults[0][0]}", "segment: not there"]
    with pytest.raises(DataError, match=r"^render: the first that differs"):
        CliRunner().invoke(handloom, ["verify", str(root)], catch_exceptions=False)


BROKEN = ("stages: {a: {deps: [{}]}}", "stages: {a: {deps: [1]}}", "stages: {a: {deps: }}")


@pytest.mark.parametrize("text", ["", "{", "stages: 3", "a: null", "stages: {a: null}"])
def test_stages_that_are_none_are_named(text: str, root: Path) -> None:
    (root / "dvc.yaml").write_text(text)
    with pytest.raises(DataError, match=r"dvc\.yaml: no stages, got '.+'; restore it from git"):
        list(verify.checked(root))


@pytest.mark.parametrize(
    "text", [None, "", "stages: 3", "stages: {a: {outs: [1]}}", "{", "stages: {a: {outs: [{}]}}", *BROKEN]
)
def test_what_is_no_lock_is_named(text: str | None, root: Path) -> None:
    (root / "dvc.lock").unlink()
    if text is not None:
        (root / "dvc.lock").write_text(text)
    with pytest.raises(DataError, match=r"dvc\.lock: (no such file|not a lock file, got '.+'; restore)"):
        list(verify.checked(root))


def test_a_flipped_byte_of_the_bundled_nets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in verify.SUMS.parent.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(verify, "SUMS", tmp_path / "SHA256SUMS")
    net = tmp_path / "pose.int8.onnx"
    content = bytearray(net.read_bytes())
    content[5000] ^= 1
    net.write_bytes(content)
    found = verify.bundled()
    assert (found.num_right, len(found.faults)) == (found.num_outputs - 1, 1)
    assert verify.bundled().faults[0].startswith(f"{net}: sha256 ")
