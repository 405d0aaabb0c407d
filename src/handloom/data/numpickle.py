"""Reads pickles of numbers and numpy arrays without letting them run anything, not even numpy's own code.

A pickle is a program. Allowing no global but numpy's constructors is not enough: a dtype's `__setstate__` can drop the
flag that marks Python objects, and an array of such a dtype then takes raw bytes for pointers (numpy 2.4 segfaults).
So numpy's names stand here for inert records, which `to_numpy` decodes to plain numbers of an expected shape.
"""

import math
import pickle
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from handloom.errors import DataError

_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 120


def quote(value: object) -> str:
    """Give any value in quotes, on one line, cut to a readable length."""
    try:
        return f"'{_SHORT.repr(value).strip(chr(39))}'"
    except ValueError:  # an integer of more than 4,300 digits
        return f"'{type(value).__name__}'"


def load_numbers(stream: IO[bytes], where: str) -> object:
    """Give what a pickle of protocol 0 to 5 or of Python 2 says: dicts, lists, text, numbers, and undecoded arrays.

    A global that such a pickle has no need of is a DataError naming it, with `where`; broken bytes raise what pickle
    raises on them, which is nearly anything.
    """
    return _Unpickler(stream, where).load()


def to_numpy(value: object, shape: tuple[int, ...]) -> NDArray[Any]:
    """Decode an array from `load_numbers`, read-only; ValueError unless it has `shape` and holds plain numbers."""
    match value:
        case _Array((_, tuple() as found, _Dtype() as dtype, fortran, bytes() | bytearray() | str() as raw)):
            if found != shape:
                raise ValueError(f"must have shape {shape}, got {quote(found)}")
            data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
            kind = dtype.numpy()
            if len(data) != (expected := math.prod(shape) * kind.itemsize):
                raise ValueError(f"must have {expected} bytes, got '{len(data)}'")
            return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
    raise ValueError(f"must be an array of numbers, got {quote(value)}")


@dataclass(slots=True)
class _Dtype:
    """Stands for numpy.dtype: a code such as "f4", and a state whose second item is the byte order."""

    code: object
    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def numpy(self) -> np.dtype[Any]:
        """Give the dtype, if it is one of plain numbers."""
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else None
        if not isinstance(self.code, str) or not re.fullmatch("f[248]|[iu][1248]|b1", self.code):
            raise ValueError(f"must hold plain numbers, got {quote(self.code)}")
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"must have a byte order, got {quote(order)}")
        return np.dtype(self.code).newbyteorder(order)


@dataclass(slots=True)
class _Array:
    """Stands for numpy.ndarray; its state is (version, shape, dtype, is_fortran, bytes)."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Knows six names, and gives them as bound methods: a pickle could set attributes on a class or a function."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        super().__init__(stream, encoding="latin1")
        self._where = where
        known: dict[str, Callable[..., object]] = {
            "numpy.ndarray": self._ndarray,
            "numpy.dtype": self._dtype,
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._frombuffer,
            "_codecs.encode": self._encode,
        }
        self._known = known | {name.replace("numpy.core.", "numpy._core."): call for name, call in known.items()}

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Give the stand-in for a global, or raise DataError naming it."""
        if (call := self._known.get(f"{module}.{name}")) is not None:
            return call
        what = "the pickle must hold numpy arrays and nothing else"
        raise DataError(f"{self._where}: {what}, got {quote(f'{module}.{name}')}; do not trust this archive")

    def _ndarray(self) -> None:
        raise pickle.UnpicklingError("ndarray is only a name here")

    def _dtype(self, code: object, *_: object) -> _Dtype:
        return _Dtype(code)

    def _reconstruct(self, *_: object) -> _Array:
        return _Array()

    def _scalar(self, dtype: object, raw: object) -> object:
        return to_numpy(_Array((1, (), dtype, False, raw)), ())[()]

    def _frombuffer(self, raw: object, dtype: object, shape: object, order: object) -> _Array:
        return _Array((1, shape, dtype, order == "F", raw))

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"encoding {encoding!r}")
        return text.encode("latin1")
