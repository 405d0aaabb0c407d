from pathlib import Path

import pytest
from dvc.repo import Repo

from handloom import files
from handloom.errors import EnvironmentFault


@pytest.mark.filterwarnings("ignore")  # DVC's own dependencies warn
def test_hashes_are_those_dvc_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/b.txt", "data/a/c.txt", "data/a.txt", "data/a-b/x", "data/Z"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    repo = Repo.init(no_scm=True)
    (tmp_path / "lone.txt").write_text("alone")
    for name in ("data", "lone.txt"):
        out = repo.add([name])[0].outs[0]
        assert files.dvc_hash(Path(name)) == out.hash_info.value


def test_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.write(path, "one")
    files.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"a\.json: cannot be written, got '.+'; free some space or rights"):
        files.write(tmp_path / "file" / "a.json", "x")
