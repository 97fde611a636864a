"""Turns a pickled torch module into plain tensors without running anything in it.

``python -m detectors.xception.convert IN.p OUT.safetensors``; README.md shows it in the detector's container without network.

Owns: reading whole-module pickles of FaceForensics++ (torch 0.3 and later; zip and legacy layout).
Promises: no name in the file is imported and no function of torch is called: names become inert classes, tensors are cut from raw
bytes by numpy, with every offset and stride checked. Output: the module's parameters and buffers under their state-dict names.
Nothing imports it; it needs numpy and safetensors only.

A pickle is a program. It can call only what the reader hands it; here that is a recorder for each of torch's few constructors of tensors,
``OrderedDict``, and for everything else a class that takes any argument and does nothing.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import save

from base_detector import Array

#: torch's storage classes that a network of convolutions can hold, little-endian
_KINDS = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

#: first object of the legacy layout (torch.serialization.MAGIC_NUMBER), and its second, the layout's version
_MAGIC, _LAYOUT = 0x1950A86A20F9469CFC6C, 1001

#: more bytes than any Xception has: a file that claims more is not read
_MOST = 2 << 30


class NotConvertible(Exception):
    """The file is not a pickled torch module that this reader understands; the message says what was found."""


# --------------------------------------------------------------------------- inert objects


class Inert:
    """Stands for an object of a class that is not imported: takes what a pickle gives it, keeps its attributes, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.members: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        # NEWOBJ does not call __init__
        self.members = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:
        """A dictionary's entry, not wanted."""

    def append(self, _: Any) -> None:
        """A list's entry, not wanted."""

    def extend(self, _: Any) -> None:
        """A list's entries, not wanted."""

    def add(self, _: Any) -> None:
        """A set's entry, not wanted."""


@dataclass(frozen=True)
class _Storage:
    """Numbers of one kind, named in the file; tensors are views of them."""

    key: str
    kind: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage: what torch's ``_rebuild_tensor`` is given."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __setstate__(self, _: Any) -> None:
        """torch 0.3 hands a parameter its gradient flags this way."""

    def cut(self, content: bytes) -> Array:
        """The numbers, copied out of the storage's ``content``; NotConvertible when the view leaves it."""
        numbers = np.frombuffer(content, np.dtype(self.storage.kind))
        if len(numbers) != self.storage.count:
            raise NotConvertible(f"storage {self.storage.key} holds {len(numbers)} numbers, not {self.storage.count}")
        steps = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        if min([self.offset, *self.shape, *self.strides], default=0) < 0:
            raise NotConvertible(f"a tensor of storage {self.storage.key} has a negative size or stride")
        if math.prod(self.shape) * numbers.itemsize > _MOST:
            raise NotConvertible(
                f"a tensor of storage {self.storage.key} is larger than any network this converter is for"
            )
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        if self.offset + sum(steps) >= len(numbers):
            raise NotConvertible(f"a tensor reaches beyond its storage {self.storage.key}")
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False).copy()


class _Recorder:
    """A constructor of torch's that the file may call: it records, it does not construct.

    Without attributes of its own, so a pickle cannot alter it.
    """

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        raise NotImplementedError


class _RebuildTensor(_Recorder):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Tensor:
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or not all(type(value) is int for value in numbers):
            raise NotConvertible("a tensor is described by something else than a storage and whole numbers")
        if len(shape) != len(strides) or len(shape) > 16:
            raise NotConvertible("a tensor has other counts of sizes and strides")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _First(_Recorder):
    """``Parameter(data, ...)`` and ``_rebuild_parameter(data, ...)``: the tensor itself."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return arguments[0] if arguments else None


class _Size(_Recorder):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        return tuple(arguments[0]) if arguments else ()


_CONSTRUCTORS: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _First(),
    ("torch._utils", "_rebuild_parameter_with_state"): _First(),
    ("torch.nn.parameter", "Parameter"): _First(),
    ("torch", "Size"): _Size(),
    ("collections", "OrderedDict"): OrderedDict,
}


class InertUnpickler(pickle.Unpickler):
    """An unpickler whose ``find_class`` imports nothing. ``names`` collects what was asked for and stayed inert."""

    def __init__(self, stream: io.BufferedIOBase | io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")
        self.names: set[str] = set()
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        known = _CONSTRUCTORS.get((module, name))
        if known is not None:
            return known
        if module in ("torch", "torch.storage") and name in _KINDS:
            return type(name, (Inert,), {"kind": _KINDS[name]})
        self.names.add(f"{module}.{name}")
        # one class for each asking: what a pickle writes onto it stays there
        return type("Inert", (Inert,), {})

    def persistent_load(self, pid: Any, /) -> Any:
        """``("storage", class, key, place, count, view)`` is a storage; ``("module", class, source...)`` an old module's class."""
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise NotConvertible("the file refers to something that is neither a storage nor a module")
        if pid[0] == "module":
            return pid[1]
        kind = getattr(pid[1], "kind", None)
        if pid[0] != "storage" or kind is None or len(pid) < 5:
            raise NotConvertible("the file refers to a storage of a kind this converter does not read")
        if len(pid) > 5 and pid[5] is not None:
            raise NotConvertible(
                "storages that are views of others are not read; save the file again with a later torch"
            )
        key, count = str(pid[2]), pid[4]
        if type(count) is not int or not 0 <= count * np.dtype(kind).itemsize <= _MOST:
            raise NotConvertible(f"storage {key} has no sensible size")
        return self.storages.setdefault(key, _Storage(key, kind, count))


# --------------------------------------------------------------------------- the two layouts


def read_module(path: Path) -> tuple[Any, dict[str, bytes], set[str]]:
    """The file's root object (inert), its storages by name, and the names that stayed inert."""
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with path.open("rb") as stream:
        return _read_legacy(stream)


