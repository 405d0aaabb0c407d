import os
from pathlib import Path

from handloom.data.synthetic.kernels import forget_outdated


def test_only_what_is_older_than_a_source_is_forgotten(tmp_path: Path) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name, age in (("shade.py", 100), ("surface.py", 50)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    for name, age in (("old.nbi", 60), ("new.nbi", 40), ("old.pyc", 90)):
        (cache / name).touch()
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    forget_outdated(tmp_path)
    assert sorted(path.name for path in cache.iterdir()) == ["new.nbi", "old.pyc"]
