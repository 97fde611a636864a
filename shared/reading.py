"""Reads one of our files, in whatever condition it is. The only way both sides read records of the shared folders and their own state.

Promises: no link is followed, no FIFO or device is waited for, nothing is read beyond its cap. There are four outcomes: the content;
FileNotFoundError when nothing has that name; RecordInvalid when it is not one of our records (trying again does not help); another
OSError when the folder does not answer (EIO, ESTALE, ENOTCONN, EACCES ...), which is temporary and never counts as a bad record.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.errors import PermanentError

Model = TypeVar("Model", bound=BaseModel)

#: Larger records are not ours, unless their model says so (``max_bytes``): they are refused before parsing.
MAX_RECORD_BYTES: Final = 1_000_000

_ANY: Final = TypeAdapter(Any)

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: What ``open`` answers when the name belongs to something else than a file: a link, a socket or device, a path below a file, ...
_NOT_A_FILE: Final = frozenset(
    {errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EOPNOTSUPP}
)


class RecordInvalid(PermanentError):
    """The file is not one of our records. ``reason`` is for the log: it contains nothing from the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__("record_invalid")
        self.path = path
        self.reason = reason


def read_record(path: Path, model: type[Model]) -> Model:
    """The record in ``path``, parsed; see the module for what is raised."""
    untrusted = read_bytes(path, max_bytes=getattr(model, "max_bytes", MAX_RECORD_BYTES))
    _check_json(path, untrusted)
    try:
        return model.model_validate_json(untrusted)
    except ValidationError as error:
        raise RecordInvalid(path, _first_reason(error)) from None


def read_json(path: Path, *, max_bytes: int = MAX_RECORD_BYTES) -> Any:
    """JSON without a model: objects, lists, text, finite numbers. For records whose good members are kept when others are damaged."""
    untrusted = read_bytes(path, max_bytes=max_bytes)
    _check_json(path, untrusted)
    try:
        return _ANY.validate_json(untrusted)  # refuses halves of surrogate pairs as well
    except ValidationError as error:
        raise RecordInvalid(path, _first_reason(error)) from None


def read_bytes(path: Path, *, max_bytes: int = MAX_RECORD_BYTES) -> bytes:
    """The content of a regular file of at most ``max_bytes``."""
    handle = open_regular(path)
    with os.fdopen(handle, "rb") as stream:
        if os.fstat(handle).st_size > max_bytes:
            raise RecordInvalid(path, f"larger than {max_bytes} bytes")
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise RecordInvalid(path, f"grows beyond {max_bytes} bytes")
    return content


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, for reading; the caller closes it."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise RecordInvalid(path, "not a regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RecordInvalid(path, "not a regular file")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_json(path: Path, untrusted: bytes) -> None:
    """Refuse what parsers disagree about (RFC 8259 section 4): duplicate keys, NaN, infinity, encodings other than UTF-8."""
    try:
        json.loads(
            untrusted.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_not_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        reason = f"not UTF-8 (byte {error.start})" if isinstance(error, UnicodeDecodeError) else str(error)[:100]
        raise RecordInvalid(path, reason) from None


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")


def _finite(number: str) -> None:
    if not math.isfinite(float(number)):
        _not_finite(number)


def _not_finite(_: str) -> None:
    raise ValueError("a number is not finite")


def _first_reason(error: ValidationError) -> str:
    """The first rule that was broken, without text from the record."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part)[:40] for part in first['loc'][:4])}: {first['type']}"
