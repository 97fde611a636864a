"""The authors' feature files, read without unpickling anything but numbers.

Owns: a pickle reader that knows only what a dictionary of plain arrays needs. Promises: nothing in a file is executed or imported:
every name but those of numpy's array, its dtype and the functions that rebuild them is refused, and these are stand-ins
that only keep their arguments; this module makes the arrays from the bytes.
Imported by ``detectors.upconv.refit`` only.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from base_detector import Array

#: kinds of numbers that features and labels may be: float, signed and unsigned integer, boolean
_NUMBERS: Final = {f"{kind}{size}" for kind in "fiu" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}


class FeatureFileError(ValueError):
    """The file is not a dictionary of a table of features and their labels; the message says why."""


class _Type:
    """Stands for numpy.dtype: keeps the name of the kind of number and the byte order."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name = str(name)
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = str(state[1])

    def dtype(self) -> np.dtype[Any]:
        if self.name not in _NUMBERS:
            raise FeatureFileError(f"an array of the file holds {self.name!r}, not numbers")
        return np.dtype("?" if self.name == "b1" else self.order + self.name)


class _Array:
    """Stands for numpy.ndarray: keeps shape, kind, order and bytes."""

    def __init__(self, *_: Any) -> None:
        self.parts: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            self.parts = state[1:]

    def array(self) -> Array:
        if len(self.parts) != 4 or not isinstance(self.parts[1], _Type):
            raise FeatureFileError("an array of the file is incomplete")
        shape, kind, fortran, content = self.parts
        dtype = kind.dtype()
        sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        if not sizes or not isinstance(content, bytes | bytearray) or len(content) != math.prod(shape) * dtype.itemsize:
            raise FeatureFileError("an array of the file has another size than it says")
        order = np.frombuffer(bytes(content), dtype).reshape(shape, order="F" if fortran else "C")
        return order.astype(dtype.newbyteorder("="))


def _reconstruct(*_: Any) -> _Array:
    """Stands for the function that makes an empty array, which is filled afterwards."""
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Stands for the function of newer pickles that makes an array of a buffer."""
    array = _Array()
    array.parts = (shape, kind, order == "F", content)
    return array


def _latin(text: Any, encoding: Any) -> bytes:
    """Python 2 wrote bytes as text; this gives them back."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise FeatureFileError("the file stores bytes in a way that is not known")
    return text.encode("latin-1")


_KNOWN: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _latin,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is None:
            raise FeatureFileError(
                f"the file asks for {module}.{name}, which is not part of an array: it was not opened"
            )
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise FeatureFileError("the file points outside itself: it was not opened")


def read_features(content: bytes) -> tuple[Array, Array]:
    """Features (n, bins) float64 and labels (n,) int, 0 or 1, of a file ``{"data": ..., "label": ...}``. FeatureFileError otherwise."""
    try:
        # encoding: strings of Python 2 are bytes in disguise
        found = _Reader(io.BytesIO(content), encoding="latin-1").load()
    except FeatureFileError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of it runs code
        raise FeatureFileError(f"the file is not a readable pickle ({type(error).__name__})") from None
    if not isinstance(found, dict) or not {"data", "label"} <= set(found):
        raise FeatureFileError("the file is not a dictionary with 'data' and 'label'")
    data, label = (
        found[name].array() if isinstance(found[name], _Array) else np.zeros(0) for name in ("data", "label")
    )
    label = label.reshape(-1)
    if data.ndim != 2 or len(data) != len(label) or not len(data) or not np.isfinite(data).all():
        raise FeatureFileError("'data' must be a table of finite numbers with one 'label' a row")
    if set(np.unique(label)) != {0, 1}:
        raise FeatureFileError("'label' must hold 0 and 1, both of them")
    return data.astype(np.float64), label.astype(np.int64)
