"""The same params, the same bytes: on another number of workers, and on a processor with other vector instructions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WRITE = """
import sys
from pathlib import Path
import numpy as np
from handloom.data.prepare import prepare
from handloom.data.rhd import RhdSource
from handloom.data.synthetic.archive import write_archive
from handloom.files import dvc_hash
from handloom.params import Params

if __name__ == "__main__":
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    params = Params.load(Path("presets/default.yaml")).preprocess.model_copy(update={"val_fraction": 0.25})
    more = {"portraits": 0.3, "close_ups": 0.3, "workers": workers}
    write_archive(folder / "a.zip", seed=5, num_training=12, num_evaluation=4, **more)
    prepare([RhdSource("synthetic", folder / "a.zip")], folder / "prepared", params, workers=workers)
    has = [name for name, here in np._core._multiarray_umath.__cpu_features__.items() if here]
    print(",".join(has), dvc_hash(folder / "a.zip"), dvc_hash(folder / "prepared"))
"""


def written(folder: Path, workers: int, disabled: str = "") -> tuple[set[str], list[str]]:
    """Give what vector instructions numpy used, and the hashes of an archive and of its arrays."""
    folder.mkdir()
    (folder / "write.py").write_text(WRITE)
    env = os.environ | {"PYTHONPATH": "src", "NPY_DISABLE_CPU_FEATURES": disabled}
    words = [sys.executable, str(folder / "write.py"), str(folder), str(workers)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    vectors, *hashes = done.stdout.split()
    return set(vectors.split(",")), hashes


def test_archive_and_arrays_are_the_same_bytes_without_avx(tmp_path: Path) -> None:
    umath = np._core._multiarray_umath  # type: ignore[attr-defined]
    has = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    if not has:
        pytest.skip("this processor has no vector instructions that numpy could go without")
    all_of_them, plain = written(tmp_path / "one", 1)
    fewer, other = written(tmp_path / "other", 2, " ".join(has))
    assert all_of_them - fewer >= set(has)
    assert other == plain