def _read_zip(path: Path) -> tuple[Any, dict[str, bytes], set[str]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise NotConvertible("a zip archive, but not one torch wrote: unpack it and convert the .p file in it")
        base = pickles[0].removesuffix("data.pkl")
        if f"{base}byteorder" in archive.namelist() and archive.read(f"{base}byteorder") != b"little":
            raise NotConvertible("the file was written on a big-endian machine")
        reader = InertUnpickler(io.BytesIO(_member(archive, pickles[0])))
        root = reader.load()
        contents = {key: _member(archive, f"{base}data/{key}") for key in reader.storages}
    return root, contents, reader.names


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MOST:
        raise NotConvertible(f"{name} is larger than any network this converter is for")
    return archive.read(name)


def _read_legacy(stream: io.BufferedReader) -> tuple[Any, dict[str, bytes], set[str]]:
    """Five pickles (magic number, version, machine, root, order of the storages), then each storage: its count and its bytes."""
    if InertUnpickler(stream).load() != _MAGIC or InertUnpickler(stream).load() != _LAYOUT:
        raise NotConvertible("no file of torch.save")
    machine = InertUnpickler(stream).load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise NotConvertible("the file was written on a big-endian machine")
    reader = InertUnpickler(stream)
    root = reader.load()
    contents: dict[str, bytes] = {}
    for key in map(str, InertUnpickler(stream).load()):
        storage = reader.storages.get(key)
        if storage is None:
            raise NotConvertible(f"the file lists storage {key}, which nothing uses")
        (count,) = struct.unpack("<q", stream.read(8))
        wanted = storage.count * np.dtype(storage.kind).itemsize
        contents[key] = stream.read(wanted)
        if count != storage.count or len(contents[key]) != wanted:
            raise NotConvertible(f"storage {key} is cut short")
    return root, contents, reader.names


# --------------------------------------------------------------------------- the module's tensors


def tensors_of(root: Any, prefix: str = "") -> Iterator[tuple[str, _Tensor]]:
    """Parameters and buffers of a module, or of a plain (nested) dictionary of tensors, by their state-dict names."""
    if isinstance(root, Mapping):
        inner = root.get("state_dict", root)
        yield from ((str(name), value) for name, value in inner.items() if isinstance(value, _Tensor))
        return
    if not isinstance(root, Inert):
        raise NotConvertible(f"the file holds a {type(root).__name__}, no module")
    members = getattr(root, "members", {})
    for group in ("_parameters", "_buffers"):
        for name, value in _entries(members, group):
            if isinstance(value, _Tensor):
                yield f"{prefix}{name}", value
    for name, child in _entries(members, "_modules"):
        if isinstance(child, Inert):
            yield from tensors_of(child, f"{prefix}{name}.")


def _entries(members: Mapping[Any, Any], group: str) -> list[tuple[Any, Any]]:
    found = members.get(group)
    return list(found.items()) if isinstance(found, Mapping) else []


def renamed(state: Mapping[str, Array]) -> dict[str, Array]:
    """Names and shapes as the detector reads them.

    ``module.`` of DataParallel goes; ``last_linear.1.`` (a dropout before the layer) is ``last_linear.``; 2-D weights of 1x1 convolutions
    (files of torch before 0.4) get their two ones; the batch counters that torch before 0.4.1 did not have are zero, as nothing reads
    them.
    """
    out: dict[str, Array] = {}
    for name, array in state.items():
        name = name.removeprefix("module.").replace("last_linear.1.", "last_linear.")
        if name.endswith("pointwise.weight") and array.ndim == 2:
            array = array[:, :, None, None]
        out[name] = np.asarray(array, order="C")
    for name in [name for name in out if name.endswith(".running_var")]:
        out.setdefault(name.removesuffix("running_var") + "num_batches_tracked", np.zeros((), np.int64))
    return out


def convert(source: Path, target: Path) -> tuple[dict[str, Array], set[str]]:
    """Write the tensors of module file ``source`` to ``target`` (safetensors), in one rename; they are returned with the inert names.

    Raises NotConvertible for anything else than a torch module, OSError when a file cannot be read or written.
    """
    try:
        root, contents, names = read_module(source)
        views = dict(tensors_of(root))
        state = renamed({name: view.cut(contents[view.storage.key]) for name, view in views.items()})
    except (pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, LookupError, RecursionError) as error:
        raise NotConvertible(f"damaged, or no file of torch.save ({type(error).__name__}: {error})") from error
    except (AttributeError, TypeError, ValueError) as error:
        # what a pickle that was not written by torch runs into
        raise NotConvertible(f"not understood ({type(error).__name__}: {error})") from error
    if not state:
        raise NotConvertible("the file holds no tensors")
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(cast(Callable[..., bytes], save)(state))
    os.replace(part, target)
    return state, names


def main(argv: list[str] | None = None) -> int:
    """Convert one file; 0 when it was written, 1 with a sentence when not."""
    parser = argparse.ArgumentParser(prog="python -m detectors.xception.convert", description=main.__doc__)
    parser.add_argument("source", type=Path, metavar="IN.p", help="pickled torch module, for example all_c23.p")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors", help="file to write")
    arguments = parser.parse_args(argv)
    try:
        state, names = convert(arguments.source, arguments.target)
    except (NotConvertible, OSError) as error:
        print(f"{arguments.source} was not converted: {error}", file=sys.stderr)
        return 1
    numbers = sum(array.size for array in state.values())
    print(f"{arguments.target}: {len(state)} tensors, {numbers:,} numbers.")
    print(f"Named in the file and not run: {', '.join(sorted(names)) or 'nothing'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
