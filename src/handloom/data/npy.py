"""Writing .npy files row by row, whose number of rows is known only at the end: memory stays constant."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import ArrayLike, DTypeLike


class NpyWriter:
    """A context manager that appends equal rows to a .npy file and writes their number into its header at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape, self.dtype, self.rows = shape, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, row: ArrayLike) -> int:
        """Write one row and give its index."""
        values = np.asarray(row, self.dtype)
        assert values.shape == self.shape, (values.shape, self.shape)
        self._file.write(values.tobytes())
        self.rows += 1
        return self.rows - 1

    def _write_header(self) -> None:
        # numpy pads the header so that the first axis can grow to 21 digits: the second header has the first's length
        header = {
            "descr": npy_format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.shape),
        }
        npy_format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()
