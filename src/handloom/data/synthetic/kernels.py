"""How the renderer's loops are compiled, and kept compiled from run to run."""

from functools import partial
from pathlib import Path
from typing import Final

from numba import njit


def forget_outdated(folder: Path) -> None:
    """Remove numba's indexes in `folder`/__pycache__ that are older than any source in `folder`.

    numba compares a kernel with its own file alone; what was inlined from another would stay as it was, and pictures
    with it. Where nothing can be removed, numba keeps its cache elsewhere, if at all.
    """
    newest = max(path.stat().st_mtime for path in folder.glob("*.py"))
    for index in (folder / "__pycache__").glob("*.nbi"):
        try:
            if index.stat().st_mtime < newest:
                index.unlink()
        except OSError:  # another process was faster, or the folder is read-only
            continue


forget_outdated(Path(__file__).parent)
kernel: Final = partial(njit, cache=True, error_model="numpy")
"""Decorates a loop over numbers and arrays."""
inlined: Final = partial(kernel, forceinline=True)
"""Decorates a small one that becomes part of those who call it."""
